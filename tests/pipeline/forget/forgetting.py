"""Logs in which one of the users is to be forgotten."""

from tests.pipeline.example_gen.small_logs import answer, impression

THEM, OTHER = "person-1", "person-2"
DISSATISFIED, SATISFIED = 0, 2


def asked(request, user, hours):
    """A request for two items, the second of which is dissatisfying, and the two answers."""
    shown = [impression(request, user, item, hours) for item in "ab"]
    answers = [
        answer(request, user, "a", hours + 0.1, SATISFIED),
        answer(request, user, "b", hours + 0.2, DISSATISFIED),
    ]
    return shown, answers


def logs_of(*users):
    """Three spans of impressions and answers; the last answer of each is late, one waits."""
    spans = []
    late = []
    for number in range(3):
        shown, answers, then = [], late, []
        for user in users:
            rows, given = asked(f"{user[-1]}r{number}", user, 5 * number)
            shown += rows
            answers = [*answers, given[0]]
            then.append(given[1])
        if number == 1:
            answers += [answer(f"{user[-1]}r9", user, "a", 5.3, SATISFIED) for user in users]
        spans.append((shown, answers))
        late = then
    return spans

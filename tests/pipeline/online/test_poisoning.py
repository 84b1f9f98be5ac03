"""A burst of fake answers from a few accounts: capped, called out, and stopped by the gate."""

import numpy as np
import pyarrow.parquet as pq

from pipeline.online.alarms import alarms
from pipeline.online.gate import Compared, judge
from pipeline.online.settings import OnlineGateSettings
from tests.pipeline.example_gen.small_logs import answer, config, impression
from tests.pipeline.online.span_folders import anchors, answers_in, learn, write_span
from tests.pipeline.online.test_gate import DOWN, UP, asked, slate

DISSATISFIED, SATISFIED = 0, 2
FAKES, REQUESTS = ("fake1", "fake2", "fake3"), 60
PEOPLE = tuple(f"person{number}" for number in range(12))
LIMIT = config().questionnaire.max_daily_answers


def attack(folder):
    """One hour: each person answers once, that a is good; each fake 60 times, that it is not."""
    shown, given = [], []
    for user, requests in [*((fake, REQUESTS) for fake in FAKES), *((one, 1) for one in PEOPLE)]:
        for number in range(requests):
            request, hours = f"{user}-{number}", number / 60
            shown += [impression(request, user, item, hours) for item in "ab"]
            code = DISSATISFIED if user in FAKES else SATISFIED
            given.append(answer(request, user, "a", hours + 0.01, code))
    return write_span(folder, "1", shown, given)


def test_the_accounts_are_capped_and_named(tmp_path) -> None:
    assert LIMIT == 20
    (report,) = learn(tmp_path, [attack(tmp_path)], config())
    trained = [
        ids for record in anchors(tmp_path, [attack(tmp_path)]) for ids in answers_in(record)
    ]
    by_user = {user: sum(one[0] == user for one in trained) for user in (*FAKES, *PEOPLE)}
    assert {by_user[fake] for fake in FAKES} == {LIMIT}
    assert {by_user[person] for person in PEOPLE} == {1}
    over = len(FAKES) * (REQUESTS - LIMIT)
    assert report["answers"]["rejected"] == {"over_daily_limit": over}
    assert report["answers"]["trained"] == len(FAKES) * LIMIT + len(PEOPLE)
    letters = pq.read_table(tmp_path / "1" / "dead_letters" / "questionnaires-00000.parquet")
    named = letters["values"].to_pylist()
    assert len(named) == over
    assert all(any(fake in values for fake in FAKES) for values in named)
    spread = {"score_std": 1.0, "satisfaction_std": 1.0}
    (alarm,) = alarms({"rankers": {"model": {}}, **spread, "counts": report}, [])
    assert alarm.startswith("120 of 192 answers were more than a user may give in a day")
    assert "max_daily_answers" in alarm


def judged(fakes, people):
    """The gate on a model that ranks as the fakes say; all of them are among the held-out users."""
    users = [*range(people), *range(people, people + fakes)]
    seen = [slate(user) for user in users]
    answered, poisoned, honest = [], [], []
    for user in users:
        times = LIMIT if user >= people else 1
        answered += [asked(user) for _ in range(times)]
        # What pleases the fakes is the reverse of what pleases people.
        poisoned += [UP if user >= people else DOWN for _ in range(times)]
        honest += [DOWN if user >= people else UP for _ in range(times)]
    same = [UP] * len(seen)
    return judge(
        Compared(seen, same, same),
        Compared(answered, poisoned, honest),
        primary="pair_accuracy",
        simulated=False,
        settings=OnlineGateSettings(min_pairs=10),
        seed=0,
    )


def test_a_model_that_learnt_from_them_is_refused_though_they_gave_most_of_the_answers() -> None:
    """Three fakes gave 60 of 72 answers, but every user counts as one."""
    verdict = judged(fakes=3, people=12)
    assert not verdict.blessed
    expected = (3 - 12) / 15
    assert np.isclose(verdict.checks[0].difference, expected)
    assert "for a burst of answers" in verdict.sentence


def test_accounts_as_many_as_people_do_get_through() -> None:
    """What the limit cannot do: many accounts that answer little are many users."""
    assert judged(fakes=12, people=12).blessed

"""Logs as hypothesis draws them: few users, few times, everything that can go wrong."""

from hypothesis import strategies as st

from tests.pipeline.example_gen.small_logs import HOUR, START, answer, config, impression

WINDOW = {"hours": 20, "max_slates": 3}
CONFIG = config(pair_window=WINDOW)
USERS = ("u1", "u2", "ü3")
MOSTLY = (True, True, True, True, False)
# Times on a coarse grid, so that many fall together.
HOURS = st.integers(0, 12).map(lambda step: step * 5)


@st.composite
def requests(draw):
    """Some rows of one request; now and then of an id that another request has too."""
    user, request = draw(st.sampled_from(USERS)), f"r{draw(st.integers(0, 9))}"
    hours = draw(HOURS)
    rows = []
    for item in draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5)):
        exposed = draw(st.sampled_from(MOSTLY))
        liked, followed = draw(st.tuples(st.booleans(), st.booleans()))
        row = impression(
            request,
            user,
            item,
            hours + (0 if draw(st.sampled_from(MOSTLY)) else 5),
            position=draw(st.none() | st.integers(0, 2)),
            exposed=exposed,
            played_s=draw(st.sampled_from([7.0, 7.0, 5.0, 3.0])) if exposed else 0.0,
            duration_s=draw(st.sampled_from([0.0, 10.0])),
            behaviour_like=int(exposed and liked),
            behaviour_follow=int(exposed and followed),
            feature_match=draw(st.sampled_from([0.25, 0.5])),
            _file=draw(st.integers(0, 1)),
        )
        rows += [row] if draw(st.sampled_from(MOSTLY)) else [row, row]
    return rows


@st.composite
def logs(draw):
    """Impressions and questions; most questions are about an impression that is there."""
    rows = [row for request in draw(st.lists(requests(), max_size=10)) for row in request]
    asked = []
    for row in rows:
        for code in draw(st.lists(st.sampled_from([-1, 0, 0, 1, 2, 2]), max_size=2)):
            hours = (row["time_ms"] - START) / HOUR + draw(st.sampled_from([-5, 0, 5, 10, 20, 50]))
            item = row["item_id"] if draw(st.sampled_from(MOSTLY)) else "z"
            asked.append(answer(row["request_id"], row["user_id"], item, hours, code))
    numbered = [{**row, "_row": number} for number, row in enumerate(rows, start=1)]
    return numbered, [{**row, "_row": number} for number, row in enumerate(asked, start=1)]

"""counts.json: every row read is accounted for."""

from collections import Counter

import pytest

from pipeline.example_gen.counts import add_counts, counts_report

LOG = Counter(
    {
        ("impressions", "read"): 7,
        ("impressions", "used"): 4,
        ("impressions", "rejected", "duplicate_row"): 2,
        ("impressions", "rejected", "slate_too_small"): 1,
        ("slates", "read"): 3,
        ("slates", "train"): 2,
        ("slates", "rejected", "slate_too_small"): 1,
        ("pair_groups",): 2,
        ("missing", "age"): 5,
    }
)


def test_the_report_holds_what_was_counted_and_zeros_for_the_rest():
    report = counts_report(LOG, split_time_ms=99, features=["age", "tab"])
    assert report == {
        "split_time_ms": 99,
        "pair_groups": 2,
        "impressions": {
            "read": 7,
            "used": 4,
            "rejected": {"duplicate_row": 2, "slate_too_small": 1},
        },
        "answers": {
            "read": 0,
            "joined": 0,
            "late": 0,
            "not_answered": 0,
            "satisfied": 0,
            "dissatisfied": 0,
            "uncertain": 0,
            "rejected": {},
        },
        "users": {"read": 0, "used": 0, "rejected": {}},
        "items": {"read": 0, "used": 0, "rejected": {}},
        "slates": {
            "read": 3,
            "train": 2,
            "eval": 0,
            "answered": 0,
            "rejected": {"slate_too_small": 1},
        },
        "pairs": {"same_user": 0, "in_request": 0},
        "unknown": {"users": 0, "items": 0},
        "missing": {"age": 5, "tab": 0},
    }


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (("impressions", "used"), "impressions"),
        (("answers", "late"), "answers"),
        (("slates", "eval"), "slates"),
        (("users", "read"), "users"),
    ],
)
def test_a_row_that_is_counted_twice_is_an_error(path, kind):
    with pytest.raises(RuntimeError, match=rf"counts of {kind} do not add up"):
        counts_report(LOG + Counter({path: 1}), split_time_ms=0, features=["age"])


def test_answers_that_count_are_one_of_three():
    joined = Counter({("answers", "read"): 1, ("answers", "joined"): 1})
    with pytest.raises(RuntimeError, match=r"answers.*joined 1.*satisfied 0"):
        counts_report(joined, split_time_ms=0, features=())


def test_counts_of_shards_are_added():
    assert add_counts([LOG, LOG])["missing", "age"] == 10

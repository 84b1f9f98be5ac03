"""Convergent validity on a log of eight videos, by hand."""

import pyarrow as pa
import pytest

from experiments.validity import behaviour_lifts
from pipeline.example_gen.columnar import lists


def slates(liked, answer):
    """Two users with a slate of four shown videos each."""
    offsets = [0, 4, 8]
    return pa.table(
        {
            "user_id": pa.array(["ann", "bob"]),
            "item_id": lists(offsets, pa.array([str(number) for number in range(8)])),
            "exposed": lists(offsets, pa.array([1] * 8, pa.int8())),
            "answer": lists(offsets, pa.array(answer, pa.int8())),
            "behaviour_like": lists(offsets, pa.array(liked, pa.int8())),
        }
    )


def test_lift_is_over_all_shown_and_cohens_d_against_the_others():
    """Liked: 3 of 8 shown, all 2 satisfied, 1 of 6 others: lift 1 / .375 − 1, s² = (5/6)/6."""
    table = slates([1, 0, 0, 0, 1, 1, 0, 0], [2, 0, 0, -1, 2, -1, -1, -1])
    found = behaviour_lifts(table, ("like",))["like"]

    assert found["rate"] == pytest.approx(0.375)
    assert found["satisfied"]["n_answers"] == 2
    assert found["satisfied"]["lift"]["mean"] == pytest.approx(1 / 0.375 - 1, abs=1e-3)
    pooled = ((1 / 6 * 5 / 6 * 6) / 6) ** 0.5
    assert found["satisfied"]["cohens_d"]["mean"] == pytest.approx((1 - 1 / 6) / pooled, abs=1e-3)
    assert found["dissatisfied"]["lift"]["mean"] == pytest.approx(-1)


def test_one_answer_is_no_evidence():
    table = slates([1, 0, 0, 0, 1, 1, 0, 0], [2, 0, 0, -1, 2, -1, -1, 1])

    assert behaviour_lifts(table, ("like",))["like"]["uncertain"] is None

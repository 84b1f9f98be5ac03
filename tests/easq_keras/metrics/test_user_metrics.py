"""Rankings averaged over users, whose answers come from several slates and batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from easq_keras.metrics import NDCG, HitRate, MeanReciprocalRank, PairAccuracy, UserMetric

# Ann answers twice, in two batches; Bob once, and is not satisfied; Cid never.
FIRST = {
    "users": np.array([b"ann", b"bob", b"cid"]),
    "y_true": np.array([[1.0, -1.0, 0.0], [0.0, -1.0, -1.0], [-1.0, -1.0, -1.0]]),
    "y_pred": np.array([[0.2, 0.9, 0.5], [0.1, 0.4, 0.3], [0.9, 0.8, 0.7]]),
}
SECOND = {
    "users": np.array([b"ann"]),
    "y_true": np.array([[-1.0, 1.0, -1.0]]),
    "y_pred": np.array([[0.1, 0.4, 8.0]]),
    "mask": np.array([[1, 1, 0]]),
}
# Ann's list: 0.9, 0.5 (no), 0.4 (yes), 0.2 (yes), 0.1.


def measured(metric: UserMetric, *batches: dict) -> float:
    for batch in batches or (FIRST, SECOND):
        metric.update_state(**batch)
    return float(metric.result())


@pytest.mark.parametrize(("k", "expected"), [(1, 0.0), (2, 0.0), (3, 1.0), (10, 1.0)])
def test_hit_rate_is_over_the_union_of_a_users_answered_slates(k: int, expected: float) -> None:
    assert measured(HitRate(k)) == expected


def test_ndcg_is_over_the_same_list() -> None:
    ideal = 1 + 1 / np.log2(3)
    assert measured(NDCG(2)) == 0.0
    assert measured(NDCG(3)) == pytest.approx((1 / np.log2(4)) / ideal)
    assert measured(NDCG(5)) == pytest.approx((1 / np.log2(4) + 1 / np.log2(5)) / ideal)


def test_mrr_takes_the_first_hit() -> None:
    assert measured(MeanReciprocalRank()) == pytest.approx(1 / 3)


def test_pair_accuracy_compares_answers_only() -> None:
    # Ann: 0.2 and 0.4 (yes) against 0.5 (no): none in order. Bob has no pair.
    assert measured(PairAccuracy()) == 0.0
    better = {**FIRST, "y_pred": np.array([[0.5, 0.9, 0.5], [0.0] * 3, [0.0] * 3])}
    assert measured(PairAccuracy(), better, SECOND) == pytest.approx(0.25)  # a tie, and one wrong


def test_the_mean_is_over_users_and_not_over_slates_or_pairs() -> None:
    many = {
        "users": np.array([1, 1, 1, 2]),
        "y_true": np.array([[1.0, 0.0]] * 4),
        "y_pred": np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [1.0, 2.0]]),
    }
    assert measured(PairAccuracy(), many) == pytest.approx(0.5)
    assert measured(HitRate(1), many) == pytest.approx(0.5)


def test_unlabelled_candidates_can_be_left_out_of_the_list() -> None:
    assert measured(MeanReciprocalRank(include_unlabelled=False)) == pytest.approx(1 / 2)
    assert measured(HitRate(2, include_unlabelled=False)) == 1.0


def test_graded_labels_are_gains() -> None:
    graded = {
        "users": np.array([5]),
        "y_true": np.array([[0.0, 1.0, 2.0]]),
        "y_pred": np.array([[0.1, 0.9, 0.5]]),
    }
    ideal = 2 + 1 / np.log2(3)
    assert measured(NDCG(3), graded) == pytest.approx((1 + 2 / np.log2(3)) / ideal)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [(HitRate(2), 0.0), (NDCG(2), 0.0), (MeanReciprocalRank(), 1 / 3), (PairAccuracy(), 0.5)],
)
def test_a_model_that_ties_everything_earns_nothing_by_the_order_of_the_log(
    metric: UserMetric, expected: float
) -> None:
    tied = {
        "users": np.array([1]),
        "y_true": np.array([[1.0, 0.0, -1.0]]),
        "y_pred": np.zeros((1, 3)),
    }
    assert measured(metric, tied) == pytest.approx(expected)


def test_a_nan_score_ranks_last() -> None:
    broken = {
        "users": np.array([1]),
        "y_true": np.array([[1.0, 0.0, 0.0]]),
        "y_pred": np.array([[np.nan, -np.inf, -1e30]]),
    }
    assert measured(MeanReciprocalRank(), broken) == pytest.approx(1 / 3)
    # Level with −∞, and below the third.
    assert measured(PairAccuracy(), broken) == pytest.approx(0.25)


@pytest.mark.parametrize("metric", [HitRate(1), NDCG(1), MeanReciprocalRank(), PairAccuracy()])
class TestEveryUserMetric:
    def test_without_a_defined_user_is_nan_and_not_0(self, metric: UserMetric) -> None:
        metric.reset_state()
        assert np.isnan(float(metric.result()))
        nobody = {**FIRST, "y_true": np.minimum(FIRST["y_true"], 0.0)}
        assert np.isnan(measured(metric, nobody))

    def test_reset_forgets_everything(self, metric: UserMetric) -> None:
        metric.reset_state()
        before = measured(metric)
        measured(metric, {**FIRST, "y_pred": -FIRST["y_pred"]})
        metric.reset_state()
        assert measured(metric) == before

    def test_the_config_rebuilds_it(self, metric: UserMetric) -> None:
        metric.reset_state()
        again = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert again.get_config() == metric.get_config()
        assert measured(again) == measured(metric)

    def test_takes_tensors_of_half_precision_and_numbers_for_users(
        self, metric: UserMetric
    ) -> None:
        metric.reset_state()
        expected = measured(metric)
        metric.reset_state()
        numbers = {b"ann": 2**62, b"bob": -7, b"cid": 0}
        for batch in (FIRST, SECOND):
            users = tf.constant([numbers[user] for user in batch["users"]], tf.int64)
            labels, scores = (
                tf.constant(batch[name], tf.bfloat16) for name in ("y_true", "y_pred")
            )
            metric.update_state(labels, scores, users=users, mask=batch.get("mask"))
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6)

    def test_refuses_a_compiled_step_with_advice(self, metric: UserMetric) -> None:
        # Without autograph, which runs a copy of the code that no coverage counts.
        @tf.function(autograph=False)
        def step(scores: tf.Tensor) -> None:
            metric.update_state(FIRST["y_true"], scores, users=[1, 2, 3])

        with pytest.raises(RuntimeError, match="within a compiled step: predict first"):
            step(tf.constant(FIRST["y_pred"]))

    def test_refuses_shapes_that_do_not_fit(self, metric: UserMetric) -> None:
        with pytest.raises(ValueError, match=r"\(3, 3\), \(3, 2\) and \(3, 2\)"):
            metric.update_state(FIRST["y_true"], FIRST["y_pred"][:, :2], users=FIRST["users"])
        with pytest.raises(ValueError, match=r"`users` must have shape \(batch,\), \(3,\).*\(2,\)"):
            metric.update_state(FIRST["y_true"], FIRST["y_pred"], users=[1, 2])
        with pytest.raises(ValueError, match=r"`y_pred` is ragged\. Pad the slates"):
            metric.update_state([[1.0]], tf.ragged.constant([[1.0], [2.0, 3.0]]), users=[1])


def one_by_one(batches: list[dict]) -> dict[str, list[float]]:
    """Each metric of each user, spelt out."""
    values: dict[str, list[float]] = {"hit": [], "ndcg": [], "mrr": [], "pairs": []}
    for user in sorted({u for batch in batches for u in batch["users"]}):
        items = [
            (score, label)
            for batch in batches
            for owner, labels, scores in zip(
                batch["users"], batch["y_true"], batch["y_pred"], strict=True
            )
            if owner == user and max(labels) >= 0
            for label, score in zip(labels, scores, strict=True)
        ]
        ranked = sorted(items, key=lambda item: (-item[0], item[1]))
        gains = [max(label, 0.0) for _, label in ranked]
        if any(gains):
            values["hit"].append(float(any(gains[:2])))
            best = sum(g / np.log2(2 + r) for r, g in enumerate(sorted(gains, reverse=True)[:2]))
            values["ndcg"].append(sum(g / np.log2(2 + r) for r, g in enumerate(gains[:2])) / best)
            values["mrr"].append(1 / (1 + next(r for r, g in enumerate(gains) if g)))
        order = [(a > b) + 0.5 * (a == b) for a, x in items for b, y in items if x > y >= 0]
        if order:
            values["pairs"].append(float(np.mean(order)))
    return values


@settings(max_examples=60)
@given(data=st.data())
def test_agrees_with_a_reading_of_one_user_at_a_time(data: st.DataObject) -> None:
    batches = []
    for _ in range(data.draw(st.integers(1, 3))):
        rows, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
        cells = {"min_size": rows * width, "max_size": rows * width}
        labels = data.draw(st.lists(st.integers(-1, 2), **cells))
        scores = data.draw(st.lists(st.integers(0, 3), **cells))
        users = data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
        batches.append(
            {
                "users": users,
                "y_true": np.reshape(labels, (rows, width)).astype(float),
                "y_pred": np.reshape(scores, (rows, width)).astype(float),
            }
        )
    expected = one_by_one(batches)
    metrics = {"hit": HitRate(2), "ndcg": NDCG(2), "mrr": MeanReciprocalRank()}
    for name, metric in {**metrics, "pairs": PairAccuracy()}.items():
        mean = float(np.mean(expected[name])) if expected[name] else np.nan
        np.testing.assert_allclose(measured(metric, *batches), mean, rtol=1e-6)


def test_names_say_k() -> None:
    assert [HitRate(5).name, NDCG(10).name, NDCG(3, name="n").name] == [
        "hit_rate_at_5",
        "ndcg_at_10",
        "n",
    ]


@pytest.mark.parametrize("metric", [HitRate, NDCG])
def test_a_wrong_k_is_refused(metric: type[UserMetric]) -> None:
    with pytest.raises(ValueError, match=r"`k` must be a positive integer.*k=0"):
        metric(k=0)

"""What training is watched by: rewards, routers, pairs, scale."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from easq_keras.layers import ReLUMoE
from easq_keras.metrics import DPORewards, PairCoverage, RouterActivity, ScoreScale

ANSWERS = np.array([[1.0, 0.0, -1.0], [0.0, -1.0, -1.0]])
SCORES = np.array([[2.0, 1.0, np.nan], [4.0, np.nan, np.nan]])
REFERENCE = np.array([[0.5, 1.0, np.nan], [0.0, np.nan, np.nan]])


def numbers(metric: keras.metrics.Metric) -> dict[str, float]:
    return {name: float(value) for name, value in metric.result().items()}


class TestDPORewards:
    def test_within_slates(self) -> None:
        metric = DPORewards(beta=0.5)
        metric.update_state(ANSWERS, SCORES, reference_scores=REFERENCE)
        assert numbers(metric) == pytest.approx(
            {
                "rewards/chosen": 0.75,
                "rewards/rejected": 0.0,
                "rewards/margins": 0.75,
                "rewards/accuracies": 1.0,
            }
        )

    def test_across_the_slates_of_a_group_and_over_batches(self) -> None:
        metric = DPORewards(beta=0.5)
        for _ in range(2):
            metric.update_state(
                ANSWERS, SCORES, reference_scores=REFERENCE, groups=np.array([3, 3])
            )
        # The satisfied item, reward 0.75, against rewards 0 and 2.
        assert numbers(metric) == pytest.approx(
            {
                "rewards/chosen": 0.75,
                "rewards/rejected": 1.0,
                "rewards/margins": -0.25,
                "rewards/accuracies": 0.5,
            }
        )

    def test_without_reference_the_reward_is_the_scaled_score(self) -> None:
        metric = DPORewards()
        metric.update_state(ANSWERS, SCORES)
        assert numbers(metric)["rewards/margins"] == pytest.approx(0.1)

    def test_no_pair_gives_zeros(self) -> None:
        metric = DPORewards()
        metric.update_state(ANSWERS, SCORES, mask=np.zeros((2, 3)))
        assert set(numbers(metric).values()) == {0.0}

    def test_a_shape_that_does_not_fit_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"`reference_scores` must have shape.*\(2, 2\)"):
            DPORewards().update_state(ANSWERS, SCORES, reference_scores=np.zeros((2, 2)))

    def test_a_wrong_beta_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"`beta`.*beta=0"):
            DPORewards(beta=0)


class TestRouterActivity:
    GATES = np.array([[[0.2, 0.0, 0.0], [0.0, 0.0, 0.0]], [[0.1, 0.0, 0.4], [9.0, 9.0, 9.0]]])
    MASK = np.array([[1, 1], [1, 0]])

    def test_counts_gates_experts_and_candidates(self) -> None:
        metric = RouterActivity(3)
        metric.update_state(self.GATES, self.MASK)
        assert numbers(metric) == pytest.approx(
            {"share_active": 3 / 9, "dead_experts": 1.0, "all_dead_candidates": 1 / 3}
        )

    def test_an_expert_is_dead_only_if_no_batch_opens_it(self) -> None:
        metric = RouterActivity(3)
        metric.update_state(self.GATES, self.MASK)
        metric.update_state(self.GATES)
        assert numbers(metric)["dead_experts"] == 0.0

    def test_agrees_with_the_layer_on_one_batch(self) -> None:
        layer = ReLUMoE(1, 5, 2)
        h = np.random.default_rng(0).normal(size=(4, 3, 6))
        mask = np.array([[1, 1, 0]] * 4)
        layer(h)
        metric = RouterActivity(5)
        metric.update_state(layer.gates(h), mask)
        of_layer = {name: float(value) for name, value in layer.router_activity(h, mask).items()}
        assert numbers(metric) == pytest.approx(of_layer)

    def test_before_the_first_candidate(self) -> None:
        assert numbers(RouterActivity(3)) == {
            "share_active": 0.0,
            "dead_experts": 3.0,
            "all_dead_candidates": 0.0,
        }

    def test_a_wrong_number_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"`num_experts`.*num_experts=0"):
            RouterActivity(0)


class TestPairCoverage:
    def test_lonely_answers_are_not_covered(self) -> None:
        metric = PairCoverage()
        metric.update_state(ANSWERS)
        metric.update_state(-np.ones((2, 3)))
        assert numbers(metric) == pytest.approx(
            {"pairs": 0.5, "paired_labels": 2 / 3, "paired_batches": 0.5}
        )

    def test_groups_cover_more_and_masks_less(self) -> None:
        grouped, masked = PairCoverage(), PairCoverage()
        grouped.update_state(ANSWERS, groups=np.array([1, 1]))
        masked.update_state(ANSWERS, mask=np.array([[1, 0, 1], [1, 1, 1]]))
        assert numbers(grouped) == {"pairs": 2.0, "paired_labels": 1.0, "paired_batches": 1.0}
        assert numbers(masked) == {"pairs": 0.0, "paired_labels": 0.0, "paired_batches": 0.0}

    def test_before_the_first_batch(self) -> None:
        assert set(numbers(PairCoverage()).values()) == {0.0}


class TestScoreScale:
    def test_is_the_standard_deviation_within_slates_pooled(self) -> None:
        metric = ScoreScale()
        metric.update_state(np.array([[1.0, 5.0, np.nan]]), np.array([[1, 1, 0]]))
        metric.update_state(np.array([[100.0, 100.0, 100.0, 100.0]]))
        # Squares 4 + 4 over six candidates.
        assert float(metric.result()) == pytest.approx(np.sqrt(8 / 6))

    def test_of_nothing_is_0(self) -> None:
        metric = ScoreScale()
        metric.update_state(np.full((2, 3), np.nan), np.zeros((2, 3)))
        assert float(metric.result()) == 0.0

    def test_a_nan_score_of_a_real_candidate_shows(self) -> None:
        metric = ScoreScale()
        metric.update_state(np.array([[np.nan, 1.0]]))
        assert np.isnan(float(metric.result()))


@pytest.mark.parametrize(
    ("metric", "update"),
    [
        (DPORewards(0.5), (ANSWERS, SCORES)),
        (RouterActivity(3), (TestRouterActivity.GATES, TestRouterActivity.MASK)),
        (PairCoverage(), (ANSWERS,)),
        (ScoreScale(), (TestRouterActivity.GATES[0], None)),
    ],
)
class TestEveryTrainingMetric:
    def test_updates_within_a_compiled_step(self, metric, update) -> None:
        def state(step) -> list[np.ndarray]:
            metric.reset_state()
            step(*update)
            return [np.array(variable) for variable in metric.variables]

        eager = state(metric.update_state)
        compiled = state(tf.function(metric.update_state, jit_compile=True))
        for ours, theirs in zip(compiled, eager, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
            assert np.any(ours)

    def test_the_config_rebuilds_it(self, metric, update) -> None:
        again = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert type(again) is type(metric)
        assert again.get_config() == metric.get_config()

"""The gate's limits, as TFMA will check them."""

from pipeline.configs import GateSettings
from pipeline.evaluation.eval_config import eval_config
from pipeline.logs.dataset_config import DatasetConfig
from tests.pipeline.slate_stubs import DATASET

GATE = GateSettings(satisfaction_loss=0.03, behaviour_loss=0.01, min_gain_over_random=0.05)


def config_of(**questionnaire):
    values = {**DATASET, "questionnaire": {**DATASET["questionnaire"], **questionnaire}}
    return eval_config(DatasetConfig.from_dict(values), GATE)


def limits(config):
    (metrics,) = config.metrics_specs
    return {
        name: entry.threshold
        for name, per_slice in metrics.per_slice_thresholds.items()
        for entry in per_slice.thresholds
    }


def test_limits_are_on_the_whole_eval_split_only():
    (metrics,) = config_of().metrics_specs
    assert not metrics.thresholds
    for per_slice in metrics.per_slice_thresholds.values():
        for entry in per_slice.thresholds:
            assert [spec.SerializeToString() for spec in entry.slicing_specs] == [b""]


def test_limits_against_rankings_and_against_the_last_blessed_model():
    found = limits(config_of())
    assert set(found) == {
        "model_over_random/pair_accuracy",
        "model_over_popularity/pair_accuracy/high",
        "model/pair_accuracy",
        "model/behaviour_ndcg@10",
        "model/tied_candidates",
        "model/score_spread",
    }
    assert found["model_over_random/pair_accuracy"].value_threshold.lower_bound.value == 0.05
    assert found["model_over_popularity/pair_accuracy/high"].value_threshold.lower_bound.value == 0
    assert found["model/pair_accuracy"].change_threshold.absolute.value == -0.03
    assert found["model/behaviour_ndcg@10"].change_threshold.absolute.value == -0.01


def test_the_dataset_names_the_primary_metric():
    found = limits(config_of(primary_metric="satisfied_auc"))
    assert "model/satisfied_auc" in found
    assert "model_over_random/satisfied_auc" in found
    assert not any("pair_accuracy" in name for name in found)


def test_the_served_signature_is_evaluated():
    (model,) = config_of().model_specs
    assert model.signature_name == "serving_examples"


def test_slices_are_the_whole_user_activity_and_the_datasets_features():
    slices = [list(spec.feature_keys) for spec in config_of().slicing_specs]
    assert slices == [[], ["user_activity"], ["device"], ["answered_quality"]]

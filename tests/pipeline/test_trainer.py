"""The Trainer's entry point on three hand-written slates (see conftest)."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from easq_keras.alarms import TrainingDivergedError
from easq_keras.export import scoring_model
from easq_keras.models.methods import METHODS, method_info
from pipeline.configs import TrainerSettings
from pipeline.exporting import export_ranker
from pipeline.logs.checked import ConfigError
from pipeline.trainer import checkpoint_beside, run_fn
from pipeline.training_session import (
    TrainingSession,
    build_model,
    check_model_settings,
    feature_specs,
    split_files,
)
from tests.pipeline.conftest import TINY_SLATES
from tests.pipeline.tiny_training import SMALL, tiny_fn_args


@pytest.fixture
def fn_args(tmp_path, tiny_dataset, tiny_transform_dir):
    """11 dense slates and two answered ones."""
    slates = [TINY_SLATES[index % 3] for index in range(11)]
    return tiny_fn_args(tmp_path, tiny_dataset, tiny_transform_dir, slates)


def served_scores(directory, examples):
    ranker = tf.saved_model.load(directory).signatures["serving_examples"]
    return ranker(examples=tf.constant(examples))["score"].numpy()


def test_a_run_leaves_a_served_model_and_a_record(fn_args, tiny_examples, tmp_path):
    run_fn(fn_args)
    scores = served_scores(fn_args.serving_model_dir, tiny_examples)
    assert scores.shape == (3, 4)
    record = json.loads((tmp_path / "model_run" / "training.json").read_text())
    assert record["steps"] == 3  # 11 slates in batches of 4
    assert record["method"] == "EASQ"
    assert record["trade_off"] == {"lambda_dpo": 0.5}
    assert record["settings"]["units"] == 8
    # The second answer is newer than the slates of the first batch, and not than the last.
    assert record["answers"] == {"fresh_groups": 2, "waiting_groups": 0, "remembered": 2}
    assert record["history"]["step"][-1] <= 3
    assert np.isfinite(record["history"]["loss"]).all()


def test_the_same_seed_gives_the_same_scores(fn_args, tiny_examples, tmp_path):
    run_fn(fn_args)
    first = served_scores(fn_args.serving_model_dir, tiny_examples)
    fn_args.serving_model_dir = str(tmp_path / "again")
    run_fn(fn_args)
    np.testing.assert_array_equal(served_scores(fn_args.serving_model_dir, tiny_examples), first)


def with_settings(fn_args, **changes):
    fn_args.custom_config["trainer"].update(changes)
    return fn_args


@pytest.mark.parametrize("bucket", [None, "ram://trained"])
def test_the_next_span_goes_on_where_the_last_one_stopped(fn_args, tiny_dataset, bucket):
    if bucket is not None:
        fn_args.serving_model_dir = f"{bucket}/model/Format-Serving"
        fn_args.model_run_dir = f"{bucket}/model_run"
    run_fn(fn_args)
    settings = TrainerSettings(**fn_args.custom_config["trainer"])
    session = TrainingSession(settings, tiny_dataset, fn_args.transform_graph_path)
    session.restore(checkpoint_beside(fn_args.serving_model_dir))
    assert session.steps == 3
    dense, answered = (split_files(fn_args.train_files, name) for name in ("train", "answered"))
    before = session.model.get_weights()
    record = session.learn(session.read_slates(dense), session.read_answered(answered))
    assert session.steps == 6
    assert record.steps == 3
    assert record.answers == {"fresh_groups": 2, "waiting_groups": 0, "remembered": 4}
    changed = [np.any(a != b) for a, b in zip(session.model.get_weights(), before, strict=True)]
    assert sum(changed) > 10


def test_a_base_model_is_gone_on_from_and_another_shape_is_refused(fn_args, tiny_dataset, tmp_path):
    settings = TrainerSettings(**fn_args.custom_config["trainer"])
    untrained = TrainingSession(settings, tiny_dataset, fn_args.transform_graph_path)
    fn_args.base_model = str(tmp_path / "first" / "Format-Serving")
    untrained.save(checkpoint_beside(fn_args.base_model))
    with pytest.raises(ValueError, match="does not fit the model"):
        run_fn(with_settings(fn_args, model="{}"))
    fn_args.base_model = str(tmp_path / "nowhere" / "Format-Serving")
    with pytest.raises(FileNotFoundError, match="No checkpoint"):
        run_fn(fn_args)


def test_tuned_hyperparameters_are_settings_of_the_model(fn_args, tmp_path):
    fn_args.hyperparameters = {"space": [], "values": {"lambda_dpo": 0.25, "units": 16}}
    run_fn(fn_args)
    record = json.loads((tmp_path / "model_run" / "training.json").read_text())
    assert record["trade_off"] == {"lambda_dpo": 0.25}
    assert (record["settings"]["units"], record["settings"]["num_heads"]) == (16, 2)


def test_a_dataset_without_answers_still_trains(fn_args, tiny_examples):
    answered = fn_args.train_files[1].removesuffix("*") + "slates-00000.tfrecord"
    tf.io.TFRecordWriter(answered).close()
    run_fn(fn_args)
    scores = served_scores(fn_args.serving_model_dir, tiny_examples)
    assert np.isfinite(scores).all()


def test_a_training_that_diverges_is_stopped_and_leaves_no_model(fn_args, tmp_path):
    fn_args.hyperparameters = {"space": [], "values": {"learning_rate": 1e30}}
    with pytest.raises(
        TrainingDivergedError, match=r"Lower learning_rate \(1e\+30\) or lambda_dpo"
    ):
        run_fn(fn_args)
    assert not (tmp_path / "model_run" / "training.json").exists()
    assert not os.path.exists(fn_args.serving_model_dir)


def test_a_missing_split_is_named(fn_args):
    fn_args.train_files = fn_args.train_files[:1]
    with pytest.raises(ValueError, match="no files of the split 'answered'"):
        run_fn(fn_args)


def test_an_unknown_model_setting_is_named():
    settings = TrainerSettings(model='{"lamda_dpo": 1.0}')
    with pytest.raises(ConfigError, match=r"trainer\.model.*lamda_dpo"):
        check_model_settings(settings)


def test_every_transformed_feature_is_an_input_of_the_model(tiny_dataset, tiny_transformed):
    specs = {spec.name: (spec.kind, spec.level) for spec in feature_specs(tiny_dataset)}
    assert specs == {
        "user_id": ("id", "user"),
        "item_id": ("id", "candidate"),
        "hour": ("categorical", "user"),
        "length": ("bucket", "candidate"),
        "length_z": ("numeric", "candidate"),
        "length_rank": ("numeric", "candidate"),
    }
    assert set(specs) <= set(tiny_transformed)


def test_a_model_server_restores_every_variable(
    tiny_dataset, tiny_transform_output, tiny_examples, tmp_path
):
    model = build_model(TrainerSettings(model=SMALL), tiny_dataset)
    directory = str(tmp_path / "served")
    export_ranker(scoring_model(model), tiny_transform_output, tiny_dataset, directory)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:  # as TensorFlow Serving loads it
        graph = tf.compat.v1.saved_model.load(session, ["serve"], directory)
        signature = graph.signature_def["serving_examples"]
        scores = session.run(
            signature.outputs["score"].name, {signature.inputs["examples"].name: tiny_examples}
        )
    np.testing.assert_allclose(scores, served_scores(directory, tiny_examples), atol=1e-5)


# One of each kind of served graph; the others are variants of these.
QUICK_METHODS = ("Blend", "EASQ-paper")


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=[] if name in QUICK_METHODS else pytest.mark.slow)
        for name in METHODS
    ],
)
def test_every_method_trains_and_serves_the_score_of_its_training_graph(
    method, fn_args, tiny_dataset, tiny_transformed, tiny_examples, tmp_path
):
    run_fn(with_settings(fn_args, method=method))
    settings = TrainerSettings(**fn_args.custom_config["trainer"])
    session = TrainingSession(settings, tiny_dataset, fn_args.transform_graph_path)
    session.restore(checkpoint_beside(fn_args.serving_model_dir))
    mask = tiny_transformed["mask"] == 1
    expected = session.model(tiny_transformed)["score"].numpy()[mask]
    assert np.ptp(expected) > 1e-4
    served = served_scores(fn_args.serving_model_dir, tiny_examples)[mask]
    np.testing.assert_allclose(served, expected, atol=1e-5)
    record = json.loads((tmp_path / "model_run" / "training.json").read_text())
    assert (record["method"], record["steps"]) == (method, 3)
    trade_off = method_info(method).trade_off
    assert record["trade_off"] == (trade_off and {trade_off: record["settings"][trade_off]})


def test_the_served_graph_holds_no_satisfaction_path(tiny_dataset, tiny_transform_output, tmp_path):
    model = build_model(TrainerSettings(model=SMALL), tiny_dataset)
    directory = str(tmp_path / "served")
    export_ranker(scoring_model(model), tiny_transform_output, tiny_dataset, directory)
    stored = sum(
        int(np.prod(shape))
        for name, shape in tf.train.list_variables(f"{directory}/variables/variables")
        if not name.startswith("_CHECKPOINTABLE") and "save_counter" not in name
    )
    served = [variable for variable in model.variables if "satisfaction" not in variable.path]
    # The behaviour head and the diagnostics' sums stay behind as well.
    assert (
        stored
        == scoring_model(model).count_params()
        < sum(int(np.prod(variable.shape)) for variable in served)
    )

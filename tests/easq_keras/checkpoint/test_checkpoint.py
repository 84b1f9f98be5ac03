"""Training that stops and goes on from a checkpoint is training that never stopped."""

import json

import keras
import numpy as np
import pytest

from easq_keras.checkpoint import load_checkpoint, save_checkpoint
from easq_keras.layers import FeatureSpec
from easq_keras.models import EASQ
from tests.easq_keras.models.small import ALIGNED_SIZES, ANSWERED, SPECS, batch, easq, emer


def state(model) -> dict[str, np.ndarray]:
    """All variables by name: weights, optimizers, running statistics."""
    found = {f"{i}": v for i, v in enumerate(model.weights)}
    for name in ("optimizer", "satisfaction_optimizer"):
        if hasattr(model, name):
            found |= {f"{name}{i}": v for i, v in enumerate(getattr(model, name).variables)}
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


def assert_same_state(left, right) -> None:
    left, right = state(left), state(right)
    assert set(left) == set(right)
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


def made(kind: str, seed: int, **changes):
    keras.utils.set_random_seed(seed)
    model = emer(**changes) if kind == "emer" else easq(kind, **changes)
    rows = {} if kind == "emer" else {"answered_rows": ANSWERED}
    model.compile(run_eagerly=True, **rows)
    return model


def train(model, seeds) -> None:
    for seed in seeds:
        model.train_on_batch(*batch(seed, answers=seed != 1))


@pytest.mark.parametrize("kind", ["emer", "paper", "recommended"])
def test_going_on_is_never_having_stopped(kind, tmp_path):
    straight = made(kind, seed=0)
    train(straight, range(4))
    first = made(kind, seed=0)
    train(first, range(2))
    save_checkpoint(first, tmp_path)
    second = made(kind, seed=9)  # starts elsewhere
    load_checkpoint(second, tmp_path)
    assert_same_state(first, second)
    train(second, range(2, 4))
    assert_same_state(straight, second)


def test_the_decay_goes_on_towards_the_very_first_values(tmp_path):
    first = made("recommended", seed=0)
    home = first.satisfaction_tower.hidden.kernel.numpy()
    train(first, range(2))
    save_checkpoint(first, tmp_path)
    second = made("recommended", seed=9)
    load_checkpoint(second, tmp_path)
    kept = [keras.ops.convert_to_numpy(v) for v in second.satisfaction_optimizer.variables]
    assert any(v.shape == home.shape and np.array_equal(v, home) for v in kept)


def test_learning_rates_and_weights_of_losses_are_those_of_the_model_that_loads(tmp_path):
    save_checkpoint(made("recommended", seed=0), tmp_path)
    model = made("recommended", seed=1, learning_rate=0.5, lambda_dpo=3.0)
    load_checkpoint(model, tmp_path)
    assert float(model.optimizer.learning_rate) == 0.5
    assert float(model.satisfaction_optimizer.learning_rate) == 0.5
    assert model.settings.lambda_dpo == 3.0


def test_a_schedule_stays_a_schedule(tmp_path):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    models = [easq(), easq()]
    for model in models:
        model.compile(optimizer=keras.optimizers.Adam(schedule), run_eagerly=True)
    train(models[0], range(2))
    save_checkpoint(models[0], tmp_path)
    load_checkpoint(models[1], tmp_path)
    assert float(models[1].optimizer.learning_rate) == pytest.approx(0.025)


def test_a_backbone_that_keras_has_numbered_loads_too(tmp_path):
    models = [
        EASQ(SPECS, backbone=keras.layers.Dense(8, activation="tanh"), **ALIGNED_SIZES)
        for _ in range(2)
    ]
    assert models[0].backbone.name != models[1].backbone.name
    for model in models:
        model.compile(run_eagerly=True)
    save_checkpoint(models[0], tmp_path)
    load_checkpoint(models[1], tmp_path)
    assert_same_state(*models)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            lambda: made("recommended", 0, units=12, num_heads=3),
            r"variables\[\d+\].*\[9, 8\].*\[9, 12\]",
        ),
        (lambda: made("recommended", 0, use_lora=False), "lora"),
        (lambda: made("emer", 0), "model: the checkpoint has 'EASQ', the model 'EMER'"),
    ],
)
def test_a_model_that_it_does_not_fit_is_told_where_and_left_alone(other, message, tmp_path):
    save_checkpoint(made("recommended", 1), tmp_path)
    model = other()
    before = state(model)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(model, tmp_path)
    for name, value in state(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_other_features_are_named(tmp_path):
    save_checkpoint(made("recommended", 0), tmp_path)
    specs = [*SPECS[:2], FeatureSpec("cvr", "numeric")]
    model = EASQ(specs, **ALIGNED_SIZES)
    model.compile()
    with pytest.raises(ValueError, match=r"features\[2\].*'ctr'.*'cvr'"):
        load_checkpoint(model, tmp_path)


def test_another_optimizer_is_named(tmp_path):
    save_checkpoint(made("recommended", 0), tmp_path)
    model = easq()
    model.compile(optimizer="sgd")
    with pytest.raises(ValueError, match=r"optimizers\[0\].*'Adam'.*'SGD'"):
        load_checkpoint(model, tmp_path)


def test_a_new_checkpoint_takes_the_place_of_the_old_one(tmp_path):
    model = made("recommended", 0)
    for seed in range(3):
        train(model, [seed])
        save_checkpoint(model, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    other = made("recommended", 5)
    load_checkpoint(other, tmp_path)
    assert_same_state(model, other)


@pytest.mark.parametrize("stopped_at", ["new.weights.h5", "new-checkpoint.json"])
def test_a_write_that_is_interrupted_leaves_the_old_checkpoint(stopped_at, tmp_path, monkeypatch):
    model = made("recommended", 0)
    save_checkpoint(model, tmp_path)
    kept = made("recommended", 7)
    load_checkpoint(kept, tmp_path)
    train(model, [0])
    replace = __import__("os").replace

    def interrupted(source, target):
        if str(source).endswith(stopped_at):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(model, tmp_path)
    monkeypatch.undo()
    other = made("recommended", 5)
    load_checkpoint(other, tmp_path)
    assert_same_state(kept, other)


def test_damage_is_noticed(tmp_path):
    model = made("recommended", 0)
    save_checkpoint(model, tmp_path)
    [weights] = tmp_path.glob("*.h5")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"not the file that checkpoint\.json describes"):
        load_checkpoint(model, tmp_path)
    weights.unlink()
    with pytest.raises(ValueError, match="is absent"):
        load_checkpoint(model, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is no JSON"), ("[]", "is not of format 1"), ('{"format": 99}', "is not of format 1")],
)
def test_a_description_that_makes_no_sense_is_refused(content, message, tmp_path):
    (tmp_path / "checkpoint.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(made("recommended", 0), tmp_path)


def test_a_description_cannot_point_out_of_its_folder(tmp_path):
    model = made("recommended", 0)
    save_checkpoint(model, tmp_path / "one")
    save_checkpoint(model, tmp_path / "two")
    [weights] = (tmp_path / "one").glob("*.h5")
    description = tmp_path / "two" / "checkpoint.json"
    found = json.loads(description.read_text())
    description.write_text(json.dumps({**found, "weights": f"../one/x{weights.name}"}))
    weights.rename(weights.with_name(f"x{weights.name}"))
    with pytest.raises(ValueError, match="is absent"):
        load_checkpoint(model, tmp_path / "two")


def test_an_empty_folder_holds_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No checkpoint in .*checkpoint\.json is absent"):
        load_checkpoint(made("recommended", 0), tmp_path)


@pytest.mark.parametrize("function", [save_checkpoint, load_checkpoint])
@pytest.mark.parametrize("model", [easq, lambda: keras.Sequential()], ids=["raw", "other"])
def test_only_compiled_models_have_a_training_state(function, model, tmp_path):
    with pytest.raises(ValueError, match="on which `compile` was called"):
        function(model(), tmp_path)

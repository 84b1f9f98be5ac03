"""One step of EASQ: what moves, what does not, and that the fast form is the same step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from easq_keras.models.training import apply_if
from easq_keras.optimizers import AdamTowardInit
from tests.easq_keras.models.small import ANSWERED, batch, easq, emer, wake


def values(variables) -> list[np.ndarray]:
    return [variable.numpy().copy() for variable in variables]


def satisfaction_state(model) -> list[np.ndarray]:
    """All that answers may move: the path, its optimizer, and the count of answered steps."""
    return values(
        [
            *model.satisfaction_variables,
            *model.satisfaction_optimizer.variables,
            model.answered_steps,
        ]
    )


def dataset(*batches) -> tf.data.Dataset:
    """A dataset that yields the batches as they are."""
    features = [features for features, _ in batches]
    labels = [labels for _, labels in batches]
    stacked = keras.tree.map_structure(lambda *parts: np.stack(parts), *features)
    stacked_labels = keras.tree.map_structure(lambda *parts: np.stack(parts), *labels)
    return tf.data.Dataset.from_tensor_slices((stacked, stacked_labels))


@pytest.mark.parametrize(
    ("preset", "jit"),
    [("recommended", False), ("recommended", True), ("paper", True)],
    ids=["recommended, graph", "recommended, XLA", "paper, XLA"],
)
def test_a_step_without_answers_leaves_the_satisfaction_path_bit_for_bit(preset, jit):
    model = easq(preset)
    model.compile(answered_rows=ANSWERED, jit_compile=jit, steps_per_execution=2)
    # Two steps with answers first, so that there is momentum that could drift.
    model.fit(dataset(batch(1), batch(2)), verbose=0)
    assert int(model.satisfaction_optimizer.iterations) == 2
    before, tower_before = satisfaction_state(model), values(model.tower.trainable_variables)
    model.fit(dataset(batch(3, answers=False), batch(4, answers=False)), verbose=0)
    for old, new in zip(before, satisfaction_state(model), strict=True):
        np.testing.assert_array_equal(old, new)
    # The rest has moved on.
    assert int(model.optimizer.iterations) == 4
    assert any(
        np.any(old != new)
        for old, new in zip(tower_before, values(model.tower.trainable_variables), strict=True)
    )


def test_answers_without_a_pair_do_not_move_a_pairwise_path():
    model = easq("paper")
    model.compile(run_eagerly=True)
    features, labels = batch()
    labels["answer"] = np.where(labels["answer"] >= 0, 1, -1).astype("float32")
    before = satisfaction_state(model)
    logs = model.train_on_batch(features, labels, return_dict=True)
    for old, new in zip(before, satisfaction_state(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert logs["answers/coverage"] == 0


def test_one_answer_moves_the_recommended_path():
    keras.utils.set_random_seed(0)  # a seed that opens a gate for the candidate
    model = easq("recommended")
    wake(model)
    model.compile(run_eagerly=True)
    features, labels = batch(answered=1)
    before = values(model.satisfaction_variables)
    logs = model.train_on_batch(features, labels, return_dict=True)
    assert logs["answers/used"] == 1
    assert int(model.satisfaction_optimizer.iterations) == 1
    moved = [
        np.any(old != new)
        for old, new in zip(before, values(model.satisfaction_variables), strict=True)
    ]
    assert any(moved)


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("paper", {}),
        ("paper", {"dpo_reference": "behaviour"}),
        ("recommended", {}),
        ("recommended", {"dpo_reference": "satisfaction"}),
        ("recommended", {"use_dpo": False, "shaping": 0.5}),
    ],
)
def test_saying_where_the_answers_lie_changes_the_cost_and_not_the_step(preset, changes):
    after = []
    for rows in (None, ANSWERED):
        keras.utils.set_random_seed(5)
        model = easq(preset, **changes)
        model.compile(
            optimizer=keras.optimizers.SGD(0.1),
            satisfaction_optimizer=keras.optimizers.SGD(0.1),
            answered_rows=rows,
            run_eagerly=True,
        )
        for seed in range(3):
            model.train_on_batch(*batch(seed))
        after.append(values(model.weights))
    for plain, fast in zip(*after, strict=True):
        np.testing.assert_allclose(plain, fast, atol=1e-6)


def test_labels_outside_their_rows_are_counted():
    model = easq("recommended")
    model.compile(answered_rows=ANSWERED, run_eagerly=True)
    features, labels = batch()
    labels["answer"][0, 0] = 1  # an answer in a dense row
    labels["behaviour"][-1, 0] = 2  # behaviour in an answered row
    features["mask"][1] = [1, 1, 1, 0, 0]
    labels["behaviour"][1] = [2, 0, -1, 1, -1]  # the fourth candidate is padding
    logs = model.train_on_batch(features, labels, return_dict=True)
    assert logs["labels/ignored"] == 3
    assert logs["answers/used"] == ANSWERED


@pytest.mark.parametrize("preset", ["paper", "recommended"])
def test_labels_in_double_precision_are_the_same_labels(preset):
    model = easq(preset)
    features, labels = batch()
    outputs = model(features, learning=True)
    wide = {name: label.astype("float64") for name, label in labels.items()}
    wide["pair_group"] = labels["pair_group"]
    single, double = (model.objective(outputs, given).terms for given in (labels, wide))
    assert {n: float(t) for n, t in single.items()} == {n: float(t) for n, t in double.items()}


def test_without_dpo_the_score_learns_as_emer_does():
    aligned, plain = easq(use_dpo=False, use_lora=False, use_moe=True), emer()
    for part in ("embedding", "backbone", "tower"):
        getattr(plain, part).set_weights(getattr(aligned, part).get_weights())
    for model in (aligned, plain):
        model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
        for seed in range(3):
            model.train_on_batch(*batch(seed))
    features, _ = batch(9)
    np.testing.assert_allclose(aligned(features)["score"], plain(features)["score"], atol=1e-6)


def test_the_ramp_counts_steps_with_answers():
    model = easq("recommended", dpo_ramp_steps=4, lambda_dpo=2.0)
    model.compile(run_eagerly=True)
    strengths = []
    for seed, answers in enumerate([True, False, True, True, True, True]):
        logs = model.train_on_batch(*batch(seed, answers=answers), return_dict=True)
        model.reset_metrics()
        strengths.append(float(logs["dpo/weight"]))
    assert strengths == [0.0, 0.5, 0.5, 1.0, 1.5, 2.0]


def test_beta_rises_from_its_start_to_its_end():
    model = easq("recommended", dpo_ramp_steps=2, beta=1.0, beta_start=0.2)
    betas = []
    for steps in range(4):
        model.answered_steps.assign(steps)
        betas.append(float(model.current_beta()))
    assert betas == pytest.approx([0.2, 0.6, 1.0, 1.0])


@pytest.mark.parametrize("pairs", ["slate", "answers"])
def test_a_ramped_beta_is_the_beta_of_the_loss(pairs):
    changes = {"dpo_pairs": pairs, "dpo_reference": "satisfaction", "satisfaction_loss": "bce"}
    features, labels = batch()

    def dpo(**settings) -> float:
        keras.utils.set_random_seed(2)
        model = easq("recommended", **changes, **settings)
        wake(model)
        outputs = model(features, learning=True)
        return float(model.objective(outputs, labels).terms["dpo"])

    started = dpo(beta=1.0, beta_start=0.3, dpo_ramp_steps=10)
    assert started == pytest.approx(dpo(beta=0.3), rel=1e-5)
    assert started != pytest.approx(dpo(beta=1.0), rel=1e-3)


def test_the_default_optimizers_are_those_of_the_settings():
    model = easq("recommended", learning_rate=0.02, satisfaction_decay=4.0)
    model.compile()
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert isinstance(model.satisfaction_optimizer, AdamTowardInit)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    assert float(model.satisfaction_optimizer.learning_rate) == pytest.approx(0.02)
    assert model.satisfaction_optimizer.decay == 4.0


def test_each_optimizer_has_state_for_its_own_variables_only():
    model = easq("recommended")
    model.compile(optimizer="adam", satisfaction_optimizer="sgd")
    own = len(model.behaviour_variables) + len(model.satisfaction_variables)
    assert own == len(model.trainable_variables)
    # Adam: two moments a variable, the step count and the learning rate.
    assert len(model.optimizer.variables) == 2 * len(model.behaviour_variables) + 2


def test_the_scale_of_the_scores_is_tracked_over_exposed_candidates():
    model = easq("recommended")
    model.compile(run_eagerly=True)
    features, labels = batch()
    outputs = {name: np.asarray(v, "float64") for name, v in model(features).items()}
    shown = (labels["behaviour"] >= 0) & (features["mask"] == 1)
    expected = []
    for name in ("score", "satisfaction"):
        squares = []
        for row, where in zip(outputs[name], shown, strict=True):
            if where.any():
                squares.extend((row[where] - row[where].mean()) ** 2)
        expected.append(0.99 + 0.01 * np.sqrt(np.mean(squares)))
    model.train_on_batch(features, labels)
    np.testing.assert_allclose(model.score_scale, expected, rtol=1e-5)


def test_half_precision_scales_both_losses():
    model = easq("recommended", dtype="mixed_float16")
    model.compile(run_eagerly=True)
    scaled = keras.optimizers.LossScaleOptimizer
    assert isinstance(model.optimizer, scaled)
    assert isinstance(model.satisfaction_optimizer, scaled)
    for seed in range(3):
        logs = model.train_on_batch(*batch(seed), return_dict=True)
    assert np.isfinite(logs["loss"])
    assert model(batch()[0])["score"].dtype == "float32"


def test_regularizers_of_both_paths_are_applied():
    weights = []
    for strength in (0.0, 10.0):
        keras.utils.set_random_seed(4)
        model = easq("recommended")
        for layer in (model.backbone.projection, model.lora):
            name = "kernel" if layer is not model.lora else "lora_kernel_a"
            getattr(layer, name).regularizer = keras.regularizers.L2(strength)
        model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01), run_eagerly=True)
        model.train_on_batch(*batch())
        weights.append([model.backbone.projection.kernel, model.lora.lora_kernel_a])
    for free, shrunk in zip(*weights, strict=True):
        assert np.linalg.norm(shrunk) < 0.9 * np.linalg.norm(free)


def test_evaluate_reports_the_losses_and_learns_nothing():
    model = easq("recommended")
    model.compile(run_eagerly=True)
    features, labels = batch()
    before = values(model.weights)
    logs = model.evaluate(
        features, labels, batch_size=len(features["user_id"]), verbose=0, return_dict=True
    )
    assert set(logs) == set(model.diagnostic_names())
    terms = model.objective(model(features, learning=True), labels).terms
    assert logs["loss/dpo"] == pytest.approx(float(terms["dpo"]), rel=1e-5)
    for old, new in zip(before, values(model.weights), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_open_gate_is_the_optimizers_own_step():
    def step(gated: bool) -> list[np.ndarray]:
        variable = keras.Variable([1.0, -2.0])
        optimizer = keras.optimizers.Adam(0.1)
        optimizer.build([variable])
        gradients = [np.array([0.5, 1.0], "float32")]
        if gated:
            apply_if(keras.ops.convert_to_tensor(True), optimizer, gradients, [variable])
        else:
            optimizer.apply(gradients, [variable])
        return values([variable, *optimizer.variables])

    for gated, plain in zip(step(True), step(False), strict=True):
        np.testing.assert_array_equal(gated, plain)

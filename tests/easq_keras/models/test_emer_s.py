"""EMER_s: the pairs that answers make, counted by hand, and its step without them."""

import keras
import numpy as np
import pytest

from easq_keras.models import EMERSSettings
from tests.easq_keras.models.small import ANSWERED, batch, method


def log_sigmoid(x: float) -> float:
    return -np.logaddexp(0.0, -x)


def answers_term(model, outputs, labels) -> float:
    return float(model.objective(outputs, labels).terms["satisfaction"])


def outputs_of(score: list[list[float]], dense: int = 0) -> dict:
    """What `call` returns for rows without padding, of which the first `dense` are dense."""
    scores = np.array(score, "float32")
    mask = np.ones(scores.shape, bool)
    return {
        "score": keras.ops.convert_to_tensor(scores[:dense]),
        "mask": keras.ops.convert_to_tensor(mask[:dense]),
        "answered_score": keras.ops.convert_to_tensor(scores[dense:]),
        "answered_mask": keras.ops.convert_to_tensor(mask[dense:]),
        "router": {},
        "router_mask": keras.ops.convert_to_tensor(mask),
    }


def test_pairs_are_satisfied_over_dissatisfied_of_one_group():
    labels = {
        "behaviour": -np.ones((4, 2), "float32"),
        "answer": np.array([[1, -1], [-1, 0], [0, -1], [0, -1]], "float32"),
        "pair_group": np.array([5, 5, 5, 6]),
    }
    outputs = outputs_of([[0.3, 9.0], [9.0, 0.1], [0.7, 9.0], [-4.0, 9.0]])
    # Row 0 over rows 1 and 2; row 3 is of another group.
    expected = -(log_sigmoid(0.3 - 0.1) + log_sigmoid(0.3 - 0.7)) / 2
    assert answers_term(method("EMER_s-pair"), outputs, labels) == pytest.approx(expected)


def test_levels_put_answers_above_or_below_the_rest_of_the_slate():
    labels = {
        "behaviour": -np.ones((2, 4), "float32"),
        "answer": np.array([[1, -1, -1, -1], [-1, 0, -1, -1]], "float32"),
        "exposed": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], "float32"),
    }
    outputs = outputs_of([[0.5, 0.2, -0.1, 9.0], [0.4, 0.3, 9.0, 9.0]])
    # 0 over 1 and 2 of the first slate (3 was not exposed); 0 over 1 of the second.
    margins = [0.5 - 0.2, 0.5 + 0.1, 0.4 - 0.3]
    expected = -np.mean([log_sigmoid(margin) for margin in margins])
    assert answers_term(method("EMER_s-level"), outputs, labels) == pytest.approx(expected)


def test_two_answers_of_one_slate_are_a_pair_of_both_kinds():
    labels = {
        "behaviour": -np.ones((1, 3), "float32"),
        "answer": np.array([[1, 0, -1]], "float32"),
        "exposed": np.ones((1, 3), "float32"),
    }
    outputs = outputs_of([[0.5, 0.2, 0.1]])
    pair = -log_sigmoid(0.5 - 0.2)
    level = np.mean([pair, -log_sigmoid(0.5 - 0.1), -log_sigmoid(0.1 - 0.2)])
    assert answers_term(method("EMER_s-pair"), outputs, labels) == pytest.approx(pair)
    assert answers_term(method("EMER_s-level"), outputs, labels) == pytest.approx(level)


def test_a_behaviour_level_says_that_a_candidate_was_exposed():
    outputs = outputs_of([[0.5, 0.2, 0.1]])
    labels = {
        "behaviour": np.array([[0, 2, -1]], "float32"),
        "answer": np.array([[1, -1, -1]], "float32"),
    }
    expected = -log_sigmoid(0.5 - 0.2)
    assert answers_term(method("EMER_s-level"), outputs, labels) == pytest.approx(expected)


def test_padding_is_no_candidate_to_be_above():
    model = method("EMER_s-level")
    outputs = outputs_of([[0.5, 0.2, 0.1]])
    outputs["answered_mask"] = np.array([[True, True, False]])
    labels = {
        "behaviour": -np.ones((1, 3), "float32"),
        "answer": np.array([[1, -1, 0]], "float32"),
        "exposed": np.ones((1, 3), "float32"),
    }
    objective = model.objective(outputs, labels)
    assert float(objective.terms["satisfaction"]) == pytest.approx(-log_sigmoid(0.5 - 0.2))
    assert float(objective.report.values["labels/ignored"]) == 1


@pytest.mark.parametrize("form", ["EMER_s-pair", "EMER_s-level"])
def test_without_answers_the_step_is_emers(form):
    after = []
    for model in (method(form), method("EMER")):
        model.compile(keras.optimizers.SGD(0.1), answered_rows=ANSWERED, run_eagerly=True)
        model.train_on_batch(*batch(answers=False))
        after.append([np.asarray(v) for v in model.trainable_variables])
    for ours, plain in zip(*after, strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-7)


@pytest.mark.parametrize("form", ["EMER_s-pair", "EMER_s-level"])
def test_saying_where_the_answers_lie_does_not_change_the_step(form):
    after = []
    for rows in (None, ANSWERED):
        model = method(form)
        model.compile(keras.optimizers.SGD(0.1), answered_rows=rows, run_eagerly=True)
        model.train_on_batch(*batch())
        after.append([np.asarray(v) for v in model.weights])
    for plain, told in zip(*after, strict=True):
        np.testing.assert_allclose(plain, told, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"answer_pairs": "listwise"}, "`answer_pairs` must be one of 'pair', 'level'"),
        (
            {"lambda_satisfaction": -1.0},
            "`lambda_satisfaction` must be a finite number",
        ),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EMERSSettings(**settings)

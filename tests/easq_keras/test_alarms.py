"""Trainings that go wrong and what is told of them; one that goes well is left alone."""

import keras
import numpy as np
import pytest

from easq_keras.alarms import TrainingAlarms, TrainingDivergedError
from easq_keras.layers import FeatureSpec
from easq_keras.models import EASQ, EMER
from easq_keras.models.emer_s import EMERS

SMALL = {"units": 8, "num_heads": 2, "num_layers": 1, "num_experts": 2, "expert_hidden_dim": 8}
ITEMS, WIDTH, ROWS = 20, 5, 64


def slates(against=True):
    """Behaviour prefers items of a high number, and all answers prefer those of a low one."""
    generator = np.random.default_rng(5)
    item = generator.permuted(np.tile(np.arange(ITEMS), (ROWS, 1)), axis=1)[:, :WIDTH]
    behaviour = (item >= ITEMS // 2).astype("float32")
    answer = (item < ITEMS // 2 if against else item >= ITEMS // 2).astype("float32")
    return {"item": item, "x": item / ITEMS}, {
        "behaviour": behaviour,
        "answer": answer,
    }


def trained(method, alarms, *, epochs=12, against=True, **settings):
    keras.utils.set_random_seed(3)
    specs = [
        FeatureSpec("item", "categorical", num_buckets=ITEMS, dim=8),
        FeatureSpec("x", "numeric"),
    ]
    model = method(specs, **{**SMALL, "learning_rate": 0.01, **settings})
    model.compile(jit_compile=False)
    model.fit(*slates(against), batch_size=8, epochs=epochs, verbose=0, callbacks=[alarms])
    return model


@pytest.mark.parametrize("against", [True, False])
def test_a_training_that_goes_well_has_no_alarm(against):
    alarms = TrainingAlarms(every=1)
    trained(EASQ, alarms, against=against)
    assert alarms.messages == {}


def test_a_training_that_diverges_is_stopped_and_says_what_to_lower():
    with pytest.raises(TrainingDivergedError) as caught:
        trained(EASQ, TrainingAlarms(every=1), learning_rate=1e30)
    message = str(caught.value)
    assert "loss/main is nan" in message or "loss is nan" in message
    assert "Lower learning_rate (1e+30) or lambda_dpo (0.5)" in message


def test_without_a_weight_of_satisfaction_none_is_named():
    with pytest.raises(TrainingDivergedError, match=r"Lower learning_rate \(1e\+30\), and see"):
        trained(EMER, TrainingAlarms(every=1), learning_rate=1e30)


def test_too_large_a_weight_of_satisfaction_is_named_with_what_it_costs(caplog):
    alarms = TrainingAlarms(every=1)
    trained(EASQ, alarms, epochs=40, lambda_dpo=200.0, dpo_ramp_steps=0, use_moe=True)
    assert set(alarms.messages) == {"price"}
    assert "lower lambda_dpo (200)" in alarms.messages["price"]
    assert "the head that learns behaviour alone has 0." in alarms.messages["price"]
    assert [record.message for record in caplog.records if "worse than chance" in record.message]

    of_pairs = TrainingAlarms(every=1)
    trained(EMERS, of_pairs, answer_pairs="level", lambda_satisfaction=200.0)
    assert "lower lambda_satisfaction (200)" in of_pairs.messages["price"]


def test_shaped_levels_are_not_taken_for_behaviour():
    alarms = TrainingAlarms(every=1)
    trained(EASQ, alarms, use_dpo=False, shaping=5.0, dpo_ramp_steps=0)
    assert "price" not in alarms.messages


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        ({"router/all_dead_candidates": 0.6}, "router", "no expert of ŷ is open for 60%"),
        ({"satisfaction_router/all_dead_candidates": 1.0}, "satisfaction_router", "expert of ŝ"),
        ({"satisfaction/collapsed": 0.6}, "collapsed", "Lower satisfaction_decay"),
        ({"score/std": 21.0}, "scale", "ŷ spreads by 21 within a slate"),
    ],
)
def test_what_is_told_of_a_value(values, kind, says):
    alarms = TrainingAlarms(patience=1)
    alarms.look(1, values)
    assert says in alarms.messages[kind]
    alarms.look(2, dict.fromkeys(values, 0.0))
    assert alarms.messages == {}


def test_a_problem_has_to_last():
    alarms = TrainingAlarms(patience=3)
    wrong, right = {"score/std": 30.0}, {"score/std": 1.0}
    for step, values in enumerate([wrong, wrong, right, wrong, wrong]):
        alarms.look(step, values)
        assert alarms.messages == {}
    alarms.look(6, wrong)
    assert set(alarms.messages) == {"scale"}


def test_it_looks_every_so_many_steps_and_anew_in_each_epoch():
    looked = []

    class Counting(TrainingAlarms):
        def look(self, step, values):
            looked.append(step)

    trained(EMER, Counting(every=4), epochs=2)
    assert looked == [1, 5, 1, 5]  # of 8 steps each


@pytest.mark.parametrize("arguments", [{"every": 0}, {"patience": 1.5}])
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        TrainingAlarms(**arguments)

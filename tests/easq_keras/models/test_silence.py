"""Answers that need no question: silence is learnt from all that was shown, item by item."""

import keras
import numpy as np
import pytest

from easq_keras.layers import FeatureSpec
from easq_keras.models import EASQ
from tests.easq_keras.models.small import ANSWERED, batch, easq, wake

SILENCE = {"satisfaction_loss": "silence", "lora_embedding_dim": 4}


def terms(model: EASQ, features, labels) -> dict[str, float]:
    outputs = model(features, training=True, learning=True)
    objective = model.objective(outputs, labels)
    return {name: float(value) for name, value in objective.terms.items()}


def test_the_loss_is_a_mean_over_answers_and_a_mean_over_what_was_shown():
    """Without a delta and with a tower that says 2 of everything: both means are known."""
    model = easq(use_lora=False, **SILENCE)
    tower = model.satisfaction_tower
    tower.set_weights([np.zeros_like(weight) for weight in tower.get_weights()])
    [bias] = [v for v in tower.trainable_variables if v.path.endswith("output/bias")]
    bias.assign([2.0])
    features, labels = batch(3)  # half of its answers are satisfied
    satisfied, dissatisfied = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    expected = (satisfied + dissatisfied) / 2 + dissatisfied
    assert terms(model, features, labels)["satisfaction"] == pytest.approx(expected, rel=1e-5)


def test_one_half_is_no_answer():
    model = easq(**SILENCE)
    features, labels = batch(3)
    silent = {**labels, "answer": labels["answer"].copy()}
    free = (silent["answer"] < 0) & (features["mask"] == 1)
    free[:-ANSWERED] = False
    silent["answer"][free] = 0.5
    assert free.any()
    assert terms(model, features, silent) == terms(model, features, labels)


def test_a_step_without_answers_leaves_the_satisfaction_path_as_it_was():
    """What is shown counts against answers: without any there is nothing to weigh it against."""
    model = easq(**SILENCE)
    model.compile(answered_rows=ANSWERED)
    before = [variable.numpy() for variable in model.satisfaction_variables]
    features, labels = batch(3, answers=False)
    model.train_on_batch(features, labels)
    for old, new in zip(before, model.satisfaction_variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_only_candidates_have_rows_of_the_deltas_own_and_they_start_at_nothing():
    model = easq(**SILENCE)
    assert set(model.lora_embedding.tables) == {"item_id"}  # no user, no number
    assert not model.lora_embedding.tables["item_id"].embeddings.numpy().any()
    assert easq(use_lora=False, **SILENCE).lora_embedding is None


def test_the_row_of_an_item_that_is_not_shown_stays_as_it_is_after_a_reload_too(tmp_path):
    model = easq(**SILENCE)
    wake(model)
    model.compile(answered_rows=ANSWERED)
    features, labels = batch(3)
    features["item_id"] = features["item_id"] % 7
    for number in range(2):
        table = model.lora_embedding.tables["item_id"].embeddings
        table.assign(np.where(np.arange(30)[:, None] < 7, table, 1.0))
        before = table.numpy()
        model.train_on_batch(features, labels)
        assert (table.numpy() != before).any(axis=1).tolist()[7:] == [False] * 23
        assert (table.numpy()[:7] != before[:7]).any()
        model.save(tmp_path / f"{number}.keras")
        model = keras.saving.load_model(tmp_path / f"{number}.keras")


def test_it_learns_which_items_are_liked_whatever_behaviour_says():
    """Items 1 to 8 are liked the more the higher their number, and watched the less."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    items = np.arange(1, 9)
    features = [FeatureSpec("item", "id", num_buckets=9, dim=4)]
    model = EASQ(features, units=8, num_heads=2, satisfaction_decay=1.0, **SILENCE)
    model.compile(answered_rows=16)
    for _ in range(600):
        shown = rng.choice(items, (32, 4))
        liked = rng.random(shown.shape) < shown / 80
        watched = rng.random(shown.shape) < 1 - shown / 10
        [rows] = np.nonzero(liked.any(axis=1))
        rows = np.resize(rows, 16)  # as many again as there is room for
        nothing = np.full((16, 4), -1.0)
        labels = {
            "behaviour": np.concatenate([watched, nothing]).astype("float32"),
            "answer": np.concatenate([-np.ones((32, 4)), np.where(liked[rows], 1.0, 0.5)]),
        }
        model.train_on_batch({"item": np.concatenate([shown, shown[rows]])}, labels)
    liking = np.asarray(model({"item": items[None]})["satisfaction"])[0]
    assert np.corrcoef(liking, np.log(items))[0, 1] > 0.9

"""Training in a laboratory: reused compiled models forget everything of the run before."""

import numpy as np
import pytest

from easq_keras.models import build_method
from experiments.laboratory import Laboratory, copy_state, made_batches, state_of
from experiments.runs import RANKERS, RunSpec, RunStore, settings_of
from pipeline.training_session import feature_specs
from tests.experiments.conftest import TINY_CELL

SMALL = settings_of(units=8, num_heads=2, num_experts=2, expert_hidden_dim=4)
SILENCE = {"satisfaction_loss": "silence", "lora_embedding_dim": 2}


def run(method, weight=None, seed=0, settings=SMALL, **changes):
    return RunSpec(TINY_CELL, method, weight, settings=settings, model_seed=seed, **changes)


def values(store, spec):
    return store.users(spec, "true_top4")


def made_apart(specs, cells, folder):
    """The results of runs of which each had a training of its own."""
    apart = RunStore(folder / "apart")
    single = Laboratory(cells, apart, jit_compile=False)
    for spec in specs:
        single.make([spec])
    return apart


def test_a_reused_model_gives_what_a_fresh_one_gives(laboratory, store, cells, tmp_path):
    """Another weight and another seed in between leave no trace, optimizers included."""
    first, other = run("EASQ", 1.0), run("EASQ", 30.0, seed=5)
    laboratory.make([other])
    laboratory.make([first])
    fresh = RunStore(tmp_path / "fresh")
    Laboratory(cells, fresh, jit_compile=False).make([first])

    assert np.array_equal(values(store, first), values(fresh, first))
    assert not np.array_equal(values(store, first), values(store, other))
    assert store.result(first).test == fresh.result(first).test


def test_a_task_whose_runs_another_process_has_made_meanwhile_leaves_nothing_to_do(
    laboratory, store
):
    laboratory.make([])

    assert not list(store.folder.glob("*"))


def test_copied_state_is_all_of_it(cell):
    def compiled(seed, steps):
        model = build_method("EASQ", feature_specs(cell.config), **dict(SMALL))
        model.compile(answered_rows=8, run_eagerly=True)
        batches = made_batches(cell, 32, 8, True, seed).dataset
        if steps:
            model.fit(batches.take(steps), verbose=0)
        return model

    trained, fresh = compiled(0, 2), compiled(1, 0)
    copy_state(fresh, trained)

    pairs = list(zip(state_of(trained), state_of(fresh), strict=True))
    assert len(pairs) > 30
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


def test_answered_rows_that_no_step_fills_are_left_out(cell):
    """Without a replay; with one every row is filled from the first answer on."""
    cut, full = (made_batches(cell, 32, 64, replay, 0) for replay in (False, True))

    def filled(batches):
        masks = np.stack([features["mask"] for features, _ in batches.dataset.as_numpy_iterator()])
        return masks[:, 32:].any(axis=2).sum(axis=1)

    assert cut.answered_rows < full.answered_rows == 64
    assert cut.answered_rows % 8 == 0
    assert filled(cut).max() > cut.answered_rows - 8
    assert filled(full).max() == 64
    assert cut.steps == full.steps == 3


@pytest.mark.slow
def test_all_weights_of_a_blend_come_from_two_passes(laboratory, store, cells, tmp_path):
    together = [run("Blend", weight) for weight in (0.0, 0.3, 1.0, 2.0)]
    laboratory.make(together)
    apart = made_apart(together, cells, tmp_path)

    for spec in together:
        assert np.allclose(values(store, spec), values(apart, spec), atol=1e-5)
    assert not np.allclose(values(store, together[0]), values(store, together[-1]))


@pytest.mark.parametrize("learnt", [{}, pytest.param(SILENCE, marks=pytest.mark.slow)])
def test_all_weights_of_easq_come_from_one_training(laboratory, store, cells, tmp_path, learnt):
    """λ2 reaches nothing but the tower of ŷ: side by side each learns what it learns alone."""
    weights = (0.0, 3.0, 30.0)
    quick = settings_of(**dict(SMALL), **learnt, learning_rate=0.03, dpo_ramp_steps=0)
    before = [run("EASQ", weight, seed=5, settings=quick) for weight in weights]
    laboratory.make(before)  # leaves no trace
    together = [run("EASQ", weight, settings=quick) for weight in weights]
    laboratory.make(together)
    apart = made_apart(together, cells, tmp_path)

    for spec in together:
        assert np.allclose(values(store, spec), values(apart, spec), atol=1e-5)
        found, expected = store.result(spec).training, apart.result(spec).training
        assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-3, abs=1e-5)
        assert {"loss/behaviour", "loss/satisfaction", "satisfaction/std"} <= set(found)
    assert not np.allclose(values(store, together[0]), values(store, together[-1]))


@pytest.mark.parametrize(
    ("method", "changes", "shares"),
    [
        ("EASQ", {}, True),
        ("EASQ-TopK", {}, True),
        ("EASQ-w/o-LoRA", {}, True),
        ("EASQ", {"dpo_reference": "none"}, False),
        ("EASQ", {"use_dpo": False, "shaping": 0.5}, False),
        ("EASQ-paper", {}, False),
        ("Imputation", {}, False),
        ("EMER_s-level", {}, False),
    ],
)
def test_weights_share_a_training_where_the_trunk_does_not_see_them(method, changes, shares):
    trained = {run(method, w, settings=settings_of(**changes)).trained for w in (1.0, 3.0)}
    assert len(trained) == (1 if shares else 2)


def test_runs_of_different_trainings_are_refused(laboratory):
    with pytest.raises(ValueError, match="do not share one training"):
        laboratory.make([run("EMER_s-level", 1.0), run("EMER_s-level", 3.0)])


def test_the_oracle_is_best_and_random_is_worse(laboratory, store):
    for method in RANKERS:
        laboratory.make([run(method, settings=())])

    top4 = {method: store.result(run(method, settings=())).test["true_top4"] for method in RANKERS}
    assert top4["Oracle"] > max(top4["Random"], top4["Popularity"])
    assert store.result(run("Oracle", settings=())).test["true_ndcg@5"] == pytest.approx(1)


@pytest.mark.slow
def test_what_saqrec_learns_offline_does_not_depend_on_what_ran_before(
    laboratory, store, cells, tmp_path
):
    settings = settings_of(units=8, num_heads=2, num_experts=2, expert_hidden_dim=4)
    specs = [run("SAQRec-listwise", weight, settings=settings) for weight in (0.1, 3.0)]
    for spec in specs:
        laboratory.make([spec])
    alone = RunStore(tmp_path / "alone")
    Laboratory(cells, alone, jit_compile=False).make([specs[1]])

    assert np.allclose(values(store, specs[1]), values(alone, specs[1]), atol=1e-5)
    assert not np.allclose(values(store, specs[0]), values(store, specs[1]))


def test_a_result_says_what_it_came_from(laboratory, store):
    spec = run("EMER")
    laboratory.make([spec])
    result = store.result(spec)

    assert result.config == spec.to_dict()
    assert set(result.seconds) == {"train", "judge"}
    assert result.code
    assert result.n_users["true_top4"] <= TINY_CELL.size.users

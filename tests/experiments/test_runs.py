"""Results on disk: one name a run, all of a result or none of it."""

import dataclasses

import numpy as np
import pytest

from experiments.cells import CellSpec
from experiments.runs import Result, RunSpec, RunStore, code_version, settings_of

RUN = RunSpec(CellSpec(), "EASQ", 1.0)
RESULT = Result(
    RUN.to_dict(), {"true_top4": 0.5}, {"true_top4": 0.25}, {"true_top4": 3}, {}, {}, "v"
)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 3.0},
        {"model_seed": 1},
        {"settings": settings_of(beta=3.0)},
        {"replay": False},
        {"cell": CellSpec(seed=1)},
        {"cell": CellSpec(density=1e-2)},
        {"batch_size": 64},
    ],
)
def test_whatever_a_run_depends_on_changes_its_name(change):
    assert dataclasses.replace(RUN, **change).key != RUN.key


def test_the_name_does_not_depend_on_the_process_or_the_order_of_settings():
    assert RUN.key == RunSpec(CellSpec(), "EASQ", 1.0).key
    assert settings_of(b=1, a=2) == settings_of(a=2, b=1)


def test_what_is_written_comes_back(tmp_path):
    store = RunStore(tmp_path)
    assert not store.has(RUN)
    store.save(RUN, RESULT, ["true_top4", "mrr"], np.array([[0.5, np.nan], [0.25, 1.0]]))

    assert store.has(RUN)
    assert store.result(RUN) == RESULT
    assert store.users(RUN, "mrr").tolist() == pytest.approx([np.nan, 1.0], nan_ok=True)


def test_a_result_that_was_cut_off_is_not_there(tmp_path):
    """The description is written last: values alone are no result."""
    store = RunStore(tmp_path)
    store.save(RUN, RESULT, ["mrr"], np.zeros((1, 1)))
    (tmp_path / f"{RUN.key}.json").unlink()

    assert not store.has(RUN)


def test_the_version_of_the_code_is_known():
    assert code_version()

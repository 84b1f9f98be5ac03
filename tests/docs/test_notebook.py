"""The notebook runs, and is committed with the outputs of a whole run."""

import re

import nbformat
import pytest

from docs.renew import NOTEBOOK, executed


@pytest.fixture(scope="module")
def committed():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_runs(monkeypatch, tmp_path):
    for place in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(place, str(tmp_path))
    done = executed(parameters="REQUESTS, PASSES, WEIGHTS = 1_000, 1, (1.0,)")
    printed = [out.text for cell in done.cells for out in cell.get("outputs", ()) if "text" in out]
    # 3/4 of 1,000 requests, 32 a step, whole steps only.
    assert "2 models, 23 steps each\n" in printed


def test_it_was_run_from_top_to_bottom(committed):
    assert [cell.execution_count for cell in committed] == list(range(1, len(committed) + 1))


def test_its_pictures_are_told_in_words(committed):
    for cell in committed:
        pictures = [out for out in cell.outputs if "image/png" in out.get("data", {})]
        assert bool(pictures) == bool(cell.metadata.get("alt"))


def test_its_outputs_hold_nothing_of_the_machine_that_ran_it(committed):
    for cell in committed:
        for out in cell.outputs:
            assert out.get("name") != "stderr"
            assert not re.search(r"(?<!\w)/\w+/", out.get("text", ""))

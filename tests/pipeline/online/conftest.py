"""One full fit for all tests of the engine."""

import pytest

from tests.pipeline.online.online_runs import copy_of, write_full_fit, write_spans


@pytest.fixture(scope="session")
def full_fit(tiny_dataset, tiny_transform_dir, tmp_path_factory):
    root = tmp_path_factory.mktemp("online") / "fit"
    return write_full_fit(root, tiny_dataset, tiny_transform_dir)


@pytest.fixture(scope="session")
def tiny_spans(tmp_path_factory):
    return write_spans(tmp_path_factory.mktemp("online_spans") / "spans", 4)


@pytest.fixture
def workdir(full_fit, tiny_transform_dir, tmp_path):
    return copy_of(full_fit, tmp_path / "run", tiny_transform_dir)

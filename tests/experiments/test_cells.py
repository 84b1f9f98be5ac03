"""The data of a cell: one world for all densities, cut in time, known where only it knows."""

import dataclasses

import numpy as np
import pytest

from experiments.cells import SURVEY_DENSITY, CellStore, surveyed_slates
from experiments.simulated_log import log_world
from pipeline.logs.canonical import NOT_ANSWERED
from pipeline.transform import BEHAVIOUR_LABEL
from simulator import World
from tests.experiments.conftest import TINY, TINY_CELL


def test_what_people_do_does_not_depend_on_how_many_are_asked():
    sparse, dense = (log_world(TINY_CELL.simulator(density)) for density in (1e-3, 0.05))

    assert sparse.tables["impressions"].equals(dense.tables["impressions"])
    assert sparse.tables["users"].equals(dense.tables["users"])
    assert np.array_equal(sparse.engagement, dense.engagement)
    assert sparse.tables["questionnaires"].num_rows < dense.tables["questionnaires"].num_rows


def test_a_density_is_the_number_of_answers_a_view():
    config = dataclasses.replace(TINY_CELL, size=dataclasses.replace(TINY, train=4_000))
    log = log_world(config.simulator(0.02))
    answers = log.tables["questionnaires"]["answer"]

    views = log.tables["impressions"]["exposed"].to_numpy().sum()
    assert (len(answers) - answers.null_count) / views == pytest.approx(0.02, rel=0.2)


def test_splits_follow_each_other_in_time(cell):
    parts = [cell.train, cell.validation[0], cell.test[0]]

    assert [len(part["time"]) for part in parts] == [TINY.train, TINY.validation, TINY.test]
    times = np.concatenate([part["time"] for part in parts])
    assert np.array_equal(times, np.sort(times))


def test_training_never_sees_an_answer_from_after_its_own_end(cell):
    assert len(cell.answered["group_time"]) > 0
    assert cell.answered["group_time"].max() < cell.validation[0]["time"].min()
    assert cell.answered["time"].max() <= cell.train["time"].max()


def test_only_the_answered_stream_depends_on_the_density(cells, cell):
    sparser = cells.load(dataclasses.replace(TINY_CELL, density=0.01))

    assert len(sparser.answered["time"]) < len(cell.answered["time"])
    for name in cell.train:
        assert np.array_equal(sparser.train[name], cell.train[name])
    assert np.array_equal(sparser.test[1].answer, cell.test[1].answer)


def test_a_cell_without_an_answer_has_an_empty_stream(cells, cell):
    silent = cells.load(dataclasses.replace(TINY_CELL, density=1e-6))

    assert {name: len(value) for name, value in silent.answered.items()} == dict.fromkeys(
        cell.train, 0
    )


def test_validation_and_test_are_answered_by_a_survey_of_their_own(cell):
    for slates, judged in (cell.validation, cell.test):
        shown = judged.level >= 0
        assert np.array_equal(np.where(shown, judged.level, -1), slates[BEHAVIOUR_LABEL])
        answered = judged.answer[shown] != NOT_ANSWERED
        assert answered.mean() == pytest.approx(SURVEY_DENSITY, abs=0.05)


def test_the_truth_of_a_candidate_is_that_of_the_world(cell):
    """The first step of the world, the simulator asked directly."""
    world = World(TINY_CELL.simulator(SURVEY_DENSITY))
    requests = world.requests(world.config.requests_per_step)
    order = world.logging_order(requests)
    first = TINY.train + TINY.validation
    own = slice(first, first + TINY.test)
    if len(requests) < first + TINY.test:
        raise AssertionError("the tiny world no longer fits into one step")

    truth = np.take_along_axis(requests.prospects.satisfaction, order, axis=1)[own]
    expected = np.take_along_axis(world.expected_engagement(requests), order, axis=1)[own]
    judged = cell.test[1]
    assert np.array_equal(judged.true_satisfaction, truth)
    assert np.array_equal(judged.engagement, expected)


def test_cells_come_back_from_the_cache(cells_folder, cell):
    again = CellStore(cells_folder).load(TINY_CELL)

    assert all(np.array_equal(again.train[name], value) for name, value in cell.train.items())


def test_surveyed_slates_hold_all_requests():
    slates, behaviours = surveyed_slates(TINY_CELL, None)

    assert slates.num_rows == TINY.requests
    assert "like" in behaviours

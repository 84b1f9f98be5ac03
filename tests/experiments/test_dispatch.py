"""Which run is made next, and which runs share a training."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from experiments.cells import CellSpec
from experiments.dispatch import Task, WorkerState, choose, tasks_of
from experiments.runs import RunSpec, settings_of

HERE, THERE = CellSpec(seed=0), CellSpec(seed=1)


def task(cell=HERE, method="EASQ", weight=1.0, block=0):
    return Task((RunSpec(cell, method, weight),), block)


def test_all_weights_of_a_blend_share_one_training():
    runs = [RunSpec(HERE, "Blend", weight) for weight in (0.1, 1.0)]
    runs += [RunSpec(HERE, "EMER_s-level", weight) for weight in (0.1, 1.0)]
    tasks = tasks_of([runs])

    assert [len(task.runs) for task in tasks] == [2, 1, 1]


def test_a_run_asked_for_twice_is_made_once_and_in_the_earlier_block():
    run, other = RunSpec(HERE, "EMER"), RunSpec(THERE, "EMER")

    assert tasks_of([[run], [run, other, other]]) == [Task((run,), 0), Task((other,), 1)]


def test_a_block_is_finished_before_the_next_begins():
    early, late = task(THERE, "EMER", block=0), task(block=1)
    worker = WorkerState({late.structure}, HERE)

    assert choose([late, early], worker) is early


def test_a_worker_first_makes_what_it_has_compiled_then_stays_with_its_data():
    compiled_here, compiled_there = task(), task(THERE)
    new = task(method="Imputation")
    worker = WorkerState({compiled_here.structure}, HERE)

    assert choose([new, compiled_there, compiled_here], worker) is compiled_here
    assert choose([new, compiled_there], worker) is compiled_there


def test_workers_compile_different_things():
    easq, imputation = task(), task(method="Imputation")
    other = WorkerState({easq.structure}, HERE)

    assert choose([easq, imputation], WorkerState(), [other]) is imputation


def test_workers_load_different_data_and_each_stays_with_its_own():
    """Else all would learn offline, one after the other, what each cell has to tell."""
    here, there = task(), task(THERE)
    compiled = {here.structure}
    first, second = WorkerState(compiled, HERE), WorkerState(compiled)

    assert choose([here, there], second, [first]) is there
    assert choose([here, there], first, [second]) is here
    assert choose([here], second, [first]) is here  # nothing else is left


def test_settings_need_a_compilation_of_their_own_and_weights_do_not():
    run = RunSpec(HERE, "EASQ", 1.0)

    assert dataclasses.replace(run, weight=3.0).structure == run.structure
    assert dataclasses.replace(run, cell=THERE).structure == run.structure
    assert dataclasses.replace(run, settings=settings_of(beta=3.0)).structure != run.structure


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["EMER", "EASQ", "Blend"])), max_size=8))
def test_every_run_is_in_exactly_one_task(wanted):
    runs = [RunSpec(HERE if here else THERE, method, 0.5) for here, method in wanted]
    made = [run for task in tasks_of([runs]) for run in task.runs]

    assert sorted(run.key for run in made) == sorted({run.key for run in runs})

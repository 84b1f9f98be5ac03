"""Two worker processes, each with its own rows, learn what one learns from all rows at once."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from easq_keras.models.methods import METHODS
from easq_keras.workers import train_on_workers
from tests.easq_keras.models import workers_run
from tests.easq_keras.models.small import method
from tests.easq_keras.models.workers_run import (
    ANSWERED,
    all_steps,
    batch_of,
    held,
    model_to_train,
    union_of,
)

ROOT = Path(__file__).resolve().parents[3]
WORKERS = 2


def free_ports(number):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def run_workers(methods, steps, folder, *, every=0, dies_at=0):
    """Runs the workers to their end; returns how each ended and what it said."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(WORKERS)]
    processes = []
    for index in range(WORKERS):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        arguments = [methods, str(steps), str(folder), str(every), str(dies_at)]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", workers_run.__name__, *arguments],
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    ended = [process.communicate(timeout=600) for process in processes]
    return [
        (process.returncode, out, err) for process, (out, err) in zip(processes, ended, strict=True)
    ]


def results_of(workers):
    for code, _, errors in workers:
        assert code == 0, errors[-3000:]
    return [json.loads(out.splitlines()[-1]) for _, out, _ in workers]


def trained_alone(method, steps):
    """One worker, each of whose batches is the union of the workers'."""
    model = model_to_train(method, WORKERS * ANSWERED)
    unions = [
        union_of([batch_of(worker, step) for worker in range(WORKERS)]) for step in range(steps)
    ]
    model.fit(all_steps(unions), verbose=0)
    return model


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, rtol=1e-5, atol=1e-6, err_msg=path)


def assert_as_one(workers, method, steps):
    first, second = (worker[method] for worker in workers)
    assert first["held"] == second["held"]
    alone = trained_alone(method, steps)
    assert_same(first["held"], held(alone))
    reported = alone.get_metrics_result()
    for name in {"loss", "loss/main", "loss/satisfaction", "score/std"} & set(reported):
        assert first["reported"][name] == pytest.approx(float(reported[name]), abs=1e-5), name


def test_the_steps_of_two_workers_are_those_of_one_on_the_union_of_their_rows(tmp_path):
    workers = results_of(run_workers("EASQ", 3, tmp_path))
    assert_as_one(workers, "EASQ", 3)
    assert [worker["sum"] for worker in workers] == [[3, 6], [3, 6]]


@pytest.mark.slow
def test_so_are_those_of_every_other_method(tmp_path):
    others = [name for name in METHODS if name != "EASQ" and not name.startswith("SAQRec")]
    workers = results_of(run_workers(",".join(others), 3, tmp_path))
    for name in others:
        assert_as_one(workers, name, 3)


@pytest.mark.parametrize("name", ["SAQRec", "SAQRec-listwise"])
def test_a_method_whose_loss_is_no_sum_over_replicas_refuses_several(name, monkeypatch):
    model = method(name)
    model.compile(run_eagerly=True)
    monkeypatch.setattr("easq_keras.models.saqrec.replica_count", lambda: 2)
    with pytest.raises(ValueError, match=r"SAQRec trains on one replica.*Received: 2 replicas"):
        model.train_step(batch_of(0, 0))


@pytest.mark.slow
def test_when_a_worker_dies_all_end_and_go_on_from_the_checkpoint(tmp_path):
    survivor, killed = run_workers("EASQ", 8, tmp_path, every=3, dies_at=5)
    assert killed[0] == -signal.SIGKILL
    assert survivor[0] not in (0, None)  # it does not wait for ever

    first, second = (worker["EASQ"] for worker in results_of(run_workers("EASQ", 8, tmp_path)))
    assert first["start"] == second["start"] == 3
    assert_same(first["held"], held(trained_alone("EASQ", 8)))


def test_one_host_needs_no_cluster_and_goes_on_from_its_checkpoint(tmp_path):
    def train(steps):
        model = model_to_train("EASQ", ANSWERED)
        start = train_on_workers(
            model,
            tf.distribute.get_strategy(),
            lambda context: all_steps([batch_of(0, step) for step in range(4)]),
            steps=steps,
            checkpoint=tmp_path,
        )
        return start, held(model)

    assert train(2)[0] == 0
    start, resumed = train(4)
    assert start == 2
    alone = model_to_train("EASQ", ANSWERED)
    alone.fit(all_steps([batch_of(0, step) for step in range(4)]), verbose=0)
    assert_same(resumed, held(alone))


def test_batches_may_begin_where_the_model_has_made_steps_before():
    def train(first_step):
        model = model_to_train("EASQ", ANSWERED)
        model.fit(all_steps([batch_of(0, step) for step in range(2)]), verbose=0)
        later = all_steps([batch_of(0, step) for step in range(first_step, 4)])
        options = {"steps": 4, "first_step": first_step}
        train_on_workers(model, tf.distribute.get_strategy(), lambda context: later, **options)
        return held(model)

    assert_same(train(first_step=2), train(first_step=0))


def test_a_number_of_steps_that_is_none():
    with pytest.raises(ValueError, match=r"`steps` must be positive\. Received: 0"):
        train_on_workers(
            model_to_train("EASQ", ANSWERED),
            tf.distribute.get_strategy(),
            lambda context: all_steps([batch_of(0, 0)]),
            steps=0,
        )

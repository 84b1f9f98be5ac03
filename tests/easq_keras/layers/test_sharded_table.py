"""A table held by rows on two workers gives the vectors and gradients of one that is whole.

This is the exchange that docs/embeddings.md plans for tables that fit no host; no layer has it yet.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.easq_keras.layers import sharded_table_run as sharded
from tests.easq_keras.models.test_workers import free_ports

ROOT = Path(__file__).resolve().parents[3]
WORKERS = len(sharded.IDS)


@pytest.fixture(scope="module")
def said():
    addresses = [f"127.0.0.1:{port}" for port in free_ports(WORKERS)]
    processes = []
    for index in range(WORKERS):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", sharded.__name__],
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    ended = [process.communicate(timeout=600) for process in processes]
    for process, (_, errors) in zip(processes, ended, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [json.loads(out.splitlines()[-1]) for out, _ in ended]


@pytest.mark.slow
def test_each_worker_gets_the_rows_that_it_asked_for(said):
    table = sharded.table()
    for worker, ids in zip(said, sharded.IDS, strict=True):
        np.testing.assert_array_equal(worker["vectors"], table[ids])


@pytest.mark.slow
def test_the_gradients_of_the_shards_are_those_of_the_table(said):
    table = tf.Variable(sharded.table())
    with tf.GradientTape() as tape:
        loss = sum(sharded.loss_of(tf.gather(table, ids)) for ids in sharded.IDS)
    whole = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    assert np.count_nonzero(whole.any(axis=1)) == 4  # rows 0, 1, 4 and 6
    for worker, found in enumerate(said):
        np.testing.assert_allclose(found["gradient"], whole[worker::WORKERS], rtol=1e-5)

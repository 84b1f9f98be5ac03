"""Workers that share the steps of the Trainer learn what one learns from the rows of all.

The workers are processes of their own, on loopback.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.configs import TrainerSettings
from pipeline.trainer import checkpoint_beside, run_fn
from pipeline.training_input import slate_dataset, training_batches
from pipeline.training_processes import train_in_processes
from pipeline.training_session import TrainingSession, split_files
from pipeline.training_share import Share, filled
from pipeline.unfinished_training import UnfinishedTraining
from tests.pipeline import mirrored_training_run
from tests.pipeline.conftest import TINY_SLATES, slate_example
from tests.pipeline.tiny_training import tiny_fn_args

ROOT = Path(__file__).resolve().parents[2]
UNITS = 8  # of tiny_training's model
ROWS, ROOM = 2, 2  # dense and answered rows of a replica


@pytest.fixture
def fn_args(tmp_path, tiny_dataset, tiny_transform_dir):
    return made_fn_args(tmp_path, tiny_dataset, tiny_transform_dir, slates=[8, 7, 6])


def made_fn_args(folder, dataset, transform_dir, *, slates, **changes):
    """Files of so many slates, dealt as whole files and, the last, slate by slate."""
    fn_args = tiny_fn_args(folder, dataset, transform_dir, TINY_SLATES)
    numbers = iter(range(sum(slates)))
    for file, count in enumerate(slates):
        path = folder / "examples" / "Split-train" / f"slates-{file:05d}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in [next(numbers) for _ in range(count)]:
                writer.write(slate_example(number, *TINY_SLATES[number % 3]))
    both = {"batch_size": 2 * ROWS, "answered_per_batch": 2 * ROOM, "workers": 2}
    fn_args.custom_config["trainer"].update({**both, **changes})
    return fn_args


def settings_of(fn_args):
    return TrainerSettings(**fn_args.custom_config["trainer"])


def trained(fn_args, dataset):
    """A session of one process with what a run has learnt."""
    session = TrainingSession(settings_of(fn_args), dataset, fn_args.transform_graph_path)
    session.restore(checkpoint_beside(fn_args.serving_model_dir))
    return session


def parts_of_steps(session, fn_args, workers, steps):
    """By step, the batch of each replica: `workers` of them, or two of one worker."""
    files, answered_files = (split_files(fn_args.train_files, n) for n in ("train", "answered"))
    answered = session.read_answered(answered_files)
    replicas = 2 // workers
    batches = [
        list(
            filled(
                training_batches(
                    slate_dataset(Share(worker, workers).records(files), session.parse),
                    answered.dealt(worker, workers),
                    batch_size=ROWS,
                    answered_per_batch=ROOM,
                    replay=True,
                    seed=worker << 32,
                ),
                steps * replicas,
            ).as_numpy_iterator()
        )
        for worker in range(workers)
    ]
    return [
        [batch for of in batches for batch in of[step * replicas : (step + 1) * replicas]]
        for step in range(steps)
    ]


def union_of(parts):
    """All rows in one batch: the dense ones, then the answered ones."""

    def joined(*values):
        return np.concatenate([part[:ROWS] for part in values] + [part[ROWS:] for part in values])

    return keras.tree.map_structure(joined, *parts)


def trained_alone(fn_args, dataset, workers, steps):
    """One process, each of whose batches is the union of the replicas'."""
    session = TrainingSession(settings_of(fn_args), dataset, fn_args.transform_graph_path)
    unions = [union_of(parts) for parts in parts_of_steps(session, fn_args, workers, steps)]
    data = keras.tree.map_structure(lambda *batches: np.concatenate(batches), *unions)
    rows = 2 * (ROWS + ROOM)
    session.model.fit(tf.data.Dataset.from_tensor_slices(data).batch(rows), verbose=0)
    return session


def assert_same(found, expected):
    assert found.steps == expected.steps
    for one, other in zip(found.model.weights, expected.model.weights, strict=True):
        left, right = one.numpy(), other.numpy()
        if one.path.endswith("attention_in/bias"):
            # The keys' bias is in all logits of a softmax alike: its gradient is rounding alone,
            # which Adam makes steps of.
            left, right = (np.delete(bias, np.s_[UNITS : 2 * UNITS]) for bias in (left, right))
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5, err_msg=one.path)


def record_of(fn_args):
    return json.loads(Path(fn_args.model_run_dir, "training.json").read_text())


def assert_served(fn_args, session, examples):
    """The exported model scores as the trained one, in a process that knows no other worker."""
    served = tf.saved_model.load(fn_args.serving_model_dir).signatures["serving_examples"]
    scores = served(examples=tf.constant(examples))["score"].numpy()
    features = session.parse(tf.constant(examples))
    expected = session.model(features)["score"].numpy()
    mask = features["mask"].numpy() == 1
    assert np.ptp(expected[mask]) > 1e-5
    np.testing.assert_allclose(scores[mask], expected[mask], atol=1e-6)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_their_rows(fn_args, tiny_dataset, tiny_examples):
    run_fn(fn_args)
    # Files of 8 and 7 slates, and three of the last one each: 11 and 10 slates, in batches of 2.
    assert record_of(fn_args)["steps"] == 6
    session = trained(fn_args, tiny_dataset)
    assert_same(session, trained_alone(fn_args, tiny_dataset, 2, 6))
    assert record_of(fn_args)["answers"] == {
        "fresh_groups": 2,
        "waiting_groups": 0,
        "remembered": 2,
    }
    history = record_of(fn_args)["history"]
    assert history["step"] == [1, 2, 3, 4, 5, 6]
    assert np.isfinite(history["loss"]).all()
    assert_served(fn_args, session, tiny_examples)

    # The next span goes on from there, with what is remembered of the answers.
    fn_args.base_model = fn_args.serving_model_dir
    fn_args.serving_model_dir = fn_args.serving_model_dir.replace("model/", "next/")
    run_fn(fn_args)
    assert trained(fn_args, tiny_dataset).steps == 12
    assert record_of(fn_args)["answers"]["remembered"] == 4


@pytest.mark.slow
def test_two_replicas_of_one_process_learn_the_same_way(fn_args, tiny_dataset, tmp_path):
    file = tmp_path / "fn_args.json"
    file.write_text(json.dumps(vars(fn_args)))
    run = subprocess.run(
        [sys.executable, "-m", mirrored_training_run.__name__, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert record_of(fn_args)["steps"] == 6  # 21 slates in steps of 4
    assert_same(trained(fn_args, tiny_dataset), trained_alone(fn_args, tiny_dataset, 1, 6))


def workers_of_this_process():
    """By the number of the worker, its process id."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        task = [one for one in environment if one.startswith(b"TF_CONFIG=")]
        if parent == os.getpid() and task:
            found[json.loads(task[0].partition(b"=")[2])["task"]["index"]] = int(place.name)
    return found


@pytest.mark.slow
def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint_and_nothing_else(
    tmp_path, tiny_dataset, tiny_transform_dir, caplog
):
    fn_args = made_fn_args(
        tmp_path, tiny_dataset, tiny_transform_dir, slates=[150, 150], checkpoint_every=2
    )
    unfinished = Path(fn_args.model_run_dir, "unfinished")
    killed_at = []

    def kill_one():
        while not (kept := sorted(int(path.name) for path in unfinished.glob("[0-9]*"))):
            time.sleep(0.02)
        killed_at.append(kept[-1])
        os.kill(workers_of_this_process()[1], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    run_fn(fn_args)
    killer.join()
    assert 0 < killed_at[0] < 75
    assert "killed by SIGKILL" in caplog.text
    assert not unfinished.exists()
    session = trained(fn_args, tiny_dataset)
    assert_same(session, trained_alone(fn_args, tiny_dataset, 2, 75))
    # What was counted before the kill counts once.
    assert record_of(fn_args)["answers"]["fresh_groups"] == 2


@pytest.mark.slow
def test_a_worker_that_fails_is_not_started_again(fn_args, tmp_path):
    fn_args.transform_graph_path = str(tmp_path / "nowhere")
    settings = settings_of(fn_args)
    with pytest.raises(RuntimeError, match=r"(?s)a training worker failed: .*nowhere"):
        train_in_processes(fn_args, settings)


def test_the_newest_checkpoint_that_is_whole_is_gone_on_from(fn_args, tiny_dataset, tmp_path):
    session = TrainingSession(settings_of(fn_args), tiny_dataset, fn_args.transform_graph_path)
    unfinished = UnfinishedTraining(str(tmp_path / "unfinished"))
    assert not unfinished.restore(session.model)
    for steps in (10, 20, 30):
        session.model.optimizer.iterations.assign(steps)
        unfinished.save(session.model)
    assert sorted(path.name for path in (tmp_path / "unfinished").iterdir()) == ["20", "30"]
    (tmp_path / "unfinished" / "30" / "checkpoint.json").write_text("{")
    (tmp_path / "unfinished" / "40").mkdir()
    assert unfinished.restore(session.model)
    assert session.steps == 20
    unfinished.remove()
    assert not (tmp_path / "unfinished").exists()

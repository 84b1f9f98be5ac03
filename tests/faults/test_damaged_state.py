"""What a run and online learning leave behind, damaged: told by name, or as it was written.

Record files, checkpoints, remembered answers, pushed versions, the impression store, the state of
online learning and the metadata database.
"""

import random
import shutil
import sqlite3
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from easq_keras.checkpoint import load_checkpoint, save_checkpoint
from easq_keras.layers import FeatureSpec
from easq_keras.models import EMER
from pipeline.local_runner import Workdir
from pipeline.online.impression_store import ImpressionStore
from pipeline.online.spans import SpanError
from pipeline.online.state import Commit, OnlineState, Version, read_state, write_state
from pipeline.online.store_sums import require_whole_store
from pipeline.record_files import DamagedExamplesError, damaged_record, require_whole, write_sizes
from pipeline.training_input import AnsweredSlates
from pipeline.version_folder import new_version
from serving.errors import ServingError
from serving.model_folder import check_model_folder
from tests.faults.damage import attempt, damage, files_in
from tests.faults.writers import two_spans
from tests.pipeline.example_gen.small_logs import config
from tests.pipeline.online.span_folders import learn

FAULTS = 40


def copies(folder, where, dice):
    """So many copies of a folder, one file of each damaged: the copy, the file, and how."""
    for number in range(FAULTS):
        copy = where / f"copy{number}"
        shutil.copytree(folder, copy)
        path = dice.choice(files_in(copy))
        yield copy, path, damage(path, dice)
        shutil.rmtree(copy)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    for split in ("train", "eval", "answered"):
        (folder / f"Split-{split}").mkdir()
        with tf.io.TFRecordWriter(str(folder / f"Split-{split}" / "slates-00000.tfrecord")) as out:
            for number in range(20):
                out.write(f"slate {number} of {split}".encode() * 9)
    write_sizes(str(folder))
    return folder


def records(folder):
    files = sorted(map(str, folder.glob("Split-*/*")))
    return [record.numpy() for record in tf.data.TFRecordDataset(files)]


def test_damaged_record_files_are_named(examples, tmp_path, count):
    dice, expected = random.Random(1), records(examples)

    def read(copy):
        require_whole(str(copy))
        found = damaged_record(list(map(str, copy.glob("Split-*/*"))))
        if found:
            raise DamagedExamplesError(found)
        return records(copy)

    for copy, path, kind in copies(examples, tmp_path, dice):
        said, found = attempt((DamagedExamplesError,), partial(read, copy))
        # The file of sizes may be damaged so that another file seems to be.
        assert str(path if path.name != "files.json" else copy) in said or found == expected, kind
        if said:
            assert "--no-cache" in said
        count(f"record file, {kind}", "named" if said else "read as it was written")


def test_records_that_are_gone_without_a_trace_are_missed(examples, tmp_path):
    """Cut at the end of a record, a file is sound; a file that is not there is not even read."""
    copy = tmp_path / "copy"
    shutil.copytree(examples, copy)
    path = copy / "Split-answered" / "slates-00000.tfrecord"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 20 * 19])
    with pytest.raises(DamagedExamplesError, match=r"Split-answered/slates-00000\.tfrecord has"):
        require_whole(str(copy))
    path.unlink()
    with pytest.raises(DamagedExamplesError, match="was written and is not there"):
        require_whole(str(copy))


def test_sizes_written_once_more_into_the_same_folder_hold(examples, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(examples, copy)
    with tf.io.TFRecordWriter(str(copy / "Split-train" / "slates-00001.tfrecord")) as out:
        out.write(b"one more")
    write_sizes(str(copy))
    require_whole(str(copy))


@pytest.fixture(scope="module")
def model():
    model = EMER([FeatureSpec("item", "categorical", num_buckets=9)])
    model.compile()
    model.optimizer.build(model.trainable_variables)
    return model


def test_a_damaged_checkpoint_is_refused_and_the_model_stays_as_it_is(model, tmp_path, count):
    folder, dice = tmp_path / "checkpoint", random.Random(2)
    save_checkpoint(model, folder)
    saved = [weight.numpy() for weight in model.weights]
    changed = [value + 1 for value in saved]
    for copy, _, kind in copies(folder, tmp_path, dice):
        model.set_weights(changed)
        said, _ = attempt((ValueError, FileNotFoundError), partial(load_checkpoint, model, copy))
        expected = changed if said else saved
        for value, weight in zip(expected, model.weights, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)
        assert not said or str(copy) in said or "does not fit the model" in said
        count(f"checkpoint, {kind}", "refused" if said else "loaded as it was saved")


def test_damaged_answers_beside_a_checkpoint_are_refused_by_name(tmp_path, count):
    folder, dice = tmp_path / "memory", random.Random(3)
    folder.mkdir()
    tensors = {"pair_group": np.arange(60), "length": np.random.default_rng(0).random([60, 9])}
    written = AnsweredSlates(tensors, np.arange(60) + 1, np.arange(60) * 7, learnt=30)
    written.save(folder / "answers.npz")
    for _, path, kind in copies(folder, tmp_path, dice):
        said, found = attempt((ValueError,), partial(AnsweredSlates.load, path))
        if said:
            assert str(path) in said
        else:
            np.testing.assert_array_equal(found.group_end, written.group_end)
            np.testing.assert_array_equal(found.arrival, written.arrival)
            assert found.learnt == written.learnt
            for name, value in tensors.items():
                np.testing.assert_array_equal(found.tensors[name], value)
        count(f"remembered answers, {kind}", "refused" if said else "read as they were saved")


def test_a_damaged_version_is_refused_by_the_server(tmp_path, count):
    serving_dir, dice = tmp_path / "easq", random.Random(4)
    with new_version(str(serving_dir), 7) as folder:
        (folder / "variables").mkdir()
        (folder / "saved_model.pb").write_bytes(dice.randbytes(3000))
        (folder / "variables" / "variables.index").write_bytes(dice.randbytes(500))
        (folder / "variables" / "variables.data-00000-of-00001").write_bytes(dice.randbytes(9000))
    for copy, path, kind in copies(serving_dir / "7", tmp_path, dice):
        said, _ = attempt((ServingError,), partial(check_model_folder, str(copy)))
        sums = path.name == "SHA256SUMS"
        # Sums cut at the end of a line say less; what they say is true.
        assert str(path if not sums else copy) in said or (sums and kind == "cut short")
        count(f"pushed version, {kind}", "refused" if said else "loaded as it was pushed")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An impression store after two spans."""
    folder = tmp_path_factory.mktemp("store")
    learn(folder, two_spans(folder), config())
    return folder / "span=2-store"


def test_a_damaged_impression_store_is_refused_by_name(store, tmp_path, count):
    dice = random.Random(5)
    require_whole_store(store)
    for copy, path, kind in copies(store, tmp_path, dice):

        def opened(copy=copy):
            require_whole_store(copy)
            ImpressionStore.open(copy, config())

        said, _ = attempt((SpanError,), opened)
        # A flipped letter in the sums' own file names another file.
        assert str(path if path.name != "checksums.json" else copy) in said, kind
        count(f"impression store, {kind}", "refused")


def test_a_damaged_state_of_online_learning_is_named_with_the_way_out(tmp_path, count):
    folder, dice = tmp_path / "online", random.Random(6)
    version = Version(1_700_000_000, 3, "span=3", "/models/3")
    commit = Commit(3, "span=3", "/models/3", "/stores/3", "/examples/3", "/tests/3", 1_700_000_000)
    state = OnlineState("/fit", "/graph", (commit,), (version,), 1_700_000_000, version, 1)
    write_state(folder / "state.json", state)
    assert read_state(folder / "state.json") == state
    for _, path, kind in copies(folder, tmp_path, dice):
        said, found = attempt((ValueError,), partial(read_state, path))
        assert found == state or (str(path) in said and "delete it" in said), kind
        count(f"online state, {kind}", "named" if said else "read as it was written")


def test_a_damaged_metadata_database_is_named_with_the_way_out(tmp_path, count):
    folder, dice = tmp_path / "run", random.Random(7)
    with Workdir(folder).locked(), sqlite3.connect(folder / "metadata.sqlite") as database:
        database.execute("CREATE TABLE Artifact (id INTEGER PRIMARY KEY, uri TEXT)")
        uris = [(f"/run/pipeline/Trainer/model/{number}",) for number in range(200)]
        database.executemany("INSERT INTO Artifact (uri) VALUES (?)", uris)
    (folder / ".lock").unlink()
    begun = []
    for copy, path, kind in copies(folder, tmp_path, dice):

        def begin(copy=copy):
            with Workdir(copy).locked():
                begun.append(copy)

        said, _ = attempt((RuntimeError,), begin)
        assert str(copy / "metadata.sqlite") in said, (path.name, kind)
        assert "delete" in said
        count(f"metadata database, {kind}", "named before anything runs")
    assert not begun


def test_a_database_whose_writer_was_killed_is_not_taken_for_damaged(tmp_path):
    place = Workdir(tmp_path / "run")
    with place.locked(), sqlite3.connect(place.metadata) as database:
        database.execute("CREATE TABLE Artifact (id INTEGER PRIMARY KEY, uri TEXT)")
    (seal,) = place.root.glob("*.sha256")
    with place.locked():
        assert not seal.exists()  # as a kill now leaves it
        with sqlite3.connect(place.metadata) as database:
            database.execute("INSERT INTO Artifact (uri) VALUES ('/model')")
        shutil.copytree(place.root, tmp_path / "killed")
    with Workdir(tmp_path / "killed").locked():
        assert Path(tmp_path / "killed" / "metadata.sqlite").exists()

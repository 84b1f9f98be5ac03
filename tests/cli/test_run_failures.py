"""What a failed run says of a full disk and of damaged examples."""

import errno

import pytest
import tensorflow as tf

from cli.errors import JobError
from cli.run_failures import cause_in, failure
from pipeline.local_runner import Workdir


def chained(outer, inner):
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/somewhere/file"),
        chained(RuntimeError("the step failed"), OSError(errno.EDQUOT, "Disk quota exceeded")),
        tf.errors.ResourceExhaustedError(None, None, "x.tmp; No space left on device"),
        RuntimeError("INTERNAL: database or disk is full"),
    ],
)
def test_a_full_disk_is_named_by_the_run_s_folder(error, tmp_path):
    place = Workdir(tmp_path)
    for said in (cause_in(place, error), str(failure(place, error))):
        assert said.startswith(f"no space left on the disk of {tmp_path} (")
        assert "run the same command again" in said


def test_another_error_keeps_its_words(tmp_path):
    error = OSError(errno.EACCES, "Permission denied", "/somewhere/file")
    assert str(failure(Workdir(tmp_path), error)) == "/somewhere/file: permission denied"
    assert isinstance(failure(Workdir(tmp_path), error), JobError)
    assert cause_in(Workdir(tmp_path), ValueError("the gate is shut")) == "the gate is shut"


def test_a_damaged_record_file_is_named_for_whoever_read_it(tmp_path):
    place = Workdir(tmp_path)
    for run, records in (("7", [b"old"]), ("30", [b"one" * 9, b"two" * 9])):
        split = place.pipeline_root / "LogExampleGen" / "examples" / run / "Split-train"
        split.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(split / "slates-00000.tfrecord")) as out:
            for record in records:
                out.write(record)
    damaged = split / "slates-00000.tfrecord"
    data = bytearray(damaged.read_bytes())
    data[-8] ^= 1
    damaged.write_bytes(data)
    error = ValueError("Not a valid TFRecord. Mismatch of data mask: 17.")
    said = cause_in(place, chained(RuntimeError("Transform"), error))
    assert said.startswith(f"{damaged} is damaged after 1 records (corrupted record")
    assert "--no-cache" in said

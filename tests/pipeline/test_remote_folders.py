"""What only reads and writes local files gets to a bucket and back (here: TensorFlow's `ram://`)."""

import pytest
import tensorflow as tf

from pipeline.remote_folders import read_folder, written_folder


def test_what_is_written_is_read_again_with_its_folders():
    with written_folder("ram://written/model") as folder:
        (folder / "deeper").mkdir()
        (folder / "a.txt").write_text("a")
        (folder / "deeper" / "b.bin").write_bytes(b"\0b")
    with read_folder("ram://written/model") as folder:
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
        assert names == ["a.txt", "deeper", "deeper/b.bin"]
        assert (folder / "a.txt").read_text() == "a"
        assert (folder / "deeper" / "b.bin").read_bytes() == b"\0b"


def fail(folder):
    (folder / "half").write_text("half")
    raise RuntimeError("stopped")


def test_nothing_arrives_of_what_was_not_finished():
    with (
        pytest.raises(RuntimeError, match="stopped"),
        written_folder("ram://unfinished/model") as folder,
    ):
        fail(folder)
    assert not tf.io.gfile.exists("ram://unfinished/model/half")


def test_a_local_folder_is_itself(tmp_path):
    with written_folder(str(tmp_path)) as folder:
        assert folder == tmp_path
    with read_folder(str(tmp_path)) as folder:
        assert folder == tmp_path

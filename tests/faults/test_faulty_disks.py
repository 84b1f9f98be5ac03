"""Killed, out of space, read-only, failing or slow at any call to the file system.

Whatever is found afterwards is what was there before or all of what was to be written; done again,
it is what it would have been without the fault.
"""

import hashlib
import multiprocessing
import random
import shutil

import pytest

from pipeline.local_runner import Workdir
from pipeline.online import series
from pipeline.online.state import OnlineFolder, read_state
from pipeline.online.store_sums import require_whole_store
from pipeline.record_files import damaged_record, require_whole
from serving.model_folder import check_model_folder
from serving.versions import list_versions
from tests.faults import writers
from tests.faults.writers import ERRORS, SIGNALS, SLOW, SMALL, WRITERS

pytestmark = pytest.mark.slow

# Kills of each signal, errors of each kind.
MANY, FEW = (12, 4), (4, 1)
SLOWEST = 300  # seconds that a writer may take


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([writers.__name__])
    return context


def run(processes, name, folder, kind="", at=0):
    """What a writer said; "" where it was killed."""
    said = folder.with_name(f"{folder.name}.said")
    said.unlink(missing_ok=True)
    process = processes.Process(target=writers.run, args=(name, folder, kind, at))
    process.start()
    process.join(SLOWEST)
    assert process.exitcode is not None, f"{name}: still at it after {SLOWEST} s of {kind}"
    if kind in SIGNALS and process.exitcode:
        assert process.exitcode == -SIGNALS[kind]
    else:
        assert process.exitcode == 0
    return said.read_text() if said.exists() else ""


def digests(folder, pattern):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


def seen(name, folder):
    """What others see in the folder of a writer; fails where something is half there."""
    if name == "simulated logs":
        return digests(folder, "*.parquet")
    if name == "ExampleGen":
        examples = folder / "examples"
        assert damaged_record([str(path) for path in examples.glob("Split-*/*")]) is None
        if not (examples / "files.json").exists():
            return "not done"
        require_whole(str(examples))
        return digests(examples, "[!u]*/*") | digests(examples, "counts.json")
    if name == "push of a version":
        versions = list_versions(str(folder))
        for path in versions.values():
            check_model_folder(path)
        return {number: digests(folder / str(number), "**/*") for number in versions}
    if name == "online state":
        place = OnlineFolder(Workdir(folder))
        state = read_state(place.state_file)
        learnt = state.newest.sequence
        return state, [one for one in series.read(place.series_file) if one["sequence"] <= learnt]
    if name == "span examples and store":
        done = []
        for number in (1, 2):
            if (folder / f"span={number}-store" / "checksums.json").exists():
                require_whole_store(folder / f"span={number}-store")
            if (folder / f"span={number}" / "files.json").exists():
                require_whole(str(folder / f"span={number}"))
                done.append(digests(folder / f"span={number}", "Split-*/*"))
        return done
    with Workdir(folder).locked():  # it is sound
        return Workdir(folder).metadata.exists()


def allowed(name, found, before, after):
    if name in ("simulated logs",):  # file by file
        return found.items() <= after.items()
    if name == "span examples and store":  # span by span
        return found == after[: len(found)]
    if name == "push of a version":  # done again it gets the next number
        return found in (before, after)
    return found in (before, after)


@pytest.mark.parametrize("name", list(WRITERS))
def test_there_is_what_was_there_before_or_all_that_was_to_be_written(
    name, processes, tmp_path, count
):
    start = tmp_path / "start"
    start.mkdir()
    WRITERS[name].before(start)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(start, undisturbed)
    calls = int(run(processes, name, undisturbed))
    assert calls > 1
    before, after = seen(name, start), seen(name, undisturbed)
    assert before != after or name == "metadata database"
    size = max(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    dice = random.Random(name)
    kills, errors = FEW if name == "ExampleGen" else MANY
    faults = [(kind, dice.randint(1, calls)) for kind in SIGNALS for _ in range(kills)]
    faults += [(kind, dice.randint(1, calls)) for kind in ERRORS for _ in range(errors)]
    faults += [(SMALL, dice.randrange(size)) for _ in range(errors)] + [(SLOW, 0)]
    for number, (kind, at) in enumerate(faults):
        folder = tmp_path / str(number)
        shutil.copytree(start, folder)
        said = run(processes, name, folder, kind, at)
        found = seen(name, folder)
        assert allowed(name, found, before, after), (kind, at, said)
        went_well = said.isdecimal()
        assert not went_well or found == after, (kind, at)
        if kind in ERRORS and not went_well:
            assert str(folder) in said, (kind, at)
        if not (went_well and name == "push of a version"):
            run(processes, name, folder)
        again = seen(name, folder)
        if name == "push of a version" and found == after and not went_well:
            del again[max(again)]  # killed after the push: pushed once more
        assert again == after, (kind, at, said)
        outcome = "nobody saw half of it; done again, the same bytes"
        count(f"{kind}, {name}", outcome)
        shutil.rmtree(folder)

"""`easq online` without learning anything: what it says, withdraws and refuses."""

import json

import pytest

from cli.main import main
from pipeline.local_runner import Workdir
from pipeline.online import series
from pipeline.online.state import Commit, OnlineFolder, OnlineState, Version, write_state


@pytest.fixture
def workdir(tmp_path):
    """Three spans were learnt, two of them pushed after the full fit."""
    workdir = Workdir(tmp_path / "run")
    folder = OnlineFolder(workdir)
    versions = (
        Version(100, 0, "", "/fit"),
        Version(101, 1, "s1", "/m1"),
        Version(102, 3, "s3", "/m3"),
    )
    for version in versions:
        (folder.serving_dir / str(version.number)).mkdir(parents=True)
    commit = Commit(3, "s3", "/m3", "/store", "/examples", "/test", 102)
    state = OnlineState("/fit", "/graph", (commit,), versions, 101, versions[2], 102)
    write_state(folder.state_file, state)
    record = {"sequence": 3, "reason": "Blessed: all is well.", "alarms": ["drift: far below"]}
    series.append(folder.series_file, record)
    return workdir


def online(workdir, *arguments):
    return main(["online", "--workdir", str(workdir.root), *arguments])


def test_status_says_what_was_learnt_and_what_is_served(workdir, capsys):
    assert online(workdir, "status") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:6] == [
        ["learnt", "3", "spans,", "the", "last", "one", "s3"],
        ["version", "100", "the", "full", "fit"],
        ["version", "101", "stable", "learnt", "until", "s1"],
        ["version", "102", "canary", "learnt", "until", "s3"],
        ["last", "span", "Blessed:", "all", "is", "well."],
        ["alarm", "drift:", "far", "below"],
    ]


def test_the_work_folder_may_come_after_the_subcommand(workdir, capsys):
    assert online(workdir, "status") == 0
    before = capsys.readouterr().out
    assert main(["online", "status", "--workdir", str(workdir.root)]) == 0
    assert capsys.readouterr().out == before


def test_rollback_withdraws_one_version_after_the_other(workdir, capsys):
    folder = OnlineFolder(workdir)
    assert online(workdir, "rollback") == 0
    assert "Withdrew version 102; version 101 is served again." in capsys.readouterr().out
    assert sorted(path.name for path in folder.serving_dir.iterdir()) == ["100", "101"]
    assert 'key: "canary" value: 101' in folder.models_config.read_text()
    assert 'key: "stable" value: 101' in folder.models_config.read_text()
    assert online(workdir, "rollback") == 0
    assert online(workdir, "rollback") == 1
    assert "no version before the newest one" in capsys.readouterr().err


def test_no_rollback_while_another_process_learns(workdir, capsys):
    with workdir.locked():
        assert online(workdir, "rollback") == 1
    assert "another run is using this folder" in capsys.readouterr().err
    assert (OnlineFolder(workdir).serving_dir / "102").exists()


def test_a_version_that_is_not_served_cannot_be_traced(workdir, capsys):
    assert online(workdir, "trace", "99") == 1
    assert "there are 100, 101, 102" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "rollback"])
def test_where_nothing_was_learnt_it_says_so(command, tmp_path, capsys):
    assert online(Workdir(tmp_path / "run"), command) == 1
    assert "nothing was learnt online here" in capsys.readouterr().err


def test_a_damaged_state_is_named(workdir, capsys):
    OnlineFolder(workdir).state_file.write_text("{")
    assert online(workdir, "status") == 1
    assert "state.json is no JSON" in capsys.readouterr().err


def test_learning_needs_a_folder_of_spans(workdir, capsys):
    assert online(workdir) == 2
    assert "--watch is needed" in capsys.readouterr().err


def test_learning_needs_a_full_run_and_says_how_to_make_one(tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    code = online(Workdir(tmp_path / "run"), "--watch", str(tmp_path / "logs"))
    assert code == 1
    assert f"easq run --workdir {tmp_path / 'run'}" in capsys.readouterr().err


def test_settings_of_another_program_are_refused(workdir, tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    run = {"run": {"dataset_config": {"nome": "x"}, "settings": {}}}
    workdir.report_json.write_text(json.dumps(run))
    assert online(workdir, "--watch", str(tmp_path / "logs")) == 2
    assert "nome" in capsys.readouterr().err

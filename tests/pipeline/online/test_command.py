"""`easq online` as its user runs it: spans in, a served version out, and a rollback."""

import json
import subprocess
import sys

import pytest

from pipeline.online.state import OnlineFolder
from pipeline.server_process import free_port

pytestmark = pytest.mark.slow


def easq(workdir, *arguments):
    command = [sys.executable, "-m", "cli.main", "online", "--workdir", str(workdir.root)]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def learnt(full_fit, tiny_transform_dir, tiny_spans, tmp_path_factory):
    """A folder in which the first two spans were learnt, with a server beside it."""
    from tests.pipeline.online.online_runs import copy_of

    workdir = copy_of(full_fit, tmp_path_factory.mktemp("command") / "run", tiny_transform_dir)
    watched = tiny_spans[0].path.parent
    done = easq(workdir, "--watch", watched, "--spans", "1:2", "--port", free_port())
    assert done.returncode == 0, done.stderr[-3000:]
    return workdir, watched, done.stderr


def test_each_span_is_a_line_with_its_version_and_when_it_was_served(learnt):
    _, _, printed = learnt
    for span, version in (("span=1", 1001), ("span=2", 1002)):
        (line,) = [line for line in printed.splitlines() if span in line]
        assert f"version {version}" in line
        assert "served after" in line


def test_freshness_is_measured_for_every_version(learnt):
    workdir, _, _ = learnt
    report = json.loads(OnlineFolder(workdir).report_json.read_text(encoding="utf-8"))
    assert report["freshness"]["n"] == 2
    assert 0 < report["freshness"]["p50"] <= report["freshness"]["p95"]
    assert "first request served with them" in OnlineFolder(workdir).report_html.read_text()


def test_it_goes_on_after_a_rollback_with_the_spans_that_are_new(learnt):
    workdir, watched, _ = learnt
    back = easq(workdir, "rollback")
    assert back.stdout == "Withdrew version 1002; version 1001 is served again.\n"
    done = easq(workdir, "--watch", watched, "--spans", "1:3")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "span=3" in done.stderr
    assert "span=2" not in done.stderr
    traced = easq(workdir, "trace", "1003").stdout.splitlines()
    assert [path.rpartition("/")[2] for path in traced] == ["span=1", "span=3"]

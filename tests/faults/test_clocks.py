"""Clocks that are put back or forward: the newest stays the newest, and nobody waits in silence."""

import os
from types import SimpleNamespace

import ml_metadata
import pytest

from pipeline.online.spans import Span, incomplete_because
from pipeline.run_artifacts import last_run_artifacts
from pipeline.version_folder import new_version, next_number
from serving.versions import list_versions

NOW, DAY = 1_700_000_000, 86_400
JUMPS = (-30 * DAY, -DAY, -3600, -1, 0, 1, 3600, DAY, 30 * DAY)


@pytest.mark.parametrize("jump", JUMPS)
def test_servers_take_what_was_pushed_last_for_the_newest(jump, tmp_path, count):
    pushed = []
    for now in (NOW, NOW + jump, NOW + 2 * jump, NOW):
        number = next_number(str(tmp_path), now)
        with new_version(str(tmp_path), number) as folder:
            (folder / "saved_model.pb").touch()
        pushed.append(number)
        assert max(list_versions(str(tmp_path))) == number
    assert len(set(pushed)) == 4
    count("clock jump, push", "the last version is the newest")


@pytest.mark.parametrize("jump", JUMPS)
def test_a_span_without_a_mark_is_waited_for_no_longer_than_told(jump, tmp_path, count):
    (tmp_path / "span=1").mkdir()
    file = tmp_path / "span=1" / "impressions.csv"
    file.touch()
    for path in (file, file.parent):
        os.utime(path, (NOW, NOW))
    why = incomplete_because(Span.at(tmp_path / "span=1"), settle_seconds=60, now=NOW + jump)
    if jump >= 60:
        assert why is None
    else:
        assert f"{abs(jump)} s {'ago' if jump >= 0 else 'from now'}" in why
    count("clock jump, span without a mark", "taken, or told why not")


def test_the_newest_run_is_the_one_that_came_last(monkeypatch, count):
    def run(number, created):
        return SimpleNamespace(
            id=number, type="pipeline_run", create_time_since_epoch=created, name=str(number)
        )

    asked = []

    class Store:
        def __init__(self, _):
            pass

        def get_context_by_type_and_name(self, kind, name):
            return SimpleNamespace(id=1)

        def get_children_contexts_by_context(self, _):
            return [run(2, NOW), run(3, NOW - DAY)]

        def get_executions_by_context(self, number):
            asked.append(number)
            return []

        def get_events_by_execution_ids(self, _):
            return []

        def get_artifacts_by_id(self, _):
            return []

    monkeypatch.setattr(ml_metadata, "MetadataStore", Store)
    last_run_artifacts("metadata.sqlite", "easq-simulated")
    assert asked == [3]
    count("clock jump, metadata", "the last run is the newest")

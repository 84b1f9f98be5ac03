"""The state file: replaced in one step, and what pushes, losses and rollbacks make of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.local_runner import Workdir
from pipeline.online.rollback import rolled_back
from pipeline.online.state import (
    Commit,
    OnlineFolder,
    OnlineState,
    Version,
    artifact_uri,
    read_state,
    write_in_one_step,
    write_state,
)

FIT = OnlineState(
    fit="/fit",
    transform_graph="/graph",
    commits=(Commit(0, "", "/fit", None, None, None, 100),),
    versions=(Version(100, 0, "", "/fit"),),
    stable=100,
    best=Version(100, 0, "", "/fit"),
    largest_version=100,
)


def after(state, *, pushed, best=False, keep_commits=3, keep_versions=2):
    """The state after one more span."""
    sequence = state.newest.sequence + 1
    model = f"/spans/{sequence}"
    number = state.largest_version + pushed
    commit = Commit(sequence, f"s{sequence}", model, "/store", "/examples", "/test", number)
    version = Version(number, sequence, commit.span, model) if pushed else None
    return state.after_span(
        commit, version, best=best, keep_commits=keep_commits, keep_versions=keep_versions
    )


def test_a_state_is_read_as_it_was_written(tmp_path):
    state = after(FIT, pushed=True)
    write_state(tmp_path / "state.json", state)
    assert read_state(tmp_path / "state.json") == state


def test_before_the_first_there_is_none(tmp_path):
    assert read_state(tmp_path / "state.json") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 7}'])
def test_a_damaged_state_is_named(text, tmp_path):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ValueError, match=r"state\.json"):
        read_state(tmp_path / "state.json")


def test_stopped_before_the_rename_the_old_content_stays(tmp_path, monkeypatch):
    file = tmp_path / "state.json"
    write_in_one_step(file, "old")

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_in_one_step(file, "new")
    assert file.read_text() == "old"


def test_a_push_makes_the_version_before_it_stable():
    first = after(FIT, pushed=True)
    assert first.labels == {"stable": 100, "canary": 101}
    held_back = after(first, pushed=False)
    assert held_back.labels == first.labels
    assert after(held_back, pushed=True).labels == {"stable": 101, "canary": 102}


def test_a_lost_checkpoint_takes_its_version_with_it():
    state = after(after(FIT, pushed=True), pushed=True)
    lost = state.without_newest()
    assert lost.newest.span == "s1"
    assert [version.number for version in lost.versions] == [101]
    assert lost.labels == {"stable": 101, "canary": 101}
    # Learnt again, the span gets the number again: the version is the same.
    assert after(lost, pushed=True) == after(after(FIT, pushed=True), pushed=True)


def test_something_is_served_though_all_versions_came_from_lost_checkpoints():
    state = after(after(after(FIT, pushed=True), pushed=True), pushed=True, keep_commits=4)
    assert [version.number for version in state.versions] == [102, 103]
    lost = state.without_newest().without_newest()
    assert [version.number for version in lost.versions] == [102]
    again = after(lost, pushed=True)
    assert [version.number for version in again.versions] == [102]
    assert again.labels == {"stable": 102, "canary": 102}


def test_a_rollback_goes_on_from_the_model_before_and_learns_no_span_again(tmp_path):
    folder = OnlineFolder(Workdir(tmp_path))
    state = after(after(FIT, pushed=True), pushed=True)
    back = rolled_back(folder, state)
    assert back.labels == {"stable": 101, "canary": 101}
    assert (back.newest.model, back.newest.span) == ("/spans/1", "s2")
    assert read_state(folder.state_file) == back
    (record,) = folder.rollbacks_file.read_text().splitlines()
    assert json.loads(record) == {"withdrawn": 102, "served": 101, "sequence": 2, "span": "s2"}
    assert after(back, pushed=True).versions[-1].number == 103


def test_the_best_version_stays_known_when_it_is_no_longer_served():
    state = after(FIT, pushed=True, best=True)
    for _ in range(3):
        state = after(state, pushed=True)
    assert [version.number for version in state.versions] == [103, 104]
    assert state.best.number == 101
    assert after(state, pushed=True, best=True).best.number == 105


def test_a_best_version_that_is_withdrawn_or_lost_is_so_no_longer():
    state = after(after(FIT, pushed=True), pushed=True, best=True)
    assert state.best.number == 102
    assert state.rolled_back().best.number == 101
    assert state.without_newest().best.number == 101


def test_there_must_be_a_version_to_go_back_to(tmp_path):
    with pytest.raises(RuntimeError, match="no version before the newest"):
        rolled_back(OnlineFolder(Workdir(tmp_path)), FIT)


def test_the_window_has_each_span_once():
    state = after(after(FIT, pushed=True), pushed=True)
    back = state.rolled_back()
    assert [commit.span for commit in back.earlier_spans(5)] == ["s1", "s2"]
    assert [commit.span for commit in back.earlier_spans(1)] == ["s2"]
    assert back.earlier_spans(0) == []


@given(st.lists(st.sampled_from(["push", "refuse", "rollback", "lose"]), max_size=30))
def test_whatever_happens_labels_name_versions_and_nothing_grows(events):
    state = FIT
    numbers = {100}
    for event in events:
        if event == "rollback" and len(state.versions) > 1:
            state = state.rolled_back()
        elif event == "lose" and len(state.commits) > 1:
            state = state.without_newest()
            numbers = {number for number in numbers if number <= state.largest_version}
        elif event in ("push", "refuse"):
            state = after(state, pushed=event == "push")
            if event == "push":
                assert state.versions[-1].number not in numbers
                numbers.add(state.versions[-1].number)
        served = [version.number for version in state.versions]
        assert set(state.labels.values()) <= set(served)
        assert served == sorted(served)
        assert state.labels["stable"] <= state.labels["canary"] == served[-1]
        assert len(state.commits) <= 4
        assert len(state.versions) <= 2


def test_the_newest_output_of_a_component_is_found_by_number(tmp_path):
    for execution in ("9", "10"):
        (tmp_path / "Trainer" / "model" / execution).mkdir(parents=True)
    assert artifact_uri(tmp_path, "Trainer", "model") == str(tmp_path / "Trainer" / "model" / "10")

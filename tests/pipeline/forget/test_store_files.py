"""Users taken out of the impression store: as if they had never been in the logs."""

import json
from pathlib import Path

import pytest

from pipeline.forget.names import UserNames
from pipeline.forget.store_files import forget_in_store
from pipeline.online.impression_store import ImpressionStore
from pipeline.online.span_examples import write_span_examples
from pipeline.online.spans import Span, fingerprint
from pipeline.online.store_sums import require_whole_store
from tests.pipeline.example_gen.small_logs import QUESTIONNAIRE, config
from tests.pipeline.example_gen.written import examples_in, files_under
from tests.pipeline.forget.forgetting import OTHER, THEM, logs_of
from tests.pipeline.online.span_folders import PATIENT, learn, write_span

NO_REQUESTS = {
    "questionnaire": {
        **QUESTIONNAIRE,
        "columns": {**QUESTIONNAIRE["columns"], "request_id": None},
    }
}
DATASETS = {"by request": config(), "by item": config(**NO_REQUESTS)}


def write_spans(folder: Path, *users: str) -> list[Span]:
    return [
        write_span(folder, str(number), shown, answers)
        for number, (shown, answers) in enumerate(logs_of(*users), start=1)
    ]


def forgotten(store: Path, dataset, **options) -> int:
    names = UserNames.of([THEM], dataset)
    return forget_in_store(store, names, dataset, {}, {}, **{"answers_only": False, **options})


def learnt(folder: Path, split: str) -> list[dict]:
    """Records but for the numbers of pair groups, which go on counting."""
    return [{**one, "pair_group": None} for one in examples_in(folder, split)]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_the_next_span_is_learnt_as_if_they_had_never_been_there(tmp_path, dataset) -> None:
    both, alone = tmp_path / "both", tmp_path / "alone"
    with_them, without = write_spans(both, THEM, OTHER), write_spans(alone, OTHER)
    learn(both, with_them[:2], dataset)
    learn(alone, without[:2], dataset)
    assert forgotten(both / "2-store", dataset) > 0
    require_whole_store(both / "2-store")
    for folder in (both, alone):
        write_span_examples(
            without[2], dataset, folder / "2-store", folder / "3", folder / "3-store",
            holdout=0.0, limits=PATIENT,
        )  # fmt: skip
    for split in ("train", "answered", "holdout", "holdout_late"):
        assert learnt(both / "3", split) == learnt(alone / "3", split)
    counts = [json.loads((each / "3" / "counts.json").read_text()) for each in (both, alone)]
    assert counts[0]["answers"] == counts[1]["answers"]
    assert counts[0]["answers"]["late_used"] == 1
    stored = [ImpressionStore.open(each / "3-store", dataset) for each in (both, alone)]
    for ours, clean in zip(*(store.segments for store in stored), strict=True):
        assert ours.info.slates == clean.info.slates
        assert ours.info.arrivals == clean.info.arrivals
        for name, values in clean.keys.items():
            assert ours.keys[name].tolist() == values.tolist(), name


def test_no_byte_of_the_id_is_left_and_a_second_time_nothing_changes(tmp_path) -> None:
    dataset = DATASETS["by request"]
    learn(tmp_path, write_spans(tmp_path, THEM, OTHER), dataset)
    for store in ("1-store", "2-store", "3-store"):
        assert any(THEM.encode() in file for file in files_under(tmp_path / store).values())
        forgotten(tmp_path / store, dataset)
        after = files_under(tmp_path / store)
        assert not any(THEM.encode() in file for file in after.values())
        assert any(OTHER.encode() in file for file in after.values())
        assert forgotten(tmp_path / store, dataset) == 0
        assert files_under(tmp_path / store) == after


def test_stores_go_on_sharing_files(tmp_path) -> None:
    dataset, done = DATASETS["by request"], {}
    learn(tmp_path, write_spans(tmp_path, THEM, OTHER), dataset)
    names = UserNames.of([THEM], dataset)
    stale = tmp_path / "3-store" / "span-1-1.slates.arrow"
    stale.write_text("left by a command for another user that was killed")
    for store in ("2-store", "3-store"):
        forget_in_store(tmp_path / store, names, dataset, {}, done, answers_only=False)
    shared = tmp_path / "2-store" / "span-1-1.slates.arrow"
    assert shared.samefile(tmp_path / "3-store" / "span-1-1.slates.arrow")


def test_answers_alone(tmp_path) -> None:
    dataset = DATASETS["by request"]
    spans = write_spans(tmp_path, THEM, OTHER)
    learn(tmp_path, spans[:2], dataset)
    before = ImpressionStore.open(tmp_path / "2-store", dataset)
    assert before.waiting["user_id"].to_pylist() == [THEM, OTHER]
    # Two of the second span's answers are theirs by now, one of the first's, and one waits.
    assert forgotten(tmp_path / "2-store", dataset, answers_only=True) == 4
    after = ImpressionStore.open(tmp_path / "2-store", dataset)
    assert after.waiting["user_id"].to_pylist() == [OTHER]
    for now, then in zip(after.segments, before.segments, strict=True):
        assert now.info.slates == then.info.slates
        assert now.info.arrivals == then.info.arrivals / 2


def test_a_killed_call_is_made_again(tmp_path, monkeypatch) -> None:
    from pipeline.forget import store_files

    dataset = DATASETS["by request"]
    learn(tmp_path, write_spans(tmp_path, THEM, OTHER)[:2], dataset)
    store = tmp_path / "2-store"
    written = store_files.write_segment
    calls = []

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return written(*arguments, **options)

    monkeypatch.setattr(store_files, "write_segment", killed)
    with pytest.raises(KeyboardInterrupt):
        forgotten(store, dataset)
    ImpressionStore.open(store, dataset)  # the old one, as it was
    assert forgotten(store, dataset) > 0
    require_whole_store(store)
    assert not any(THEM.encode() in file for file in files_under(store).values())


def test_rewritten_spans_are_not_new_to_the_store(tmp_path) -> None:
    dataset = DATASETS["by request"]
    (span, *_) = write_spans(tmp_path, THEM, OTHER)
    learn(tmp_path, [span], dataset)
    before = fingerprint(span).digest
    write_span(tmp_path, "1", *logs_of(OTHER)[0])
    after = fingerprint(span)
    names = UserNames.of([THEM], dataset)
    forget_in_store(
        tmp_path / "1-store", names, dataset, {before: after.digest}, {}, answers_only=False
    )
    assert not ImpressionStore.open(tmp_path / "1-store", dataset).is_new(span, after)

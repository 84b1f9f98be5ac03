"""What the first span knows of the log that the full fit was made of."""

import shutil

import pytest

from pipeline.online.full_fit_log import store_of_full_fit
from pipeline.online.impression_store import StoreLimits
from pipeline.online.span_examples import write_span_examples
from pipeline.online.spans import Span, SpanError
from tests.pipeline.example_gen.small_logs import answer, config, impression, write_parquet
from tests.pipeline.example_gen.written import examples_in, files_under
from tests.pipeline.online.span_folders import PATIENT, answers_in, write_span

DISSATISFIED, SATISFIED = 0, 2
CONFIG = config()


def request(name, hours, **changes):
    """Two rows, of items a and b."""
    return [impression(name, "u", item, hours, **changes) for item in "ab"]


@pytest.fixture
def base(tmp_path):
    """The log of the full fit: 30 hours, one answer."""
    shown = [*request("r1", 0, feature_match=0.25), *request("r2", 30)]
    folder = tmp_path / "spans" / "_base"
    write_parquet(folder, shown, [answer("r1", "u", "a", 1, SATISFIED)])
    return folder


def store_of(base, folder, limits=PATIENT):
    return store_of_full_fit(str(base), CONFIG, folder, limits, holdout=0.0)


def learn(tmp_path, store, impressions, answers, name="41"):
    span = write_span(tmp_path, name, impressions, answers)
    out = tmp_path / name, tmp_path / f"{name}-store"
    return write_span_examples(span, CONFIG, store, *out, holdout=0.0, limits=PATIENT)


def test_an_answer_to_an_impression_of_the_full_fit_trains_with_its_features(base, tmp_path):
    store, note = store_of(base, tmp_path / "first")
    assert note == "2 slates of the full fit may still be answered."
    late = [answer("r1", "u", "b", 20, DISSATISFIED), answer("r2", "u", "a", 31, SATISFIED)]
    report = learn(tmp_path, store, request("r3", 32), late)
    assert report["answers"]["late_used"] == report["answers"]["trained"] == 2
    assert report["answers"]["waiting"] == 0
    groups = list(examples_in(tmp_path / "41", "answered"))
    # The answer that the full fit has learnt is an earlier one of the same user, and no anchor.
    assert [answers_in(record) for record in groups] == [
        *([("u", "r1", "a", SATISFIED)], [("u", "r1", "b", DISSATISFIED)]),
        *([("u", "r1", "a", SATISFIED)], [("u", "r1", "b", DISSATISFIED)]),
        [("u", "r2", "a", SATISFIED)],
    ]
    assert groups[0]["match"] == groups[1]["match"] == [0.25, 0.25]


def test_what_the_full_fit_has_learnt_is_not_learnt_again(base, tmp_path):
    store, _ = store_of(base, tmp_path / "first")
    again = [answer("r1", "u", "a", 1, SATISFIED)]
    report = learn(tmp_path, store, [*request("r2", 30), *request("r3", 32)], again)
    assert report["answers"]["duplicates"] == 1
    assert report["impressions"]["rejected"] == {"request_of_earlier_span": 2}
    shutil.copytree(base, tmp_path / "spans" / "42")
    with pytest.raises(SpanError, match="holds the same files as the full fit"):
        write_span_examples(
            Span.at(tmp_path / "spans" / "42"), CONFIG, store, tmp_path / "42", tmp_path / "s"
        )


def test_the_same_log_makes_the_same_store_whatever_was_left_there(base, tmp_path):
    first, _ = store_of(base, tmp_path / "first")
    whole = files_under(first)
    (first / "store.json").unlink()  # as if the process had been killed
    again, _ = store_of(base, tmp_path / "first")
    assert files_under(again) == whole
    assert [path.name for path in (tmp_path / "first").iterdir()] == ["store"]


@pytest.mark.parametrize("logs", [None, "gs://bucket/logs", "gone"])
def test_a_log_that_is_not_there_is_said(logs, tmp_path):
    store, note = store_of_full_fit(logs, CONFIG, tmp_path / "first", PATIENT, holdout=0.0)
    assert store is None
    assert note.startswith("Answers to what was shown before the first span cannot be used: ")
    assert (logs or "not known") in note


def test_nor_one_that_has_changed_beyond_reading_or_is_too_large(base, tmp_path):
    store, note = store_of(base, tmp_path / "first", StoreLimits(max_bytes=10))
    assert store is None
    assert "more than online.store_bytes, 10" in note
    (base / "impressions.parquet").write_bytes(b"PAR1 cut off")
    store, note = store_of(base, tmp_path / "first")
    assert store is None
    assert "impressions.parquet" in note

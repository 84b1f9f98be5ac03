"""The component of a span: what it hands to its executor, and what the executor leaves behind."""

import json

import pytest
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from pipeline.online.impression_store import ImpressionStore
from pipeline.online.span_example_gen import Impressions, SpanExampleGen
from pipeline.online.spans import Span, SpanError
from tests.pipeline.example_gen.small_logs import answer, config, impression, write_parquet


@pytest.fixture
def span(tmp_path):
    rows = [impression("r1", "u", item, 0) for item in "ab"]
    write_parquet(tmp_path / "spans" / "span=7", rows, [answer("r1", "u", "a", 1, 2)])
    return Span.at(tmp_path / "spans" / "span=7")


def run(component, tmp_path, name, before=()):
    examples, store = standard_artifacts.Examples(), Impressions()
    examples.uri, store.uri = str(tmp_path / name / "examples"), str(tmp_path / name / "store")
    inputs = {"store_before": list(before)} if before else {}
    executor = component.EXECUTOR_SPEC.executor_class(BaseExecutor.Context())
    executor.Do(inputs, {"examples": [examples], "store": [store]}, component.exec_properties)
    return examples, store


def test_the_executor_fills_both_artifacts_and_says_which_span_they_are_of(span, tmp_path):
    examples, store = run(SpanExampleGen(span, config(), holdout=0.0), tmp_path, "made")
    assert (examples.span, store.span) == (7, 7)
    splits = ["train", "answered", "holdout", "holdout_late"]
    assert artifact_utils.decode_split_names(examples.split_names) == splits
    for split in splits:
        (file,) = (tmp_path / "made" / "examples" / f"Split-{split}").iterdir()
        assert file.name == "slates-00000.tfrecord"
    counts = json.loads((tmp_path / "made" / "examples" / "counts.json").read_text())
    assert counts["slates"]["train"] == counts["slates"]["answered"] == 1
    assert ImpressionStore.open(store.uri, config()).processed[0].number == 7


def test_the_store_of_the_span_before_is_an_input(span, tmp_path):
    _, before = run(SpanExampleGen(span, config(), holdout=0.0), tmp_path, "first")
    rows = [impression("r2", "u", item, 2) for item in "ab"]
    write_parquet(tmp_path / "spans" / "span=8", rows, [answer("r1", "u", "b", 3, 0)])
    channel = channel_utils.as_channel([before])
    component = SpanExampleGen(
        Span.at(tmp_path / "spans" / "span=8"), config(), channel, holdout=0.0
    )
    assert component.inputs["store_before"] is channel
    run(component, tmp_path, "second", [before])
    counts = json.loads((tmp_path / "second" / "examples" / "counts.json").read_text())
    assert counts["answers"]["late_used"] == 1


def test_changed_files_are_another_execution_and_are_refused_half_way(span, tmp_path):
    component = SpanExampleGen(span, config())
    rows = [impression("r1", "u", item, 0) for item in "abc"]
    write_parquet(span.path, rows, [])
    again = SpanExampleGen(span, config())
    assert again.exec_properties["digest"] != component.exec_properties["digest"]
    with pytest.raises(SpanError, match="changed since it was taken up"):
        run(component, tmp_path, "made")

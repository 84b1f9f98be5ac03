"""A window of span folders is read as one log."""

import pytest

from pipeline.example_gen.component import LogExampleGen, Spans
from pipeline.example_gen.executor import Executor
from pipeline.example_gen.span_window import find_window
from pipeline.online.spans import SpanError
from tests.pipeline.example_gen.small_logs import config, impression, write_parquet


def land(logs, *names, own=()):
    """Complete spans, and shared tables beside them; `own`: spans that bring their own items."""
    for name in names:
        folder = logs / name
        folder.mkdir(parents=True)
        (folder / "impressions.parquet").touch()
        (folder / "_SUCCESS").touch()
        if name in own:
            (folder / "items.parquet").touch()


def window_of(logs, span, spans):
    return [one.name for one in find_window(config(), str(logs), span=span, spans=spans).spans]


def test_the_newest_spans_by_number_not_by_text(tmp_path):
    land(tmp_path, "9", "10", "11", "8")
    assert window_of(tmp_path, "newest", 3) == ["9", "10", "11"]


def test_up_to_a_named_span(tmp_path):
    land(tmp_path, "2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23")
    assert window_of(tmp_path, "2026-11-22", 2) == ["2026-11-21", "2026-11-22"]


def test_at_the_beginning_the_window_is_what_has_landed(tmp_path):
    land(tmp_path, "1", "2")
    assert window_of(tmp_path, "newest", 7) == ["1", "2"]


def test_a_span_that_is_still_written_is_no_part_of_it(tmp_path):
    land(tmp_path, "1", "2", "3", ".4.partial", "_base")
    (tmp_path / "3" / "_SUCCESS").unlink()
    assert window_of(tmp_path, "newest", 2) == ["1", "2"]


def test_the_paths_lead_into_the_spans(tmp_path):
    land(tmp_path, "1", "2")
    tables = find_window(config(), str(tmp_path), span="newest", spans=2).dataset.tables
    assert tables.impressions.path == ("1/impressions*.parquet", "2/impressions*.parquet")
    assert tables.questionnaires.path == ("1/questionnaires*.parquet", "2/questionnaires*.parquet")
    assert tables.items.path == ("items*.parquet",)


def test_items_are_those_of_the_newest_span_that_brings_its_own(tmp_path):
    land(tmp_path, "1", "2", "3", own=("1", "2"))
    find = lambda spans: find_window(config(), str(tmp_path), span="newest", spans=spans)  # noqa: E731
    assert find(3).dataset.tables.items.path == ("2/items*.parquet",)
    assert find(1).dataset.tables.items.path == ("items*.parquet",)


@pytest.mark.parametrize(
    ("landed", "span", "said"),
    [
        ((), "newest", "no complete span; there is nothing; write _SUCCESS into a span"),
        (("1", "2"), "3", "no complete span 3; the newest are 1, 2; give one of them, or newest"),
        (("1", "2026-11-22"), "newest", "holds spans of different kinds"),
    ],
)
def test_a_window_that_is_not_there_is_refused(tmp_path, landed, span, said):
    land(tmp_path, *landed)
    with pytest.raises(SpanError) as error:
        window_of(tmp_path, span, 1)
    assert said in str(error.value)


def test_no_folder_of_spans(tmp_path):
    with pytest.raises(SpanError, match="no such folder; give the folder that the spans land in"):
        window_of(tmp_path / "logs", "newest", 1)


def test_a_window_of_spans_gives_the_examples_of_one_log_with_their_rows(tmp_path):
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import standard_artifacts

    def rows(hours):
        return [impression(f"r{hour}", "u", item, hour) for hour in hours for item in "ab"]

    write_parquet(tmp_path / "whole", rows(range(2, 6)), [])
    for name, hours in (("0", (0, 1)), ("1", (2, 3)), ("2", (4, 5))):
        write_parquet(tmp_path / "spans" / name, rows(hours), [])
        (tmp_path / "spans" / name / "_SUCCESS").touch()

    def examples_of(logs, spans):
        component = LogExampleGen(str(logs), config(), spans)
        examples = standard_artifacts.Examples()
        examples.uri = str(tmp_path / f"examples_{logs.name}")
        context = BaseBeamExecutor.Context(["--runner=FnApiRunner"], str(tmp_path / "tmp"), "1")
        Executor(context).Do({}, {"examples": [examples]}, component.exec_properties)
        return examples, {
            path.parent.name: path.read_bytes()
            for path in (tmp_path / f"examples_{logs.name}").glob("Split-*/*")
        }

    examples, of_window = examples_of(tmp_path / "spans", Spans("newest", 2))
    assert examples.span == 2
    assert examples.get_string_custom_property("spans") == "1,2"
    assert of_window == examples_of(tmp_path / "whole", None)[1]
    assert len(of_window) == 3

"""The stream of a world: the rows of its log, each in the span in which it lands."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.logs.dataset_config import load_dataset_config
from pipeline.logs.readers import find_tables
from pipeline.online.spans import find_spans
from simulator import SimulatorConfig, simulate, write_span_logs

DAY = 86_400_000
CONFIG = SimulatorConfig(users=80, items=300, requests=900, days=3, issue_rate=0.3)


@pytest.fixture(scope="module")
def logs():
    return simulate(CONFIG)


def landed(folder, spans, name):
    return [pq.read_table(folder / span / f"{name}.parquet") for span in spans]


def arrivals(questionnaires):
    answered = questionnaires["answered_ms"].to_pylist()
    issued = questionnaires["issued_ms"].to_pylist()
    return np.array(
        [issue if at is None else at for at, issue in zip(answered, issued, strict=True)]
    )


def test_every_row_lands_in_the_day_of_its_time_and_answers_when_they_arrive(tmp_path, logs):
    counts = write_span_logs(CONFIG, tmp_path, "daily")
    days = ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert [span.name for span in find_spans(tmp_path)] == days
    impressions = landed(tmp_path, days, "impressions")
    assert pa.concat_tables(impressions).equals(logs.impressions)
    for number, table in enumerate(impressions):
        assert set((table["time_ms"].to_numpy() - CONFIG.start_ms) // DAY) == {number}
    questionnaires = landed(tmp_path, days, "questionnaires")
    for number, table in enumerate(questionnaires):
        assert set((arrivals(table) - CONFIG.start_ms) // DAY) == {number}
    late = questionnaires[1].filter(
        pa.array(questionnaires[1]["issued_ms"].to_numpy() < CONFIG.start_ms + DAY)
    )
    assert late.num_rows > 0
    every = arrivals(logs.questionnaires)
    in_time = int((every < CONFIG.start_ms + 3 * DAY).sum())
    assert counts["questionnaires"] == sum(table.num_rows for table in questionnaires) == in_time
    assert counts["after_the_end"] == logs.questionnaires.num_rows - in_time > 0
    assert counts["impressions"] == 900 * 12
    assert counts["spans"] == 3
    for name in ("users", "items"):
        assert pq.read_table(tmp_path / f"{name}.parquet").equals(getattr(logs, name))


def test_hours_without_a_request_are_spans_too(tmp_path):
    config = SimulatorConfig(users=80, items=300, requests=30, days=1)
    write_span_logs(config, tmp_path, "hourly")
    spans = find_spans(tmp_path)
    assert [span.name for span in spans] == [f"2024-01-01T{hour:02}" for hour in range(24)]
    rows = [pq.read_metadata(span.path / "impressions.parquet").num_rows for span in spans]
    assert 0 in rows
    assert sum(rows) == 30 * 12


def test_the_base_is_a_log_of_the_first_days(tmp_path, logs):
    write_span_logs(CONFIG, tmp_path, "daily", base_days=2)
    assert [span.name for span in find_spans(tmp_path)] == ["2024-01-03"]
    find_tables(load_dataset_config("simulated"), tmp_path / "_base")
    base = pq.read_table(tmp_path / "_base" / "impressions.parquet")
    assert base.equals(logs.impressions.slice(0, base.num_rows))
    assert base["time_ms"].to_numpy().max() < CONFIG.start_ms + 2 * DAY
    asked = pq.read_table(tmp_path / "_base" / "questionnaires.parquet")
    assert arrivals(asked).max() < CONFIG.start_ms + 2 * DAY
    with pytest.raises(ValueError, match="less than the 3 days"):
        write_span_logs(CONFIG, tmp_path, "daily", base_days=3)


def test_written_again_the_bytes_are_the_same(tmp_path):
    written = []
    for _ in range(2):
        write_span_logs(CONFIG, tmp_path, "daily", base_days=1)
        files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
        written.append({path.relative_to(tmp_path): path.read_bytes() for path in files})
    assert written[0] == written[1]
    assert len(written[0]) == 2 + 4 + 2 * 3  # shared tables, base, spans

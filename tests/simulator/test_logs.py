"""The tables and files: their contract, their bytes, and how they add up."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import simulator.logs
from pipeline.logs.dataset_config import load_dataset_config
from simulator import SimulatorConfig, simulate, write_logs

CONFIG = SimulatorConfig(users=80, items=300, requests=700, days=3, issue_rate=0.3)
TABLES = ("impressions", "questionnaires", "users", "items")


@pytest.fixture(scope="module")
def logs():
    return simulate(CONFIG)


def file_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_hold_the_tables_and_the_counts_their_rows(tmp_path, logs):
    counts = write_logs(CONFIG, tmp_path / "new" / "folder")
    files = {path.stem: pq.read_table(path) for path in (tmp_path / "new" / "folder").iterdir()}
    assert sorted(files) == sorted(TABLES)
    for name in TABLES:
        assert files[name].equals(getattr(logs, name))
        assert counts[name] == files[name].num_rows
    assert counts["impressions"] == 700 * 12
    assert (counts["requests"], counts["exposed"]) == (700, 700 * 7)
    answers = files["questionnaires"]["answer"].to_pylist()
    assert counts["answered"] == sum(answer is not None for answer in answers)


def test_the_same_config_writes_the_same_bytes_and_another_seed_others(tmp_path):
    write_logs(CONFIG, tmp_path / "a")
    write_logs(CONFIG, tmp_path / "b")
    write_logs(SimulatorConfig.from_dict({**CONFIG.to_dict(), "seed": 1}), tmp_path / "c")
    first, again, other = (file_bytes(tmp_path / name) for name in "abc")
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_the_bytes_do_not_depend_on_how_rows_arrive(tmp_path, logs, monkeypatch):
    monkeypatch.setattr(simulator.logs, "ROW_GROUP_ROWS", 1000)
    written = []
    for chunk in (37, 1000, 3333, 10**6):
        path = tmp_path / f"{chunk}.parquet"
        with simulator.logs.ParquetFile(path, logs.impressions.schema) as file:
            for start in range(0, logs.impressions.num_rows, chunk):
                file.add(logs.impressions.slice(start, chunk))
        written.append(path.read_bytes())
    assert len(set(written)) == 1
    assert pq.read_table(path).equals(logs.impressions)
    assert [pq.ParquetFile(path).metadata.row_group(g).num_rows for g in range(9)] == (
        [1000] * 8 + [400]
    )


def test_an_empty_table_is_a_readable_file(tmp_path):
    schema = simulator.logs.QUESTIONNAIRES
    with simulator.logs.ParquetFile(tmp_path / "none.parquet", schema):
        pass
    assert pq.read_table(tmp_path / "none.parquet").equals(schema.empty_table())


def test_a_broken_off_run_leaves_no_half_file_and_keeps_the_old_one(tmp_path):
    write_logs(CONFIG, tmp_path)
    before = file_bytes(tmp_path)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_logs(CONFIG, tmp_path, progress=stop)
    assert file_bytes(tmp_path) == before


def test_progress_goes_up_to_all_requests(tmp_path):
    seen = []
    write_logs(CONFIG, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(256, 700), (512, 700), (700, 700)]


def test_requests_are_whole_in_order_and_their_first_seven_are_shown(logs):
    rows = logs.impressions.to_pandas()
    assert rows.request_id.tolist() == np.repeat(np.arange(700), 12).tolist()
    assert rows.position.tolist() == list(range(12)) * 700
    assert (rows.exposed == (rows.position < 7)).all()
    assert rows.time_ms.is_monotonic_increasing
    assert not rows.duplicated(["request_id", "item_id"]).any()
    by_request = rows.groupby("request_id")[["user_id", "time_ms", "hour"]].nunique()
    assert (by_request == 1).all(axis=None)
    hours = (rows.time_ms // 3_600_000) % 24
    assert (rows.hour == hours).all()


def test_nothing_happens_to_what_is_not_shown(logs):
    hidden = logs.impressions.to_pandas().query("exposed == 0")
    outcomes = ["played_ms", *simulator.logs.BEHAVIOURS]
    assert (hidden[outcomes] == 0).all(axis=None)
    assert hidden.true_satisfaction.nunique() > 1000


def test_columns_tell_the_same_story_as_the_item_table(logs):
    items = logs.items.to_pandas()
    rows = logs.impressions.to_pandas().merge(items, on="item_id")
    assert len(rows) == logs.impressions.num_rows
    np.testing.assert_allclose(rows.duration_ms / 1000, rows.duration_s, rtol=1e-6)
    age_days = (rows.time_ms - CONFIG.start_ms) / 86_400_000 - rows.upload_day
    assert age_days.between(0, CONFIG.lifetime_days + 1).all()


def test_every_questionnaire_belongs_to_a_shown_video_that_met_the_trigger(logs):
    issued = logs.questionnaires.to_pandas()
    rows = logs.impressions.to_pandas().query("exposed == 1")
    joined = issued.merge(rows, on=["request_id", "user_id", "item_id"])
    assert len(joined) == len(issued) > 1000
    assert ((joined.played_ms >= 7_000) | (2 * joined.played_ms >= joined.duration_ms)).all()
    assert (joined.issued_ms > joined.time_ms).all()
    assert (joined.answered_ms.isna() == joined.answer.isna()).all()
    assert set(joined.answer.dropna()) == {"satisfied", "dissatisfied", "uncertain"}


def test_tables_have_no_nulls_but_where_nobody_answered(logs):
    for name in TABLES:
        table = getattr(logs, name)
        nullable = {"answered_ms", "answer"} if name == "questionnaires" else set()
        for column in table.column_names:
            assert (table[column].null_count == 0) or column in nullable


def test_the_built_in_dataset_config_finds_every_column_it_names(logs):
    dataset = load_dataset_config("simulated")
    for feature in dataset.features:
        column = getattr(logs, feature.table)[feature.column]
        is_number = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
        assert is_number or feature.kind != "numeric"
    assert set(dataset.behaviours.columns) == set(simulator.logs.BEHAVIOURS)
    for table, roles in (
        (logs.impressions, dataset.columns),
        (logs.questionnaires, dataset.questionnaire.columns),
    ):
        for role in dataclasses.astuple(roles):
            column = role[0] if isinstance(role, tuple) else role
            assert column in table.column_names
    assert "true_satisfaction" not in {feature.column for feature in dataset.features}

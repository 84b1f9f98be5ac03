"""A log cut into spans: every row once, as it was, in the span of its time."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.logs.dataset_config import load_dataset_config
from pipeline.online.span_split import split_into_spans
from pipeline.online.spans import SpanError, find_spans
from tests.cli.test_command_line import run
from tests.pipeline.example_gen.small_logs import answer, config, impression, write_parquet
from tests.pipeline.online.span_folders import learn

# START is 2023-11-14 22:13:20 UTC.
ROWS = [impression(f"r{hour}", "u", item, hour) for hour in (0, 1, 2, 30) for item in "ab"]
ANSWERS = [answer("r0", "u", "a", 0.1, 2), answer("r0", "u", "b", 29, 0)]


def write_log(folder):
    write_parquet(folder / "log", ROWS, ANSWERS, files=2)
    return folder / "log"


def test_each_row_lies_in_the_day_of_its_time_and_an_answer_where_it_was_given(tmp_path):
    log = write_log(tmp_path)
    counts = split_into_spans(config(), log, tmp_path / "spans", "day")
    days = ["2023-11-14", "2023-11-15", "2023-11-16"]
    assert counts == {days[0]: 5, days[1]: 2, days[2]: 3, "malformed": 0}
    assert [span.name for span in find_spans(tmp_path / "spans")] == days
    for name in ("impressions0", "impressions1", "questionnaires"):
        files = (tmp_path / "spans").glob(f"*/{name}.parquet")
        parts = [pq.read_table(path) for path in sorted(files)]
        assert pa.concat_tables(parts).equals(pq.read_table(log / f"{name}.parquet"))
    reports = learn(tmp_path, find_spans(tmp_path / "spans"), config())
    assert [report["slates"]["train"] for report in reports] == [2, 1, 1]
    assert [report["answers"]["late_used"] for report in reports] == [0, 0, 1]


def test_hours(tmp_path):
    split_into_spans(config(), write_log(tmp_path), tmp_path / "spans", "hour")
    names = [span.name for span in find_spans(tmp_path / "spans")]
    assert names == [
        "2023-11-14T22", "2023-11-14T23", "2023-11-15T00", "2023-11-16T03", "2023-11-16T04",
    ]  # fmt: skip


def test_the_first_spans_are_the_log_of_the_full_fit(tmp_path):
    counts = split_into_spans(config(), write_log(tmp_path), tmp_path / "spans", "day", base=2)
    assert counts == {"_base": 7, "2023-11-16": 3, "malformed": 0}
    assert [span.name for span in find_spans(tmp_path / "spans")] == ["2023-11-16"]
    for place in (tmp_path / "spans" / "_base", tmp_path / "spans"):
        assert (place / "users.parquet").exists()
    with pytest.raises(SpanError, match="the log has 3 spans"):
        split_into_spans(config(), tmp_path / "log", tmp_path / "other", "day", base=3)


def test_what_is_there_is_never_replaced(tmp_path):
    split_into_spans(config(), write_log(tmp_path), tmp_path / "spans", "day")
    with pytest.raises(SpanError, match=r"2023-11-14: is there already; remove it"):
        split_into_spans(config(), tmp_path / "log", tmp_path / "spans", "day")


def kuairand_like(folder):
    """Three days in China of one user; the second begins at 16:00 UTC of the first."""
    head = (
        "user_id,video_id,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,"
        "long_view,play_time_ms,duration_ms,is_profile_enter,tab"
    )
    midnight = 1_650_816_000_000  # 2022-04-25 00:00 in China
    day = 86_400_000
    times = [midnight + 1, midnight + day - 1, midnight + day, "never", midnight + 2 * day]
    lines = [f'7,{item},{time},1,1,0,0,0,0,1,9,9,0,"1"' for item, time in enumerate(times)]
    folder.mkdir()
    log = "\n".join([head, *lines, "7,cut off"]) + "\n"
    (folder / "log_standard_4_25_pure.csv.gz").write_bytes(gzip.compress(log.encode()))
    users = load_dataset_config("kuairand").features_of("users")
    names = ",".join(["user_id", *(feature.column for feature in users)])
    (folder / "user_features_pure.csv").write_text(f"{names}\n7{',1' * len(users)}\n")
    items = load_dataset_config("kuairand").features_of("items")
    names = ",".join(["video_id", *(feature.column for feature in items)])
    (folder / "video_features_basic_pure.csv").write_text(f"{names}\n0{',1' * len(items)}\n")
    return folder


def test_kuairand_is_cut_at_midnight_in_china_by_the_command(tmp_path, capsys):
    log = kuairand_like(tmp_path / "log")
    arguments = ("spans", "split", "--dataset", "kuairand", "--data-dir", log)
    code, out, _ = run(*arguments, "--out", tmp_path / "spans", capsys=capsys)
    assert code == 0
    assert "1 lines with another number of fields" in out
    days = ["2022-04-25", "2022-04-26", "2022-04-27"]
    spans = find_spans(tmp_path / "spans")
    assert [span.name for span in spans] == days
    rows = [
        gzip.decompress((span.path / "log_standard_4_25_pure.csv.gz").read_bytes()).count(b"\n") - 1
        for span in spans
    ]
    assert rows == [3, 1, 1]  # the row without a time lies in the first
    reports = learn(tmp_path, spans, load_dataset_config("kuairand"))
    assert reports[0]["impressions"]["rejected"] == {"bad_time": 1}
    assert [report["answers"]["trained"] for report in reports] == [2, 1, 1]

    code, _, err = run(*arguments, "--by", "hour", "--out", tmp_path / "hours", capsys=capsys)
    assert code == 1
    assert "split it by day, not by hour" in err


def test_an_unknown_dataset_is_wrong_usage(tmp_path, capsys):
    code, _, err = run(
        "spans", "split", "--dataset", "nothing", "--data-dir", tmp_path, "--out", tmp_path / "x",
        capsys=capsys,
    )  # fmt: skip
    assert (code, "dataset" in err) == (2, True)

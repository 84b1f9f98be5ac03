"""Logs with a bit flipped, cut short or partly zero: told by name, or read as they were written.

Parquet files as the simulator and `easq spans` write them carry a checksum a page, zipped CSV files
one a file. Plain CSV carries none: there, only that every row is accounted for.
"""

import gzip
import random
import shutil
from functools import partial

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pipeline.logs.dataset_config import DatasetConfig, load_dataset_config
from pipeline.logs.errors import LogError
from pipeline.logs.readers import find_tables, read_features, read_impressions, read_questionnaires
from simulator import SimulatorConfig, write_logs
from tests.faults.damage import attempt, damage

FAULTS = 150
TABLES = ("impressions", "questionnaires", "users", "items")


@pytest.fixture(scope="module")
def parquet_logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    write_logs(SimulatorConfig(requests=400), folder)
    return folder


@pytest.fixture(scope="module")
def csv_logs(parquet_logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("csv")
    for path in parquet_logs.glob("*.parquet"):
        pa.csv.write_csv(pq.read_table(path), folder / f"{path.stem}.csv")
    return folder


@pytest.fixture(scope="module")
def zipped_logs(csv_logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zipped")
    for path in csv_logs.iterdir():
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return folder


def dataset(suffix):
    values = load_dataset_config("simulated").to_dict()
    values["tables"] = {name: {"path": f"{name}.{suffix}"} for name in TABLES}
    return DatasetConfig.from_dict(values)


def read_table(config, folder, name):
    """All rows and all dead letters of a table."""
    parts = find_tables(config, folder)[name]
    if name in ("users", "items"):
        batches = [read_features(config, parts)]
    else:
        read = read_impressions if name == "impressions" else read_questionnaires
        batches = [batch for part in parts for batch in read(config, part)]
    return tuple(
        pa.concat_tables(
            [
                pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
                for rows in (getattr(batch, what) for batch in batches)
            ]
        )
        for what in ("rows", "rejected")
    )


def damaged_copies(logs, where, dice):
    """So many copies of the logs, one file of each damaged: the folder, the file, and how."""
    for number in range(FAULTS):
        folder = where / str(number)
        shutil.copytree(logs, folder)
        path = dice.choice(sorted(path for path in folder.iterdir() if stem(path) in TABLES))
        yield folder, path, damage(path, dice)
        shutil.rmtree(folder)


def stem(path):
    return path.name.partition(".")[0]


@pytest.mark.parametrize("suffix", ["parquet", "csv.gz"])
def test_a_damaged_log_is_named_or_reads_as_it_was_written(
    suffix, parquet_logs, zipped_logs, tmp_path, count
):
    logs = parquet_logs if suffix == "parquet" else zipped_logs
    config, dice = dataset(suffix), random.Random(suffix)
    expected = {name: read_table(config, logs, name) for name in TABLES}
    assert expected["impressions"][0].num_rows == 400 * 12
    named = 0
    for folder, path, kind in damaged_copies(logs, tmp_path, dice):
        said, found = attempt((LogError,), partial(read_table, config, folder, stem(path)))
        if said:
            assert str(path) in said
            named += 1
        else:
            assert found == expected[stem(path)], (path.name, kind)
        count(f"log.{suffix}, {kind}", "named" if said else "read as it was written")
    assert named > FAULTS / 2


def test_each_row_of_a_damaged_plain_csv_is_used_rejected_or_the_file_is_named(
    csv_logs, tmp_path, count
):
    config, dice = dataset("csv"), random.Random("csv")
    for folder, path, kind in damaged_copies(csv_logs, tmp_path, dice):
        lines = len(path.read_bytes().removesuffix(b"\n").split(b"\n"))
        said, found = attempt((LogError,), partial(read_table, config, folder, stem(path)))
        if said:
            assert str(path) in said
        else:
            rows, rejected = found
            assert rows.num_rows + rejected.num_rows == lines - 1
        count(f"log.csv, {kind}", "named" if said else "every row used or rejected")

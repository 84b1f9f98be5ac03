"""A sample of the mutation fuzzer (`make fuzz` tries 10,000), and what it found before."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.errors import LogError
from pipeline.logs.files import find_parts
from pipeline.logs.readers import find_tables, no_impressions, read_impressions
from tests.pipeline.logs.fuzz import fuzz, outcome
from tests.pipeline.logs.mutations import good_log, write_file, write_mutant
from tests.pipeline.logs.tiny_logs import (
    FORMATS,
    NOON,
    impression,
    read_all,
    tiny_config,
    write_table,
)


def test_every_input_is_refused_by_name_or_every_row_of_it_accounted_for() -> None:
    outcomes, wrong = fuzz(range(150))
    assert wrong == []
    # Both happen: the mutations neither miss nor break everything.
    assert outcomes["read"] > 30
    assert outcomes["refused"] > 30


def test_an_input_can_be_had_again_by_its_seed(tmp_path: Path) -> None:
    one, other = (write_mutant(tmp_path / name, 17) for name in ("one", "other"))
    assert one.done == other.done
    assert one.config.read_bytes() == other.config.read_bytes()


class Calm(random.Random):
    """Nothing of small probability happens."""

    def random(self) -> float:
        return 0.9


@pytest.mark.parametrize("form", FORMATS)
def test_without_a_mutation_nothing_is_refused(tmp_path: Path, form: str) -> None:
    for table, rows in good_log(random.Random(0)).items():
        write_file(Calm(1), tmp_path / f"{table}.{form}", rows)
    assert set(find_tables(tiny_config(form), tmp_path)) == {
        "impressions", "questionnaires", "users", "items",
    }  # fmt: skip


def test_a_lost_row_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.pipeline.logs import fuzz as fuzzer

    monkeypatch.setattr(fuzzer, "_rows", lambda path: 1_000)
    seeds = (write_mutant(tmp_path / str(seed), seed) for seed in range(20))
    with pytest.raises(AssertionError, match="read of 1000"):
        assert [outcome(mutant) for mutant in seeds]


def test_a_header_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "impressions.csv"
    path.write_bytes(b"us\xe3er,item\n1,2\n")
    with pytest.raises(LogError, match=r"impressions.csv: the name of a column is not UTF-8"):
        find_tables(tiny_config("csv"), tmp_path)


def test_the_smallest_whole_number_is_no_position(tmp_path: Path) -> None:
    write_table(tmp_path / "impressions.parquet", [impression(rank=-(2**63))])
    _, (letter,), _ = read_all(tiny_config(), "impressions", tmp_path)
    assert letter["reason"] == "bad_position"


def test_a_number_may_be_single_in_one_file_and_double_in_the_next(tmp_path: Path) -> None:
    types = {"played": pa.float32(), "length": pa.float32()}
    write_table(tmp_path / "impressions1.parquet", [impression(played=1.5)], types)
    parts = find_parts(tiny_config().tables.impressions, "impressions", tmp_path)
    (batch,) = read_impressions(tiny_config(), parts[0])
    assert batch.rows.schema.field("played_s").type == pa.float64()
    assert batch.rows.schema == no_impressions(tiny_config()).schema


def test_timestamps_of_no_date_are_dead_letters(tmp_path: Path) -> None:
    rows = [impression(at=NOON * 1000) for _ in range(30)]  # Parquet has no seconds
    write_table(tmp_path / "impressions.parquet", rows, {"at": pa.timestamp("ms")})
    good, letters, _ = read_all(tiny_config(), "impressions", tmp_path)
    assert good == []
    assert {letter["reason"] for letter in letters} == {"time_out_of_range"}
    assert letters[0]["values"]["at"] == str(NOON * 1000)


@pytest.mark.parametrize("text", ["name: !!timestamp x", "name: !!int x", "[" * 5000])
def test_yaml_that_pyyaml_falls_over_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "logs.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"logs.yaml: found .*expected"):
        DatasetConfig.from_yaml(tmp_path / "logs.yaml")


def test_more_levels_than_a_byte_holds_are_refused() -> None:
    behaviours = {"columns": ["like"], "positive": ["like"], "max_level": 2**70}
    with pytest.raises(ConfigError, match=r"behaviours.max_level: found .* between 1 and 127"):
        tiny_config(behaviours=behaviours)


def test_halves_are_read_as_text(tmp_path: Path) -> None:
    rows = [impression(device=np.float16(1.5)), impression(device=np.float16("nan"))]
    write_table(tmp_path / "impressions.parquet", rows, {"device": pa.float16()})
    good, _, missing = read_all(tiny_config(), "impressions", tmp_path)
    assert [row["feature_device"] for row in good] == ["1.5", "none"]
    assert missing == {"device": 1}

"""The logs of the transcript are what its dataset config says."""

import csv

from docs.examples.own_logs import write
from docs.renew import ROOT
from pipeline.logs.dataset_config import load_dataset_config
from pipeline.logs.readers import find_tables


def test_the_config_reads_what_the_script_writes(tmp_path):
    write(tmp_path, sessions=20)
    config = load_dataset_config(ROOT / "docs/examples/my_logs.yaml")
    tables = find_tables(config, tmp_path)
    assert set(tables) == {"impressions", "questionnaires"}
    with (tmp_path / "plays.csv").open() as plays:
        rows = list(csv.DictReader(plays))
    assert len(rows) == 20 * 6
    assert {row["liked"] for row in rows} == {"0", "1"}

"""The same log makes the same bytes on every runner, with any number of workers."""

import re

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.beam_options import check_beam_args, require_reachable
from pipeline.example_gen.beam_pipeline import make_examples
from pipeline.example_gen.example_files import OutputFolder
from pipeline.logs.dataset_config import load_dataset_config
from pipeline.logs.readers import find_tables
from simulator import SimulatorConfig, write_logs
from tests.pipeline.beam_cluster import beam_cluster
from tests.pipeline.example_gen.written import files_under

IN_PROCESS = ["--runner=FnApiRunner"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    write_logs(SimulatorConfig(requests=600, seed=3), folder)
    return folder


def made(logs, out, beam_args):
    """The files made from parts, shards and files so small that every worker has some of each."""
    check_beam_args(beam_args)
    config = load_dataset_config("simulated")
    tables = find_tables(config, logs, rows_per_part=500)
    output = OutputFolder(str(out))
    with beam.Pipeline(options=PipelineOptions(beam_args)) as pipeline:
        make_examples(pipeline, config, tables, output, shards=7, rows_per_file=800)
    output.tidy()
    return files_under(out)


@pytest.fixture(scope="module")
def expected(logs, tmp_path_factory):
    files = made(logs, tmp_path_factory.mktemp("in_process"), IN_PROCESS)
    assert len([name for name in files if name.startswith("Split-train/")]) > 4
    return files


def test_processes_of_this_machine(logs, expected, tmp_path):
    processes = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    assert made(logs, tmp_path, [*IN_PROCESS, *processes]) == expected


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_job_server_and_worker_processes_on_loopback(logs, expected, tmp_path, workers):
    (tmp_path / "made").mkdir()
    with beam_cluster(tmp_path, workers) as beam_args:
        require_reachable(beam_args)
        assert made(logs, tmp_path / "made", beam_args) == expected
    started = re.findall("Starting worker with command", (tmp_path / "pool.log").read_text())
    assert len(started) == workers

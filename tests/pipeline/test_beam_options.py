"""Options of Beam: read from text and files, and refused before anything runs."""

import socket
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

import pipeline
from pipeline.beam_options import (
    RUNNERS,
    check_beam_args,
    for_tfx,
    is_distributed,
    read_beam_args,
    require_local_workers,
    require_reachable,
    runner_of,
    shuffles_in_memory,
)
from pipeline.logs.checked import ConfigError
from pipeline.server_process import free_port

FILES = sorted(Path(pipeline.__file__).with_name("beam_args").glob("*.args"))
POOL = ("--environment_type=EXTERNAL", "--environment_config=localhost:50000")


def error_of(check, *arguments):
    with pytest.raises(ConfigError) as error:
        check(*arguments)
    return str(error.value)


def test_options_as_a_command_line_has_them():
    said = "--runner=FlinkRunner --flink_master 'host:8081'"
    assert read_beam_args(said) == ("--runner=FlinkRunner", "--flink_master", "host:8081")
    assert read_beam_args("") == ()


def test_options_of_a_file(tmp_path):
    path = tmp_path / "my.args"
    path.write_text("# a note\n--runner=FnApiRunner\n\n  # --not=this\n--labels 'a b'\n")
    assert read_beam_args(f"@{path}") == ("--runner=FnApiRunner", "--labels", "a b")


def test_options_that_cannot_be_read(tmp_path):
    assert f"{tmp_path}/none.args: beam_args: found No such file" in error_of(
        read_beam_args, f"@{tmp_path}/none.args"
    )
    assert "beam_args: found no closing quotation" in error_of(read_beam_args, "--labels='a")


@pytest.mark.parametrize(
    ("beam_args", "in_memory"),
    [
        ([], True),
        (["--runner=FnApiRunner"], True),
        (["--runner=DirectRunner"], True),
        (["--runner=PrismRunner"], True),
        (["--runner=PortableRunner", "--job_endpoint=localhost:1"], False),
        (["--runner=FlinkRunner"], False),
    ],
)
def test_runners_of_one_machine_shuffle_in_memory(beam_args, in_memory):
    pipeline = beam.Pipeline(options=PipelineOptions(beam_args))
    assert shuffles_in_memory(pipeline) is in_memory


@pytest.mark.parametrize(
    ("beam_args", "runner"),
    [
        ([], "DirectRunner"),
        (["--runner=FnApiRunner"], "FnApiRunner"),
        (["--runner", "FlinkRunner", "--flink_master=host:1"], "FlinkRunner"),
        (["--runner=apache_beam.runners.portability.PortableRunner"], "PortableRunner"),
        (["--runner=DirectRunner", "--runner=SparkRunner"], "SparkRunner"),
    ],
)
def test_which_runner_it_is(beam_args, runner):
    assert runner_of(beam_args) == runner
    assert is_distributed(beam_args) == (runner in {"FlinkRunner", "PortableRunner", "SparkRunner"})


@pytest.mark.parametrize(
    ("beam_args", "said"),
    [
        (["--runner=FlinkRuner"], "found the runner 'FlinkRuner'; expected one of FnApiRunner, "),
        (["--runner=FlinkRuner"], "did you mean 'FlinkRunner'?"),
        (["--runner=DaskRunner"], "found 'DaskRunner'; expected another runner"),
        (["--direct_num_worker=2"], "'--direct_num_worker=2'; expected an option of Beam; did you"),
        (["--direct_num_workers=two"], "invalid int value: 'two'"),
        (["--direct_running_mode=threads"], "invalid choice: 'threads'"),
        (["--runner=DataflowRunner"], "DataflowRunner and no --sdk_container_image; expected the"),
        (["--runner=FlinkRunner"], "FlinkRunner and no --sdk_container_image"),
    ],
)
def test_options_that_no_runner_could_use(beam_args, said):
    assert said in error_of(check_beam_args, beam_args)


def test_a_job_server_may_know_options_that_beam_does_not():
    check_beam_args(["--runner=FlinkRunner", "--auto_balance_write_files_sharding", *POOL])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_files_of_options_are_accepted(path):
    beam_args = read_beam_args(f"@{path}")
    check_beam_args(beam_args)
    assert runner_of(beam_args) in RUNNERS


def test_there_is_a_file_for_every_engine():
    names = [path.stem for path in FILES]
    assert names == ["dataflow", "flink", "multi_processing", "portable", "spark"]


def test_workers_that_do_not_see_a_local_folder():
    image = "--sdk_container_image=registry.example/easq:1.0"
    said = error_of(require_local_workers, ["--runner=DataflowRunner", image], "easq_run")
    assert "found DataflowRunner with the local folder easq_run; expected workers that see" in said
    require_local_workers(["--runner=FnApiRunner"], "easq_run")
    require_local_workers(["--runner=FlinkRunner", *POOL], "easq_run")


def test_a_service_that_does_not_run():
    port = free_port()
    beam_args = ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}"]
    said = error_of(require_reachable, beam_args)
    assert f"found --job_endpoint=localhost:{port}, where nobody answers (" in said
    assert said.endswith("expected a service that runs; start it first")


def test_a_service_that_runs_and_addresses_that_are_none():
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = f"127.0.0.1:{server.getsockname()[1]}"
        require_reachable(
            [
                *("--runner=FlinkRunner", f"--flink_master=http://{here}"),
                *("--environment_type=EXTERNAL", f"--environment_config={here}"),
            ]
        )
    require_reachable(["--runner=FlinkRunner", "--flink_master=[auto]"])
    require_reachable(["--environment_type=PROCESS", '--environment_config={"command": "a:1"}'])


def test_tfx_packs_itself_only_for_workers_that_have_nothing_installed():
    assert for_tfx(["--runner=FnApiRunner"])[-1] == "--sdk_container_image=none"
    assert for_tfx(["--runner=PortableRunner", *POOL])[-1] == "--sdk_container_image=none"
    given = ["--runner=FnApiRunner", "--setup_file=setup.py"]
    assert for_tfx(given) == given
    dataflow = ["--runner=DataflowRunner", "--extra_package=easq.tar.gz"]
    assert for_tfx(dataflow) == dataflow

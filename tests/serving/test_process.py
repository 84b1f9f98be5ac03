"""The server as a process: flags, start-up, signals."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, predict_pb2

from serving.errors import ServingError
from serving.flags import UsageError, parse_flags, usage
from serving.options import ServerOptions
from tests.serving.conftest import Running, free_port, make_predict_request


def test_flags_are_read_as_tensorflow_model_server_reads_them() -> None:
    options = parse_flags(
        [
            "--port=9000",
            "-model_name=m",
            "--model_base_path",
            "/m",
            "--enable_model_warmup=false",
            "--enable_grpc_healthcheck_service",
            "--per_process_gpu_memory_fraction=0.5",
        ]
    )
    assert options.port == 9000
    assert options.model_name == "m"
    assert options.model_base_path == "/m"
    assert options.enable_model_warmup is False
    assert options.enable_grpc_healthcheck_service is True
    assert options.per_process_gpu_memory_fraction == 0.5


def test_defaults_are_those_of_tensorflow_model_server() -> None:
    options = parse_flags(["--model_base_path=/m"])
    assert options.port == 8500
    assert options.rest_api_port == 0
    assert options.rest_api_timeout_in_ms == 30_000
    assert options.model_name == "default"
    assert options.file_system_poll_wait_seconds == 1
    assert options.max_num_load_retries == 5
    assert options.load_retry_interval_micros == 60_000_000
    assert options.enable_model_warmup is True
    assert options.bind_address == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model_base_path=/m", "--no_such_flag=1"], "unknown argument: --no_such_flag=1"),
        (["--model_base_path=/m", "stray"], "unknown argument: stray"),
        (["--model_base_path=/m", "--port=http"], "--port=http: expected a number"),
        (["--model_base_path=/m", "--port=70000"], "--port=70000: expected 0 to 65535"),
        (["--model_base_path=/m", "--port=0"], "grpc_port is not set"),
        (["--model_base_path=/m", "--enable_batching=maybe"], "expected true or false"),
        (["--model_base_path"], "--model_base_path needs a value"),
        ([], "model_base_path and server_options.model_config_file are empty"),
        (["--model_base_path=/m", "--batching_parameters_file=f"], "without setting"),
        (["--model_base_path=/m", "--port=1", "--rest_api_port=1"], "cannot be same as --port"),
        (["--model_base_path=/m", "--rest_api_num_threads=0"], "expected at least 1"),
        (["--model_base_path=/m", "--use_alts_credentials"], "--use_alts_credentials=true cannot"),
        (["--model_base_path=/m", "--platform_config_file=f"], "--platform_config_file=f cannot"),
    ],
)
def test_a_flag_that_cannot_be_honoured_is_refused_by_name(
    arguments: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        parse_flags(arguments)


def test_a_refused_flag_may_be_given_its_default() -> None:
    assert parse_flags(["--model_base_path=/m", "--use_alts_credentials=false"]) == parse_flags(
        ["--model_base_path=/m"]
    )


def test_help_names_every_flag() -> None:
    text = usage("easq serve")
    for name in ServerOptions.__dataclass_fields__:
        assert f"--{name}=" in text


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_process() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", *flags],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(
    done: Callable[[], bool], process: subprocess.Popen[str], *, still: float = 60.0
) -> None:
    """Wait for something a process does, as long as it gets on with it.

    A start takes some 10 s of CPU, and on a busy machine many times that on the clock. So what
    hangs is known by its CPU time: none for `still` seconds, or two minutes of it. A process that
    only writes a log line now and then is told by the clock, after ten minutes.
    """
    begun = time.monotonic()
    last, since = 0.0, begun
    while not done():
        used = cpu_seconds(process)
        if used > last:
            last, since = used, time.monotonic()
        assert time.monotonic() - since < still, "the process stands still"
        assert used < 120, "the process runs without end"
        assert time.monotonic() - begun < 600, "the process goes on for ever"
        time.sleep(0.05)


def log_of(process: subprocess.Popen[str]) -> str:
    """What a process that ends by itself wrote to standard error: less than a pipe holds."""
    wait_until(lambda: process.poll() is not None, process)
    return process.communicate()[1]


def test_a_process_that_stands_still_is_told() -> None:
    with subprocess.Popen(["sleep", "60"], text=True) as process:
        with pytest.raises(AssertionError, match="stands still"):
            wait_until(lambda: False, process, still=0.5)
        process.kill()


def test_from_start_to_sigterm(start_process: Start, saved_models: Path) -> None:
    """A client that waits for the channel is served; SIGTERM lets requests under way finish."""
    port = free_port()
    process = start_process(
        f"--port={port}",
        "--model_name=slates",
        f"--model_base_path={saved_models}/slates",
        "--grpc_max_threads=1",
    )
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    wait_until(grpc.channel_ready_future(channel).done, process)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "slates"
    answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=10)
    assert [one.state for one in answer.model_version_status] == [30]
    wide = make_predict_request(
        user_id=np.array([b"u"], object),
        item_id=np.full((1, 200_000), b"c", object),
        duration=np.ones((1, 200_000), np.float32),
    ).SerializeToString()
    predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    # One thread serves: some of these are under way or queued when the signal comes.
    under_way = [predict.future(wide, timeout=60) for _ in range(3)]
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    outcomes = [predict_pb2.PredictResponse.FromString(one.result()) for one in under_way]
    log = log_of(process)
    assert process.returncode == 0, log
    assert [len(one.outputs["score"].float_val) for one in outcomes] == [200_000] * 3
    assert "Stopping: finishing the requests under way" in log


def test_a_signal_ends_the_wait_for_a_first_version(start_process: Start, tmp_path: Path) -> None:
    process = start_process(f"--port={free_port()}", f"--model_base_path={tmp_path}")
    assert process.stderr is not None
    for line in process.stderr:
        if "No versions of servable default found under base path" in line:
            break
    process.send_signal(signal.SIGTERM)
    log_of(process)
    assert process.returncode == 0


def test_a_signal_that_another_thread_is_given_ends_the_server(
    start_process: Start, tmp_path: Path
) -> None:
    """Such a signal does not wake the main thread, nor does one that comes just before it waits."""
    process = start_process(f"--port={free_port()}", f"--model_base_path={tmp_path}")
    assert process.stderr is not None
    for line in process.stderr:
        if "No versions of servable default found under base path" in line:
            break
    thread = next(
        int(task.name)
        for task in Path(f"/proc/{process.pid}/task").iterdir()
        if int(task.name) != process.pid and not blocks(task, signal.SIGTERM)
    )
    assert ctypes.CDLL(None).tgkill(process.pid, thread, signal.SIGTERM) == 0
    log_of(process)
    assert process.returncode == 0


def blocks(task: Path, number: int) -> bool:
    """Whether a thread, a folder of /proc, holds a signal back."""
    (mask,) = re.findall(r"^SigBlk:\s*(\w+)", (task / "status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_what_keeps_the_server_from_starting(start_process: Start, tmp_path: Path) -> None:
    (tmp_path / "models" / "1").mkdir(parents=True)
    (tmp_path / "bad.config").write_text("improper {")
    wrong = start_process(f"--model_base_path={tmp_path}", "--mixed_precision=bfloat16")
    bad_config = start_process(f"--model_config_file={tmp_path}/bad.config")
    broken = start_process(
        f"--port={free_port()}", f"--model_base_path={tmp_path}/models", "--max_num_load_retries=0"
    )
    log = log_of(wrong)
    assert wrong.returncode == 2
    assert "--mixed_precision=bfloat16 cannot be honoured" in log
    log = log_of(bad_config)
    assert bad_config.returncode == 1
    assert f"Invalid protobuf file: '{tmp_path}/bad.config'" in log
    log = log_of(broken)
    assert broken.returncode == 1
    last = log.splitlines()[-1]
    assert last.startswith("Failed to start server. Error: UNKNOWN: 1 servable(s) did not become")


def test_help_and_version_end_at_once() -> None:
    for flag, expected in (("--help", "--model_base_path"), ("--version", "TensorFlow Library")):
        done = subprocess.run(
            [sys.executable, "-m", "serving", flag],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert expected in done.stdout


def test_a_port_in_use_is_told(start_server: Callable[..., Running], saved_models: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"127.0.0.1:{port} cannot be opened"):
            start_server(port=port, model_base_path=f"{saved_models}/half")

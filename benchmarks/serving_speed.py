"""How fast the embedded server ranks, against an echo server on the same gRPC stack.

    python benchmarks/serving_speed.py [--model VERSION_FOLDER] [--json out.json]

Without --model, a ranker of 3.4 MFLOP over 40 candidates, strings hashed inside. The servers run on
the first core, the load generator on the last one, and are measured in turns: read the ratios,
which hold from machine to machine, rather than the figures. The echo server is `grpc.server`
answering the same bytes without looking at the request.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # as the server's command line does
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import Ratio, report

THREADS = 8
CONCURRENCIES = (1, 8, 32)
SPLIT_FILE = "assets.extra/split.tflite"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def serve_model(base_path: str, ready: Any, settings: dict[str, Any]) -> None:
    """Body of the server's process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from serving.options import ServerOptions
    from serving.server import ModelServer

    server = ModelServer(ServerOptions(port=0, model_base_path=base_path, **settings))
    server.start()
    report_cpu_time(ready, server.grpc_port)
    server.stop()


def serve_echo(response: bytes, ready: Any) -> None:
    """Body of the echo server's process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import grpc

    class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: response)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    report_cpu_time(ready, port)
    server.stop(None)


def report_cpu_time(pipe: Any, port: int) -> None:
    """Tell the port, then the seconds of CPU used so far as often as asked, until told to end."""
    pipe.send(port)
    while pipe.recv():
        pipe.send(time.process_time())


def load(port: int, request: bytes, concurrency: int, seconds: float) -> dict[str, float]:
    """Keep so many requests under way and measure each."""
    import grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    call = channel.unary_unary(PREDICT)
    for _ in range(20):
        call(request)
    latencies: list[float] = []
    failures: list[str] = []
    ends = time.perf_counter() + seconds

    def ask() -> None:
        while (started := time.perf_counter()) < ends:
            try:
                call(request, timeout=30)
            except grpc.RpcError as error:
                failures.append(str(error.code()))
                continue
            latencies.append(time.perf_counter() - started)

    askers = [threading.Thread(target=ask) for _ in range(concurrency)]
    started = time.perf_counter()
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    elapsed = time.perf_counter() - started
    channel.close()
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "qps": round(len(latencies) / elapsed, 1),
        "p50_us": round(cuts[49] * 1e6, 1),
        "p99_us": round(cuts[98] * 1e6, 1),
        "max_us": round(max(latencies) * 1e6, 1),
        "failures": len(failures),
    }


def open_load(port: int, request: bytes, rate: float, seconds: float) -> dict[str, float]:
    """Sends so many requests a second at random times, however slow the answers are.

    A latency counts from the moment at which the request was due, so that a server that stands
    still for a while pays for all whom it kept waiting.
    """
    import grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    call = channel.unary_unary(PREDICT)
    for _ in range(20):
        call(request)
    gaps = random.Random(0)
    latencies: list[float] = []
    failures: list[str] = []
    under_way: list[Any] = []
    due = time.perf_counter()
    ends = due + seconds

    def note(due: float, answer: Any) -> None:
        if answer.code() == grpc.StatusCode.OK:
            latencies.append(time.perf_counter() - due)
        else:
            failures.append(str(answer.code()))

    while (due := due + gaps.expovariate(rate)) < ends:
        time.sleep(max(0.0, due - time.perf_counter()))
        answer = call.future(request, timeout=30)
        answer.add_done_callback(functools.partial(note, due))
        under_way.append(answer)
    while len(latencies) + len(failures) < len(under_way):
        time.sleep(0.01)
    channel.close()
    cuts = statistics.quantiles(latencies, n=1000)
    return {
        "rate": round(rate, 1),
        "p50_us": round(cuts[499] * 1e6, 1),
        "p99_us": round(cuts[989] * 1e6, 1),
        "p999_us": round(cuts[998] * 1e6, 1),
        "failures": len(failures),
    }


def load_in_process(
    port: int, request: bytes, of: float, seconds: float, load: Callable[..., Any] = load
) -> dict[str, float]:
    """The same in a process of its own, on the last core."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        1, context, initializer=os.sched_setaffinity, initargs=(0, {max(os.sched_getaffinity(0))})
    ) as pool:
        return pool.submit(load, port, request, of, seconds).result()


class Process:
    """A server in a process of its own, for the time of a `with`."""

    def __init__(self, target: Callable[..., None], first: Any, *rest: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(first, theirs, *rest))

    def __enter__(self) -> Process:
        self._process.start()
        self.port = int(self._pipe.recv())
        return self

    def cpu_seconds(self) -> float:
        """CPU time the server has used."""
        self._pipe.send(True)
        return float(self._pipe.recv())

    def measure(self, request: bytes, concurrency: int, seconds: float) -> dict[str, float]:
        """Load it, from another process."""
        before = self.cpu_seconds()
        result = load_in_process(self.port, request, concurrency, seconds)
        used = self.cpu_seconds() - before
        # Other work on the machine slows requests down; it does not change what they cost.
        result["server_cpu_us"] = round(used / (result["qps"] * seconds) * 1e6, 1)
        return result

    def __exit__(self, *_: object) -> None:
        self._pipe.send(False)
        self._process.join()


def time_per_call(call: Callable[[], Any], seconds: float, pause: float = 0.0) -> float:
    """Median microseconds of a call, with a pause in seconds before each."""
    for _ in range(50):
        call()
    times = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        if pause:
            time.sleep(pause)
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1e6, 1)


def in_process(version: str, seconds: float) -> tuple[dict[str, float], bytes, bytes]:
    """Times without any server, and a request and response as bytes."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    from serving import inference
    from serving.loader import WARMUP_FILE, Loader
    from serving.options import ServerOptions

    options = ServerOptions()
    servable = Loader(options).load("default", 1, version)
    signature = servable.signatures["serving_default"]
    records = tf.data.TFRecordDataset(f"{version}/{WARMUP_FILE}").as_numpy_iterator()
    request = prediction_log_pb2.PredictionLog.FromString(next(records)).predict_log.request
    request.model_spec.name = "default"
    raw = request.SerializeToString()
    run = inference.prepare_run(servable, request, options)

    def answer() -> bytes:
        parsed = predict_pb2.PredictRequest.FromString(raw)
        response = inference.predict(servable, parsed, inference.Call(options))
        return bytes(response.SerializeToString())

    loaded = tf.saved_model.load(version)
    function = loaded.signatures["serving_default"]
    constants = {name: tf.constant(run.feeds[feed]) for name, feed in signature.inputs.items()}
    times = {
        "signature function": time_per_call(lambda: function(**constants), seconds),
        "callable": time_per_call(lambda: servable.engine.run(run.feeds, run.fetches), seconds),
        "callable, called as rarely as by one client": time_per_call(
            lambda: servable.engine.run(run.feeds, run.fetches), seconds, pause=300e-6
        ),
        "bytes to bytes": time_per_call(answer, seconds),
    }
    return times, raw, answer()


def swap_latency(base_path: str, port: int, request: bytes, seconds: float) -> dict[str, float]:
    """Latencies at one client while two more versions are loaded, warmed up and swapped in."""
    import shutil

    def push() -> None:
        for version in (2, 3):
            time.sleep(seconds / 3)
            shutil.copytree(f"{base_path}/1", f"{base_path}/.tmp")
            os.rename(f"{base_path}/.tmp", f"{base_path}/{version}")

    pusher = threading.Thread(target=push)
    pusher.start()
    result = load_in_process(port, request, 1, seconds * 1.5)
    pusher.join()
    return result


def measure(
    servers: dict[str, Process], request: bytes, rounds: int, seconds: float
) -> dict[str, dict[str, dict[str, float]]]:
    """Load each server in turn, and again; the medians of the rounds."""
    seen: dict[str, dict[str, list[dict[str, float]]]] = {}
    for _ in range(rounds):
        for concurrency in CONCURRENCIES:
            for name, server in servers.items():
                result = server.measure(request, concurrency, seconds)
                seen.setdefault(name, {}).setdefault(str(concurrency), []).append(result)
    return {
        name: {
            concurrency: {
                key: round(statistics.median(one[key] for one in results), 1) for key in results[0]
            }
            for concurrency, results in by_concurrency.items()
        }
        for name, by_concurrency in seen.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="version folder with warm-up requests")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="write the result there")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as base_path, contextlib.ExitStack() as running:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            if arguments.model:
                os.symlink(os.path.abspath(arguments.model), f"{base_path}/1")
            else:
                pool.submit(_save, f"{base_path}/1").result()
            times, request, response = pool.submit(in_process, f"{base_path}/1", seconds).result()
        figures["in process, us"] = times
        processes = {
            "echo": Process(serve_echo, response),
            "TensorFlow": Process(serve_model, base_path, {}),
            "TensorFlow, batching": Process(serve_model, base_path, {"enable_batching": True}),
        }
        if os.path.exists(f"{base_path}/1/{SPLIT_FILE}"):
            lite = {"prefer_tflite_model": True}
            processes["LiteRT"] = Process(serve_model, base_path, lite)
        for process in processes.values():
            running.enter_context(process)
        servers = measure(processes, request, arguments.rounds, seconds)
        figures.update(servers)
        # At half of what a server can do, by its own figure.
        for name, process in processes.items():
            rate = servers[name]["32"]["qps"] / 2
            found = load_in_process(process.port, request, rate, 2 * seconds, open_load)
            servers[name]["open loop"] = found
        figures["while swapping"] = swap_latency(
            base_path, processes["TensorFlow"].port, request, 3 * seconds
        )
    figures["ratios"] = _ratios(times["callable"], servers)
    print(json.dumps(figures, indent=1))
    report("serving", _against_goals(figures), figures, arguments.json)


def _against_goals(figures: dict[str, Any]) -> list[Ratio]:
    found = figures["ratios"]
    ratios = [
        Ratio(
            "requests a second at 32 clients, TensorFlow / echo",
            found["TensorFlow"]["throughput at 32 clients / echo"],
            0.5,
        ),
        Ratio(
            "p50 at 1 client, TensorFlow / prepared session",
            found["TensorFlow"]["p50 at 1 client / callable"],
            2.5,
            at_most=True,
        ),
        Ratio(
            "p99 / p50 at 32 clients, TensorFlow",
            found["TensorFlow"]["p99 / p50 at 32 clients"],
            4,
            at_most=True,
        ),
        Ratio(
            "p99 / p50 in open loop at half the throughput, TensorFlow",
            found["TensorFlow"]["p99 / p50 in open loop at half the throughput"],
        ),
        Ratio(
            "p99 / p50 in open loop at half the throughput, echo",
            found["echo"]["p99 / p50 in open loop at half the throughput"],
        ),
    ]
    if "LiteRT" in found:
        throughput = found["LiteRT"]["throughput at 32 clients / echo"]
        ratios.append(Ratio("requests a second at 32 clients, LiteRT / echo", throughput, 0.85))
    return ratios


def _ratios(
    callable_us: float, servers: dict[str, dict[str, dict[str, float]]]
) -> dict[str, dict[str, float]]:
    echo = servers["echo"]
    return {
        name: {
            "p50 at 1 client / callable": round(one["1"]["p50_us"] / callable_us, 2),
            "p50 at 1 client / echo": round(one["1"]["p50_us"] / echo["1"]["p50_us"], 2),
            "throughput at 32 clients / echo": round(one["32"]["qps"] / echo["32"]["qps"], 2),
            "server CPU a request at 32 clients / echo": round(
                one["32"]["server_cpu_us"] / echo["32"]["server_cpu_us"], 2
            ),
            "p99 / p50 at 32 clients": round(one["32"]["p99_us"] / one["32"]["p50_us"], 2),
            "p99 / p50 in open loop at half the throughput": round(
                one["open loop"]["p99_us"] / one["open loop"]["p50_us"], 2
            ),
        }
        for name, one in servers.items()
    }


def _save(path: str) -> None:
    from benchmarks.serving_model import save

    save(path, lite=True)


if __name__ == "__main__":
    main()

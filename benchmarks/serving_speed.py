"""How fast the embedded server ranks, against an echo server on the same gRPC stack.

    python benchmarks/serving_speed.py [--seconds 4] [--json out.json]

The server runs on the first core, the load generator on the last one: read the ratios, which hold
from machine to machine, rather than the figures. The echo server answers the same bytes without
looking at the request: no server in Python can be faster.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import os
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

THREADS = 8
CONCURRENCIES = (1, 8, 32)
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def serve_model(base_path: str, ready: Any, settings: dict[str, Any]) -> None:
    """Body of the server's process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from serving.options import ServerOptions
    from serving.server import ModelServer

    server = ModelServer(
        ServerOptions(port=0, model_base_path=base_path, grpc_max_threads=THREADS, **settings)
    )
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


def load_in_process(
    port: int, request: bytes, concurrency: int, seconds: float
) -> dict[str, float]:
    """The same in a process of its own, on the last core."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        1, context, initializer=os.sched_setaffinity, initargs=(0, {max(os.sched_getaffinity(0))})
    ) as pool:
        return pool.submit(load, port, request, concurrency, seconds).result()


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


def time_per_call(call: Callable[[], Any], seconds: float) -> float:
    """Median microseconds of a call."""
    for _ in range(50):
        call()
    times = []
    ends = time.perf_counter() + seconds
    while (started := time.perf_counter()) < ends:
        call()
        times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1e6, 1)


def in_process(version: str, seconds: float) -> tuple[dict[str, float], bytes, bytes]:
    """Times without any server, and a request and response as bytes."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    from benchmarks.serving_model import fill
    from serving import inference
    from serving.loader import Loader
    from serving.options import ServerOptions

    options = ServerOptions()
    servable = Loader(options).load("default", 1, version)
    signature = servable.signatures["serving_default"]
    request = predict_pb2.PredictRequest()
    fill(request)
    raw = request.SerializeToString()
    feeds, fetches = inference.prepare_run(servable, request)

    def answer() -> bytes:
        parsed = predict_pb2.PredictRequest.FromString(raw)
        response = inference.predict(servable, parsed, inference.Call(options))
        return bytes(response.SerializeToString())

    loaded = tf.saved_model.load(version)
    function = loaded.signatures["serving_default"]
    constants = {name: tf.constant(feeds[feed]) for name, feed in signature.inputs.items()}
    times = {
        "signature function": time_per_call(lambda: function(**constants), seconds),
        "callable": time_per_call(lambda: servable.engine.run(feeds, fetches), seconds),
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--json", help="file for the figures")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as base_path:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            pool.submit(_save, f"{base_path}/1").result()
            figures["in process, us"], request, response = pool.submit(
                in_process, f"{base_path}/1", seconds
            ).result()
        with Process(serve_echo, response) as server:
            figures["echo"] = {c: server.measure(request, c, seconds) for c in CONCURRENCIES}
        with Process(serve_model, base_path, {}) as server:
            figures["server"] = {c: server.measure(request, c, seconds) for c in CONCURRENCIES}
            figures["while swapping"] = swap_latency(base_path, server.port, request, 3 * seconds)
        with Process(serve_model, base_path, {"enable_batching": True}) as server:
            figures["server with batching"] = {
                c: server.measure(request, c, seconds) for c in CONCURRENCIES
            }
    with tempfile.TemporaryDirectory() as base_path:
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            hashed = pool.submit(_save_buckets, f"{base_path}/1").result()
        for engine, settings in (("TensorFlow", {}), ("LiteRT", {"prefer_tflite_model": True})):
            with Process(serve_model, base_path, settings) as server:
                figures[f"hashed ids, {engine}"] = {
                    c: server.measure(hashed, c, seconds) for c in CONCURRENCIES
                }
    one, many = figures["server"][1], figures["server"][32]
    figures["ratios"] = {
        "p50 at 1 client / callable (goal <= 2.5)": round(
            one["p50_us"] / figures["in process, us"]["callable"], 2
        ),
        "p50 at 1 client / echo": round(one["p50_us"] / figures["echo"][1]["p50_us"], 2),
        "throughput at 32 clients / echo (goal >= 0.5)": round(
            many["qps"] / figures["echo"][32]["qps"], 2
        ),
        "throughput with LiteRT at 32 clients / echo (goal >= 0.85)": round(
            figures["hashed ids, LiteRT"][32]["qps"] / figures["echo"][32]["qps"], 2
        ),
        "server CPU a request at 32 clients / echo": round(
            many["server_cpu_us"] / figures["echo"][32]["server_cpu_us"], 2
        ),
        "p99 / p50 at 32 clients (goal <= 4)": round(many["p99_us"] / many["p50_us"], 2),
    }
    print(json.dumps(figures, indent=1))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


def _save(path: str) -> None:
    from benchmarks.serving_model import save

    save(path)


def _save_buckets(path: str) -> bytes:
    """Write the model on hashed ids; returns a request for it."""
    from tensorflow_serving.apis import predict_pb2

    from benchmarks.serving_model import fill, save_buckets

    save_buckets(path)
    request = predict_pb2.PredictRequest()
    fill(request, hashed=True)
    return bytes(request.SerializeToString())


if __name__ == "__main__":
    main()

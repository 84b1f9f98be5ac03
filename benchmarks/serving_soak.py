"""Soak: load without a break while versions are swapped, among them a corrupt and a slow one.

    python benchmarks/serving_soak.py [--minutes 30] [--swaps 20] [--clients 4]

Ends with 1 if any request failed or memory grew. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Slow to load: so many requests are replayed before the version is available.
SLOW_WARM_UPS = 1000
MOST_SECONDS_TO_LOAD = 300.0
# What TensorFlow's allocator and the swaps under way may hold at the moment of measuring.
ALLOWED_GROWTH_MB = 100.0


def serve(base_path: str, pipe: Any) -> None:
    """Body of the server's process."""
    from serving.options import ServerOptions
    from serving.server import ModelServer

    server = ModelServer(
        ServerOptions(
            port=0, model_base_path=base_path, max_num_load_retries=1, load_retry_interval_micros=0
        )
    )
    server.start()
    pipe.send(server.grpc_port)
    while pipe.recv():
        with open("/proc/self/statm") as file:
            pipe.send(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    server.stop()


def ask(port: int, stop: threading.Event, counts: dict[str, Any], lock: threading.Lock) -> None:
    """One client, until told to stop."""
    from benchmarks.serving_model import slate
    from serving.client import RankingClient, RankingError

    one = slate(threading.get_ident() % 1000)
    with RankingClient(f"127.0.0.1:{port}", model="default", deadline_seconds=10) as client:
        while not stop.is_set():
            started = time.perf_counter()
            try:
                version = client.rank(one).model_version
                failure = ""
            except RankingError as error:
                version, failure = 0, str(error)
            elapsed = time.perf_counter() - started
            with lock:
                counts["requests"] += 1
                counts["slowest_ms"] = max(counts["slowest_ms"], round(elapsed * 1e3, 1))
                if failure:
                    counts["failures"].append(failure)
                counts["versions"][version] = counts["versions"].get(version, 0) + 1


def push(source: str, base_path: str, version: int, kind: str) -> None:
    """Put one more version under the base path: good, corrupt or slow to load."""
    from tensorflow_serving.apis import prediction_log_pb2

    staged = f"{base_path}/.tmp"
    shutil.copytree(source, staged)
    if kind == "corrupt":
        Path(staged, "saved_model.pb").write_bytes(b"not a model")
    if kind == "slow":
        import tensorflow as tf

        from benchmarks.serving_model import fill

        log = prediction_log_pb2.PredictionLog()
        fill(log.predict_log.request)
        os.makedirs(f"{staged}/assets.extra", exist_ok=True)
        with tf.io.TFRecordWriter(f"{staged}/assets.extra/tf_serving_warmup_requests") as writer:
            for _ in range(SLOW_WARM_UPS):
                writer.write(log.SerializeToString())
    os.rename(staged, f"{base_path}/{version}")


def wait_for(version: int, answered: dict[int, int]) -> None:
    """Wait until a version has answered, but not for ever: the count of versions will tell."""
    ends = time.monotonic() + MOST_SECONDS_TO_LOAD
    while version not in answered and time.monotonic() < ends:
        time.sleep(0.1)


def soak(minutes: float, swaps: int, clients_count: int) -> dict[str, Any]:
    """Run it, and return what was seen."""
    from benchmarks.serving_model import save

    context = multiprocessing.get_context("spawn")
    counts: dict[str, Any] = {"requests": 0, "failures": [], "versions": {}, "slowest_ms": 0.0}
    stop, lock = threading.Event(), threading.Lock()
    memory = []
    with tempfile.TemporaryDirectory() as folder:
        source, base_path = f"{folder}/model", f"{folder}/served"
        save(source)
        os.makedirs(base_path)
        push(source, base_path, 1, "good")
        pipe, theirs = context.Pipe()
        server = context.Process(target=serve, args=(base_path, theirs))
        server.start()
        port = pipe.recv()
        clients = [
            threading.Thread(target=ask, args=(port, stop, counts, lock))
            for _ in range(clients_count)
        ]
        for client in clients:
            client.start()
        for swap in range(swaps):
            time.sleep(minutes * 60 / (swaps + 1))
            kind = {swaps // 3: "corrupt", 2 * swaps // 3: "slow"}.get(swap, "good")
            push(source, base_path, swap + 2, kind)
            if kind != "corrupt":
                # On a busy machine the next version might come before this one is loaded.
                wait_for(swap + 2, counts["versions"])
            pipe.send(True)
            memory.append(round(pipe.recv(), 1))
        time.sleep(minutes * 60 / (swaps + 1))
        pipe.send(True)
        memory.append(round(pipe.recv(), 1))
        stop.set()
        for client in clients:
            client.join()
        pipe.send(False)
        server.join()
    # The first swaps fill caches that stay; growth after them would go on for ever.
    settled = memory[min(3, len(memory) - 1)]
    return {
        "minutes": minutes,
        "swaps": swaps,
        "requests": counts["requests"],
        "failed": len(counts["failures"]),
        "first failures": counts["failures"][:3],
        "slowest_ms": counts["slowest_ms"],
        "versions_that_answered": len(counts["versions"]),
        "memory_mb": memory,
        "memory_growth_mb": round(memory[-1] - settled, 1),
    }


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4, help="each asks again at once")
    arguments = parser.parse_args()
    seen = soak(arguments.minutes, arguments.swaps, arguments.clients)
    print(json.dumps(seen))
    flat = seen["memory_growth_mb"] < ALLOWED_GROWTH_MB
    return 0 if flat and not seen["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())

"""What the test of killed processes runs: a fork of a process that has imported everything."""

import os

import pipeline.online.engine as engine_module
from pipeline.local_runner import Workdir
from pipeline.online.spans import find_spans
from tests.pipeline.online.online_runs import SETTINGS, learn_all


def learn(root, dataset, spans):
    """Learns all spans that are left, and ends."""
    log = os.open(root / "process.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    with Workdir(root).locked():
        engine = engine_module.OnlineEngine(Workdir(root), dataset, SETTINGS)
        engine.resume()
        learn_all(engine, find_spans(spans))

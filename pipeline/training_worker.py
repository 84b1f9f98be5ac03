"""The Trainer without TFX: `python -m pipeline.training_worker --examples=… …`, on every worker.

It takes the artifacts of a run by their folders and leaves the Trainer's two. With `TF_CONFIG` in
its environment it is one worker of several: `docs/library/workers.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from types import SimpleNamespace

from pipeline.configs import RunSettings
from pipeline.logs.dataset_config import load_dataset_config
from pipeline.progress import LOGGER


class _Printed(logging.Handler):
    """Prints progress, a line of JSON each, for the process that started the worker."""

    def emit(self, record: logging.LogRecord) -> None:
        print(json.dumps(dataclasses.asdict(record.progress)), flush=True)  # type: ignore[attr-defined]


def main() -> None:
    """Trains as the arguments say."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.training_worker", description="Trains as the Trainer does."
    )
    parser.add_argument("--examples", required=True, help="folder of ExampleGen's examples")
    parser.add_argument("--transform-graph", required=True, help="folder of Transform's graph")
    parser.add_argument("--dataset", required=True, help="name or file of the dataset config")
    parser.add_argument("--settings", required=True, help="file of the run's settings")
    parser.add_argument("--model", required=True, help="folder to write the model to")
    parser.add_argument("--model-run", required=True, help="folder to write the record to")
    parser.add_argument("--base-model", help="folder of a model to go on from")
    given = parser.parse_args()
    trainer = RunSettings.from_yaml(given.settings).trainer
    dataset = load_dataset_config(given.dataset)

    from pipeline.trainer import run_fn

    logging.basicConfig(level=logging.INFO)
    LOGGER.addHandler(_Printed())
    splits = {name: f"{given.examples}/Split-{name}/*" for name in ("train", "answered", "eval")}
    run_fn(
        SimpleNamespace(
            train_files=[splits["train"], splits["answered"]],
            eval_files=[splits["eval"]],
            transform_graph_path=given.transform_graph,
            serving_model_dir=f"{given.model}/Format-Serving",
            model_run_dir=given.model_run,
            base_model=f"{given.base_model}/Format-Serving" if given.base_model else None,
            hyperparameters=None,
            custom_config={
                "dataset_config": dataset.to_json(),
                "trainer": dataclasses.asdict(trainer),
            },
        )
    )


if __name__ == "__main__":
    main()

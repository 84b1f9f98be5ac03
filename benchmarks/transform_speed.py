"""StatisticsGen and Transform as the pipeline sets them, against TFX's default settings.

    python benchmarks/transform_speed.py [--impressions 250000 1000000]

The same components on the same examples, each in a process of its own, with TFX's local runner and
Beam's in-process one; what is compared is the processor's time of each component's launch. By
default StatisticsGen looks at all splits, and Transform writes the transformed examples and the
statistics of them before and after. The pipeline leaves out the answered split, whose slates the
train split has, and writes the graph alone: the Trainer applies it as it reads.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import unittest.mock
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import Ratio, cost, in_fresh_process, report, simulated_logs

COMPONENTS = ("StatisticsGen", "Transform")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--impressions", type=int, nargs="*", default=[250_000, 1_000_000])
    parser.add_argument("--json", help="write the result there")
    parser.add_argument("--child", nargs=3, metavar=("WHICH", "LOGS", "ROOT"), help="internal")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
        return
    results = []
    for impressions in arguments.impressions:
        with tempfile.TemporaryDirectory() as folder:
            logs = f"{folder}/logs"
            result: dict[str, Any] = {"impressions": simulated_logs(impressions, logs)}
            for which in ("ours", "default"):
                root = f"{folder}/{which}"
                result[which] = in_fresh_process(__file__, which, logs, root)
        print(json.dumps(result), flush=True)
        results.append(result)
    report(
        "transform",
        [r for result in results for r in ratios(result)],
        {"sizes": results},
        arguments.json,
    )


def ratios(result: dict[str, Any]) -> list[Ratio]:
    """Default / ours of each component and of both."""
    millions = f"{result['impressions'] / 1e6:.2g} M"
    ours, default = result["ours"], result["default"]
    parts = [((name,), name) for name in COMPONENTS] + [(COMPONENTS, "both")]
    return [
        Ratio(
            f"CPU speed, {label} / its default settings, {millions}",
            round(cpu_seconds(default, names) / cpu_seconds(ours, names), 2),
        )
        for names, label in parts
    ]


def cpu_seconds(spent: dict[str, Any], names: Sequence[str]) -> float:
    """Of some components together."""
    return sum(spent[name]["cpu_seconds"] for name in names)


def measure(which: str, logs: str, root: str) -> dict[str, Any]:
    """Runs the components; the cost of each."""
    from tfx.components.statistics_gen.component import StatisticsGen
    from tfx.components.transform.component import Transform
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import Pipeline
    from tfx.orchestration.portable import launcher
    from tfx.proto import transform_pb2

    from pipeline.example_gen.component import LogExampleGen
    from pipeline.logs.dataset_config import load_dataset_config
    from pipeline.slate_schema_gen import SlateSchemaGen

    dataset = load_dataset_config("simulated")
    ours = which == "ours"
    examples = LogExampleGen(data_dir=logs, dataset=dataset, spans=None)
    schema = SlateSchemaGen(dataset_config=dataset.to_json())
    statistics = StatisticsGen(
        examples=examples.outputs["examples"],
        **({"exclude_splits": ["answered"]} if ours else {}),
    )
    settings: dict[str, Any] = {
        "splits_config": transform_pb2.SplitsConfig(analyze=["train"]),
        "materialize": False,
        "disable_statistics": True,
    }
    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="pipeline.transform.preprocessing_fn",
        custom_config={"dataset_config": dataset.to_json()},
        **(settings if ours else {}),
    )
    spent: dict[str, Any] = {}
    launch = launcher.Launcher.launch

    def timed(self: Any) -> Any:
        with cost() as found:
            result = launch(self)
        spent[self._pipeline_node.node_info.id] = found
        return result

    with unittest.mock.patch.object(launcher.Launcher, "launch", timed):
        LocalDagRunner().run(
            Pipeline(
                pipeline_name=which,
                pipeline_root=root,
                components=[examples, schema, statistics, transform],
                metadata_connection_config=sqlite_metadata_connection_config(f"{root}/metadata.db"),
                beam_pipeline_args=["--runner=FnApiRunner"],
            )
        )
    return {name: spent[name] for name in COMPONENTS}


if __name__ == "__main__":
    main()

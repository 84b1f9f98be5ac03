"""A full fit and spans of a few rows: all that the engine needs, made in seconds."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np

from pipeline.configs import MODEL_NAME, RunSettings
from pipeline.local_runner import Workdir
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.engine import OnlineEngine
from pipeline.online.spans import Span, find_spans
from pipeline.online.state import Commit, OnlineFolder, OnlineState, Version, write_state
from pipeline.trainer import CHECKPOINT

FIRST_VERSION = 1000
START, HOUR = 1_700_000_000_000, 3_600_000
USERS = [f"u{number}" for number in range(24)]
ITEMS = [f"i{number}" for number in range(12)]

SETTINGS = RunSettings.from_dict(
    {
        "trainer": {
            "model": {
                "units": 8,
                "num_heads": 2,
                "num_experts": 2,
                "num_satisfaction_experts": 2,
                "expert_hidden_dim": 4,
            },
            "batch_size": 8,
            "answered_per_batch": 4,
            "steps_per_execution": 2,
            "jit_compile": False,
        },
        "infra_check": {"requests": 2, "warmup_requests": 2},
        "online": {
            "gate": {"window_spans": 2, "behaviour_loss": 1.0},
            "holdout": 0.3,
            "keep_spans": 2,
            "keep_versions": 3,
        },
    }
)


def write_spans(folder: Path, count: int, *, requests: int = 24) -> list[Span]:
    """Hourly spans `span=1`, …; every second answer lands one span after its impression."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    _write_csv(folder / "users.csv", ["user"], [[user] for user in USERS])
    lengths = [[item, 10.0 + place] for place, item in enumerate(ITEMS)]
    _write_csv(folder / "items.csv", ["item", "length"], lengths)
    late: list[list[object]] = []
    for number in range(1, count + 1):
        shown, answers = [], late
        late = []
        for place in range(requests):
            request, user = f"s{number}r{place}", USERS[int(rng.integers(len(USERS)))]
            time = START + number * HOUR + place * 60_000
            for item in rng.choice(ITEMS, 3, replace=False):
                click, like = rng.integers(0, 2, 2)
                shown.append([request, user, item, time, 9000, 10_000, click, like, number % 24])
            answer = [request, user, item, time + 1, time + 2, ["no", "yes"][rng.integers(2)]]
            (answers if place % 2 else late).append(answer)
        write_span(folder / f"span={number}", shown, answers)
    return find_spans(folder)


def write_span(span: Path, shown: list[list[object]], answers: list[list[object]]) -> Span:
    """One span of rows in the order of the columns below."""
    span.mkdir()
    columns = ["request", "user", "item", "time_ms", "played_ms", "duration_ms"]
    _write_csv(span / "impressions.csv", [*columns, "click", "like", "hour"], shown)
    asked = ["request", "user", "item", "issued_ms", "answered_ms", "answer"]
    _write_csv(span / "questionnaires.csv", asked, answers)
    (span / "_SUCCESS").touch()
    return Span.at(span)


def _write_csv(path: Path, columns: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def write_full_fit(root: Path, dataset: DatasetConfig, transform_graph: str) -> Workdir:
    """A folder as `easq run` leaves it, with an untrained model in place of a trained one."""
    from pipeline.training_session import TrainingSession

    session = TrainingSession(SETTINGS.trainer, dataset, transform_graph)
    model = root / "pipeline" / "Trainer" / "model" / "1"
    session.export(str(model / "Format-Serving"))
    session.save(str(model / CHECKPOINT))
    folder = OnlineFolder(Workdir(root))
    shutil.copytree(model / "Format-Serving", folder.serving_dir / str(FIRST_VERSION))
    adopt(root, str(model), transform_graph)
    report = {"run": {"dataset_config": dataset.to_dict(), "settings": SETTINGS.to_dict()}}
    Workdir(root).report_json.write_text(json.dumps(report), encoding="utf-8")
    return Workdir(root)


def adopt(root: Path, model: str, transform_graph: str) -> None:
    """Begins online learning at a Model artifact."""
    write_state(
        OnlineFolder(Workdir(root)).state_file,
        OnlineState(
            fit=model,
            transform_graph=transform_graph,
            commits=(Commit(0, "", model, None, None, None, FIRST_VERSION),),
            versions=(Version(FIRST_VERSION, 0, "", model),),
            stable=FIRST_VERSION,
            best=Version(FIRST_VERSION, 0, "", model),
            largest_version=FIRST_VERSION,
        ),
    )


def copy_of(fitted: Workdir, root: Path, transform_graph: str) -> Workdir:
    """The same full fit in another folder."""
    shutil.copytree(fitted.root, root)
    adopt(root, str(root / "pipeline" / "Trainer" / "model" / "1"), transform_graph)
    return Workdir(root)


def learn_all(engine: OnlineEngine, spans: list[Span]) -> None:
    """Learns what has not been learnt."""
    for span in spans:
        if engine.is_new(span):
            engine.process(span)


def outcome(workdir: Workdir) -> dict:
    """All that an interrupted run must have in common with one that was not."""
    folder = OnlineFolder(workdir)
    state = json.loads(folder.state_file.read_text())
    records = [json.loads(line) for line in folder.series_file.read_text().splitlines()]
    for record in records:
        del record["seconds"], record["base"]
    return {
        "versions": [(one["number"], one["sequence"]) for one in state["versions"]],
        "labels": (state["stable"], state["largest_version"]),
        "learnt": state["commits"][-1]["sequence"],
        "served": sorted(path.name for path in folder.serving_dir.iterdir()),
        "records": records,
    }


def weights(workdir: Workdir) -> dict[str, np.ndarray]:
    """Everything in the newest checkpoint, optimizers and remembered answers included."""
    import h5py

    state = json.loads(OnlineFolder(workdir).state_file.read_text())
    checkpoint = Path(state["commits"][-1]["model"], CHECKPOINT)
    found: dict[str, np.ndarray] = {}
    (file,) = checkpoint.glob("*.weights.h5")
    with h5py.File(file) as opened:
        opened.visititems(
            lambda name, value: found.update({name: value[()]} if hasattr(value, "shape") else {})
        )
    for memory in checkpoint.glob("*.npz"):
        with np.load(memory) as arrays:
            found |= {f"{memory.name}/{name}": arrays[name] for name in arrays.files}
    return found


def assert_same_weights(one: Workdir, other: Workdir) -> None:
    """Both folders' newest checkpoints hold the same numbers."""
    found, expected = weights(one), weights(other)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def assert_servable(workdir: Workdir) -> None:
    """Nothing in the serving folder is half written, and the labels name what is there."""
    from tensorflow_serving.config import model_server_config_pb2

    from serving.text_protos import parse_text_file

    folder = OnlineFolder(workdir)
    versions = [path for path in folder.serving_dir.iterdir() if path.name.isdecimal()]
    assert versions
    for version in versions:
        assert (version / "saved_model.pb").stat().st_size > 0
        assert (version / "variables" / "variables.index").exists()
        if int(version.name) > FIRST_VERSION:
            assert json.loads((version / "assets.extra" / "origin.json").read_text())
            assert (version / "assets.extra" / "tf_serving_warmup_requests").exists()
    if folder.models_config.exists():
        config = parse_text_file(
            str(folder.models_config), model_server_config_pb2.ModelServerConfig()
        )
        (model,) = config.model_config_list.config
        assert model.name == MODEL_NAME
        assert set(model.version_labels.values()) <= {int(path.name) for path in versions}

"""The data of one experiment cell: made once through the pipeline's own code, kept as arrays.

A *cell* is a data set, in simulation with its scenario, density of answers and seed. Its slates are
cut in time into training, validation (where everything is chosen) and test.

* Simulation: the world's log, answered at the cell's density, gives the training slates and the
  answered stream. Validation and test are answered by a survey of their own, of 9·10⁻² answers a
  view, so that there is something to measure: nothing is trained on them. The Transform graph is
  fitted once per scenario, on the training part of a world of its own.
* KuaiRand: one log, whatever the seed; likes and hates for answers. Its seeds are those of models.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from experiments.fitted_transform import FittedTransform, fit_transform
from experiments.simulated_log import WorldLog, log_world, with_density
from experiments.slate_arrays import (
    Arrays,
    CanonicalLog,
    Judged,
    answered_examples,
    judged,
    load_arrays,
    read_log,
    save_arrays,
    slate_examples,
    transformed,
)
from pipeline.example_gen.columnar import one_chunk, take
from pipeline.example_gen.examples import popularity_of
from pipeline.example_gen.slates import BuiltSlates, build_slates
from pipeline.logs.dataset_config import DatasetConfig, load_dataset_config
from simulator import SimulatorConfig

SIMULATED, KUAIRAND = "simulated", "kuairand"
SCENARIOS = ("mild", "strong")
DENSITIES = (1e-2, 2e-3, 5e-4)
SURVEY_DENSITY = 0.09
USUAL_BIAS = SimulatorConfig().answer_bias
# Worlds on which the Transform graphs are fitted; no experiment uses their seed.
_TRANSFORM_SEED = 1_000_003
# Raised when the data of the same cell would come out otherwise.
_FORMAT = 1


@dataclass(frozen=True)
class Size:
    """How large a simulated cell is.

    Attributes:
        train, validation, test: requests, in the order of time.
        users, items, days: of the world.
    """

    train: int = 24_000
    validation: int = 8_000
    test: int = 16_000
    users: int = 2_500
    items: int = 4_000
    days: int = 7

    @property
    def requests(self) -> int:
        """Requests of the whole world."""
        return self.train + self.validation + self.test


FULL = Size()
QUICK = Size(train=4_000, validation=1_500, test=2_500, users=600, items=2_000, days=4)


@dataclass(frozen=True)
class CellSpec:
    """What a cell is made from.

    Attributes:
        dataset: `simulated` or `kuairand`.
        scenario: of the simulator; "" for a real log.
        density: answers a view in training; 0 for a real log.
        seed: of the world; 0 for a real log.
        answer_bias: see `SimulatorConfig`.
        size: of the world.
    """

    dataset: str = SIMULATED
    scenario: str = "strong"
    density: float = 2e-3
    seed: int = 0
    answer_bias: float = USUAL_BIAS
    size: Size = FULL

    @property
    def name(self) -> str:
        """The cell's data set as tables name it, e.g. `simulated-strong-0.002`."""
        if self.dataset != SIMULATED:
            return self.dataset
        bias = "" if self.answer_bias == USUAL_BIAS else f"-bias-{self.answer_bias:g}"
        return f"{self.dataset}-{self.scenario}-{self.density:g}{bias}"

    def simulator(self, density: float) -> SimulatorConfig:
        """The world's config."""
        return with_density(
            SimulatorConfig(
                seed=self.seed,
                scenario=self.scenario,
                users=self.size.users,
                items=self.size.items,
                requests=self.size.requests,
                days=self.size.days,
                answer_bias=self.answer_bias,
            ),
            density,
        )


def scenario_and_density(name: str) -> tuple[str, str]:
    """What the name of a cell's data set says of its world; of a real log two empty strings.

    Args:
        name: as `CellSpec.name` gives it; a bias stands behind the density.
    """
    _, _, world = name.partition("-")
    scenario, _, density = world.partition("-")
    return scenario, density


@dataclass(frozen=True)
class Cell:
    """The slates of a cell.

    Attributes:
        config: the dataset config.
        train: transformed training slates in time order.
        answered: transformed answered slates, pair groups in order; there may be none.
        validation, test: transformed slates, and what the evaluation knows of them.
    """

    config: DatasetConfig
    train: Arrays
    answered: Arrays
    validation: tuple[Arrays, Judged]
    test: tuple[Arrays, Judged]


class CellStore:
    """Makes cells where they are not there yet, and reads them; the last world stays in memory.

    Args:
        folder: of the cache.
        kuairand: folder of KuaiRand-Pure's CSV files, where that data set is wanted.
    """

    def __init__(self, folder: Path, kuairand: Path | None = None) -> None:
        self._folder, self._kuairand = folder, kuairand
        self._loaded: tuple[Path, dict[str, Arrays]] | None = None

    def load(self, spec: CellSpec) -> Cell:
        """The cell, made if need be; waits if another process is making it."""
        config = dataset_config(spec)
        world = self._folder / _key({**_world(spec), "format": _FORMAT})
        # A real log has its answers in it; a world is asked at several densities.
        answers = world / f"answered-{spec.density:g}.npz"
        with _locked(world.with_suffix(".lock")):
            if not (world / "test.npz").exists():
                self._make_slates(spec, config, world)
            if not answers.exists():
                self._make_answers(spec, config, world, answers)
        if self._loaded is None or self._loaded[0] != world:
            names = ("train", "validation", "test")
            self._loaded = world, {name: load_arrays(world / f"{name}.npz") for name in names}
        tables = self._loaded[1]
        nobody = {name: value[:0] for name, value in tables["train"].items()}
        return Cell(
            config,
            tables["train"],
            load_arrays(answers) or nobody,
            _with_judged(tables["validation"]),
            _with_judged(tables["test"]),
        )

    def _make_slates(self, spec: CellSpec, config: DatasetConfig, world: Path) -> None:
        if spec.dataset == KUAIRAND:
            self._make_kuairand(config, world)
            return
        log = log_world(spec.simulator(SURVEY_DENSITY))
        cuts = _cuts(log, spec.size)
        canonical = _canonical(log, config)
        built = _built(canonical, config, cuts[0])
        popularity = popularity_of([built.liked])
        transform = self._transform(spec, config)
        parts = _by_time(built.slates, cuts)
        for name, slates in zip(("train", "validation", "test"), parts, strict=True):
            examples = slate_examples(slates, canonical, popularity, config)
            arrays = transformed(examples, transform)
            if name != "train":
                known = judged(examples, config.slate.max_candidates)
                known = dataclasses.replace(known, engagement=_engagement(examples, log))
                arrays |= _judged_arrays(known)
            save_arrays(world / f"{name}.npz", arrays)

    def _make_answers(self, spec: CellSpec, config: DatasetConfig, world: Path, path: Path) -> None:
        log = log_world(spec.simulator(spec.density))
        split = _cuts(log, spec.size)[0]
        asked = log.tables["questionnaires"]
        some = pc.unique(asked.filter(pc.is_valid(asked["answer"]))["user_id"])
        # Whole users, so what is built of these is what would be built of all.
        kept = {
            name: log.tables[name].filter(pc.is_in(log.tables[name]["user_id"], some))
            for name in ("impressions", "questionnaires")
        }
        answered: Arrays = {}
        if len(some):
            few = WorldLog({**log.tables, **kept}, log.engagement)
            canonical = _canonical(few, config)
            built = _built(canonical, config, split)
            popularity = popularity_of([built.liked])
            examples = answered_examples(built, canonical, popularity, config)
            if examples is not None:
                answered = transformed(examples, self._transform(spec, config))
        save_arrays(path, answered)

    def _transform(self, spec: CellSpec, config: DatasetConfig) -> FittedTransform:
        key = {"transform": spec.scenario, "size": dataclasses.asdict(spec.size), "format": _FORMAT}
        folder = self._folder / f"transform-{_key(key)}"
        with _locked(folder.with_suffix(".lock")):
            if not folder.exists():
                other = dataclasses.replace(spec, seed=_TRANSFORM_SEED, answer_bias=USUAL_BIAS)
                log = log_world(other.simulator(SURVEY_DENSITY))
                canonical = _canonical(log, config)
                cuts = _cuts(log, spec.size)
                built = _built(canonical, config, cuts[0])
                train = _by_time(built.slates, cuts)[0]
                popularity = popularity_of([built.liked])
                fit_transform(slate_examples(train, canonical, popularity, config), config, folder)
        return FittedTransform(folder, config)

    def _make_kuairand(self, config: DatasetConfig, world: Path) -> None:
        canonical = read_log(config, _required(self._kuairand))
        time = one_chunk(canonical.impressions, "time_ms").to_numpy()
        cuts = tuple(int(cut) for cut in np.quantile(time, (0.6, 0.75)))
        built = _built(canonical, config, cuts[0])
        popularity = popularity_of([built.liked])
        parts = _by_time(built.slates, cuts)
        examples = [slate_examples(part, canonical, popularity, config) for part in parts]
        folder = world / "transform"
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            fit_transform(examples[0], config, folder)
        transform = FittedTransform(folder, config)
        answered = answered_examples(built, canonical, popularity, config)
        assert answered is not None
        save_arrays(world / "answered-0.npz", transformed(answered, transform))
        for name, part in zip(("train", "validation", "test"), examples, strict=True):
            arrays = transformed(part, transform)
            if name != "train":
                arrays |= _judged_arrays(judged(part, config.slate.max_candidates))
            save_arrays(world / f"{name}.npz", arrays)


def surveyed_slates(spec: CellSpec, kuairand: Path | None) -> tuple[pa.Table, tuple[str, ...]]:
    """All slates of a log with the answers of the survey, and the names of its behaviours."""
    config = dataset_config(spec)
    if spec.dataset == KUAIRAND:
        canonical = read_log(config, _required(kuairand))
    else:
        canonical = _canonical(log_world(spec.simulator(SURVEY_DENSITY)), config)
    last = int(one_chunk(canonical.impressions, "time_ms").to_numpy().max()) + 1
    return _built(canonical, config, last).slates, config.behaviours.columns


def _required(kuairand: Path | None) -> Path:
    if kuairand is None:
        raise ValueError("the data set kuairand needs --kuairand-dir, the folder of its files")
    return kuairand


def dataset_config(spec: CellSpec) -> DatasetConfig:
    """The dataset config of a cell.

    A survey asks one user more often than a service would: no answer is over a daily limit. Days of
    KuaiRand's users are cut at 10 videos instead of 20: the mean is 1.8, and every slate costs as
    much as the widest.
    """
    config = load_dataset_config(spec.dataset)
    if spec.dataset != KUAIRAND:
        asked = dataclasses.replace(config.questionnaire, max_daily_answers=None)
        return dataclasses.replace(config, questionnaire=asked)
    slate = dataclasses.replace(config.slate, max_candidates=10)
    return dataclasses.replace(config, slate=slate)


def _world(spec: CellSpec) -> dict[str, object]:
    values = dataclasses.asdict(spec)
    del values["density"]
    return values


def _key(values: dict[str, object]) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(log: WorldLog, config: DatasetConfig) -> CanonicalLog:
    with tempfile.TemporaryDirectory() as folder:
        log.write(Path(folder))
        return read_log(config, folder)


def _built(log: CanonicalLog, config: DatasetConfig, split_time_ms: int) -> BuiltSlates:
    return build_slates(
        log.impressions,
        log.questionnaires,
        log.users,
        config,
        split_time_ms=split_time_ms,
        file_names=log.file_names,
    )


def _cuts(log: WorldLog, size: Size) -> tuple[int, int]:
    """When validation and when test begins."""
    impressions = log.tables["impressions"]
    _, first = np.unique(impressions["request_id"].to_numpy(), return_index=True)
    time = np.sort(impressions["time_ms"].to_numpy()[first])
    return int(time[size.train]), int(time[size.train + size.validation])


def _by_time(slates: pa.Table, cuts: tuple[int, ...]) -> list[pa.Table]:
    part = np.searchsorted(np.array(cuts), one_chunk(slates, "time").to_numpy(), side="right")
    return [take(slates, part == number) for number in range(len(cuts) + 1)]


def _engagement(examples: pa.RecordBatch, log: WorldLog) -> np.ndarray:
    """The world's expected engagement of each candidate, `[slates, W]`."""
    request = examples.column("request_id").cast(pa.int64()).to_numpy()
    rows = log.engagement[request]
    logged = log.tables["impressions"]["item_id"].to_numpy().reshape(log.engagement.shape)
    items = examples.column("item_id").flatten().cast(pa.int64()).to_numpy().reshape(rows.shape)
    if not np.array_equal(items, logged[request]):
        raise AssertionError("slates of a simulated log are not in the logged order")
    return rows


def _judged_arrays(known: Judged) -> Arrays:
    return {
        f"judged/{field.name}": getattr(known, field.name) for field in dataclasses.fields(known)
    }


def _with_judged(arrays: Arrays) -> tuple[Arrays, Judged]:
    prefix = "judged/"
    known = {n.removeprefix(prefix): v for n, v in arrays.items() if n.startswith(prefix)}
    return {n: v for n, v in arrays.items() if not n.startswith(prefix)}, Judged(**known)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

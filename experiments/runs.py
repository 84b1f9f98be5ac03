"""One run: what is trained and judged, the name of its result, and where results lie."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easq_keras.models import EMERSettings, method_info
from experiments.cells import CellSpec
from experiments.slate_arrays import load_arrays, save_arrays
from experiments.weight_sweep import weight_moves_tower_alone
from pipeline.whole_files import whole_file

# Rankings that need no training.
RANKERS = ("Oracle", "Popularity", "Random")
# Raised when the same run would come out otherwise.
_PROTOCOL = 2


@dataclass(frozen=True)
class RunSpec:
    """One method, trained once and judged.

    Attributes:
        cell: the data.
        method: one of `easq_keras.models.METHODS` or of `RANKERS`.
        weight: of its trade-off setting; None: as the method has it.
        settings: other settings of the model that differ from the method's, as sorted pairs.
        replay: whether earlier answers are replayed; None: as the method does by default.
        model_seed: of the initial weights and of the replay.
        batch_size, answered_per_batch: slates a step.
        answer_weights: "" leaves the answered stream as it is; "uniform" and "inverse propensity"
            repeat its answers, see `experiments.response_weights`.
    """

    cell: CellSpec
    method: str
    weight: float | None = None
    settings: tuple[tuple[str, Any], ...] = ()
    replay: bool | None = None
    model_seed: int = 0
    batch_size: int = 32
    answered_per_batch: int = 32
    answer_weights: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        values = dataclasses.asdict(self)
        values["settings"] = dict(self.settings)
        if not self.answer_weights:
            del values["answer_weights"]
        return values

    @property
    def key(self) -> str:
        """The name of the result: a hash of everything it depends on.

        Of a method these are its model and all settings, those left at their defaults too: a result
        is not taken for that of other defaults, and two names of the same share it.
        """
        values = {**self.to_dict(), "protocol": _PROTOCOL}
        if self.method not in RANKERS:
            info = method_info(self.method)
            del values["weight"]
            values["method"] = info.model.__name__
            values["settings"] = self.model_settings.to_dict()
            values["replay"] = info.replays if self.replay is None else self.replay
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def model_settings(self) -> EMERSettings:
        """All settings of the model, the weight among them."""
        info = method_info(self.method)
        changes = dict(self.settings)
        if info.trade_off is not None and self.weight is not None:
            changes[info.trade_off] = self.weight
        return info.model.settings_class(**info.settings).replace(**changes)

    @property
    def weight_moves_tower_alone(self) -> bool:
        """Whether one training serves all weights, see `experiments.weight_sweep`."""
        if self.method in RANKERS:
            return False
        return weight_moves_tower_alone(method_info(self.method).model, self.model_settings)

    @property
    def trained(self) -> RunSpec:
        """What has to be trained for it; runs with the same share one training.

        A blend adds its two scores after training, so all its weights share one; of EASQ with a
        behaviour head all weights are trained together.
        """
        if self.method == "Blend" or self.weight_moves_tower_alone:
            return dataclasses.replace(self, weight=None)
        return self

    @property
    def structure(self) -> tuple[Any, ...]:
        """What a compiled training step is good for."""
        trained = self.trained
        cell = self.cell.dataset
        return (cell, trained.method, self.settings, self.batch_size, self.answered_per_batch)


def settings_of(**settings: Any) -> tuple[tuple[str, Any], ...]:
    """Settings as `RunSpec` has them."""
    return tuple(sorted(settings.items()))


@dataclass(frozen=True)
class Result:
    """What came out of a run.

    Attributes:
        config: `RunSpec.to_dict()`.
        validation, test: the mean over users of each metric.
        n_users: of the test split, by metric.
        training: what the last steps of training reported.
        seconds: by stage.
        code: version of the code.
    """

    config: dict[str, Any]
    validation: dict[str, float | None]
    test: dict[str, float | None]
    n_users: dict[str, int]
    training: dict[str, float]
    seconds: dict[str, float]
    code: str


class RunStore:
    """Results on disk, one JSON a run, beside it the values of each user of the test split."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, spec: RunSpec) -> bool:
        """Whether the run is done."""
        return self._json(spec).exists()

    def save(self, spec: RunSpec, result: Result, names: Iterable[str], values: Any) -> None:
        """Writes a result, the description last: there is all of it or none.

        Args:
            spec: the run.
            result: its result.
            names: metrics.
            values: float `[users, metrics]` of the test split, users by hash, ascending.
        """
        arrays = {"names": np.array(list(names)), "values": values.astype(np.float32)}
        save_arrays(self._arrays(spec), arrays)
        text = json.dumps(dataclasses.asdict(result), indent=1, allow_nan=False)
        with whole_file(self._json(spec)) as partial:
            partial.write_text(text, encoding="utf-8")

    def result(self, spec: RunSpec) -> Result:
        """The result of a run that is done."""
        return Result(**json.loads(self._json(spec).read_text(encoding="utf-8")))

    def users(self, spec: RunSpec, metric: str) -> NDArray[np.float64]:
        """A metric of each user of the test split, NaN where it is not defined."""
        arrays = load_arrays(self._arrays(spec))
        column = arrays["names"].tolist().index(metric)
        return arrays["values"][:, column].astype(np.float64)

    def _json(self, spec: RunSpec) -> Path:
        return self.folder / f"{spec.key}.json"

    def _arrays(self, spec: RunSpec) -> Path:
        return self.folder / f"{spec.key}.npz"


@functools.cache
def code_version() -> str:
    """`git describe` where the code is a checkout, else the package's version."""
    folder = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return described.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return importlib.metadata.version("easq-keras")

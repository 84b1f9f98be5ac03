"""Which pushed models learnt from examples with some users in them, by ML Metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from pipeline.online.lineage import inputs_of, made_by


@dataclass(frozen=True)
class LearntExamples:
    """Examples that a model learnt.

    Attributes:
        uri: their folder, which may be gone.
        span: the folder of the span they were made of; "" for a full fit.
        holdout: share of the users that were held out of them.
    """

    uri: str
    span: str
    holdout: float

    @property
    def name(self) -> str:
        """The span's name, or that of a full fit."""
        return Path(self.span).name if self.span else "the full fit"


@dataclass(frozen=True)
class PushedVersion:
    """A version that was pushed: its number, its folder, and all that it learnt, oldest first."""

    number: int
    folder: Path
    learnt: tuple[LearntExamples, ...]


def pushed_versions(metadata_file: Path) -> list[PushedVersion]:
    """Every version that was ever pushed, oldest first."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata_file)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = mlmd.MetadataStore(config)
    found: dict[int, PushedVersion] = {}
    known: dict[int, tuple[LearntExamples, ...]] = {}
    for pushed in store.get_artifacts_by_type("PushedModel"):
        properties = pushed.custom_properties
        if not properties["pushed"].int_value:
            continue
        number = int(properties["pushed_version"].string_value)
        folder = Path(properties["pushed_destination"].string_value)
        inputs = inputs_of(store, pushed)
        # A full run pushes the copy that passed the infra check.
        model = inputs.get("model") or inputs_of(store, inputs["infra_blessing"])["model"]
        found[number] = PushedVersion(number, folder, _learnt(store, model, known))
    return [found[number] for number in sorted(found)]


def _learnt(
    store: mlmd.MetadataStore,
    model: metadata_store_pb2.Artifact,
    known: dict[int, tuple[LearntExamples, ...]],
) -> tuple[LearntExamples, ...]:
    """All that a model and those it went on from were trained on; `known` grows."""
    chain: list[tuple[int, LearntExamples]] = []
    before: tuple[LearntExamples, ...] = ()
    next_model: metadata_store_pb2.Artifact | None = model
    while next_model is not None:
        if next_model.id in known:
            before = known[next_model.id]
            break
        inputs = inputs_of(store, next_model)
        if "examples" not in inputs:  # trained elsewhere
            break
        examples = inputs["examples"]
        made = made_by(store, examples).custom_properties
        span = made["span"].string_value if "base_model" in inputs else ""
        holdout = made["holdout"].double_value if span else 0.0
        chain.append((next_model.id, LearntExamples(examples.uri, span, holdout)))
        next_model = inputs.get("base_model")
    for identity, examples in reversed(chain):
        before = (*before, examples)
        known[identity] = before
    return before


def versions_that_learnt(
    versions: list[PushedVersion], theirs: Callable[[LearntExamples], bool]
) -> list[tuple[PushedVersion, list[str]]]:
    """The versions that learnt examples with the users in them, and which.

    Args:
        versions: all of them.
        theirs: whether the users are in some examples.
    """
    answers: dict[str, bool] = {}
    found = []
    for version in versions:
        names = []
        for examples in version.learnt:
            if examples.uri not in answers:
                answers[examples.uri] = theirs(examples)
            if answers[examples.uri]:
                names.append(examples.name)
        if names:
            found.append((version, names))
    return found

"""What a dataset's tables mean: the one file somebody writes to bring their own logs.

    config = DatasetConfig.from_yaml("my_logs.yaml")
    config = load_dataset_config("simulated")        # a dataset that comes with the pipeline

Times inside the pipeline are int64 milliseconds since 1970 (UTC), durations are float seconds,
ids are text; the `unit`s here say what the files hold.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pipeline.logs.checked import ConfigError, build, read_yaml, require, suggest
from pipeline.logs.columns import ImpressionColumns, QuestionnaireColumns, Tables
from pipeline.logs.feature_config import FeatureConfig
from pipeline.logs.user_ids import Privacy


@dataclass(frozen=True)
class AnswerValues:
    """Which values of the answer column mean what (compared as text, exactly).

    An empty cell always means "issued, not answered"; `not_answered` lists other spellings of it.
    Any other value is rejected and counted.
    """

    satisfied: tuple[str, ...]
    dissatisfied: tuple[str, ...]
    uncertain: tuple[str, ...] = ()
    not_answered: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(len(self.satisfied) > 0, "satisfied", self.satisfied, "at least one value")
        require(len(self.dissatisfied) > 0, "dissatisfied", self.dissatisfied, "at least one value")
        seen: dict[str, str] = {}
        for option in dataclasses.fields(self):
            for value in getattr(self, option.name):
                require(
                    value not in seen,
                    option.name,
                    value,
                    f"a value not listed before (it is under {seen.get(value)} too)",
                )
                seen[value] = option.name


@dataclass(frozen=True)
class FromBehaviours:
    """A stand-in for a questionnaire where there is none: two columns of the impressions table.

    Attributes:
        satisfied, dissatisfied: 0/1 columns. Rows with both are dropped and counted; rows with
            neither have no answer.
        only_if: 0/1 column; other rows have no answer. None: every exposed row counts.
    """

    satisfied: str
    dissatisfied: str
    only_if: str | None = None

    def __post_init__(self) -> None:
        require(
            self.satisfied != self.dissatisfied,
            "dissatisfied",
            self.dissatisfied,
            "another column than for satisfied",
        )


@dataclass(frozen=True)
class Questionnaire:
    """Where the answers come from: `columns` and `answers`, or `from_behaviours`.

    Attributes:
        columns, answers: of the questionnaires table.
        from_behaviours: the stand-in where there is no such table.
        unanswered: what the exposed candidates without an answer mean to the satisfaction path.
            `exclude`: nothing. `middle`: something, for a stand-in that anybody can give at any
            time. Their label is ½, as SAQRec codes it (CIKM 2024), and `EASQ` learns silence from
            all that was shown (`pipeline.dataset_settings`).
        max_daily_answers: Satisfied and Dissatisfied answers of one user on one day (UTC) that are
            used; the rest is rejected and counted as `over_daily_limit`. None: all of them.
        primary_metric: what the gate calls satisfaction. `pair_accuracy`: satisfied over
            dissatisfied within a user; needs users who answered both ways. `satisfied_auc`:
            satisfied over all other exposed candidates of the same requests.
    """

    columns: QuestionnaireColumns | None = None
    answers: AnswerValues | None = None
    from_behaviours: FromBehaviours | None = None
    unanswered: Literal["exclude", "middle"] = "exclude"
    max_daily_answers: int | None = 20
    primary_metric: Literal["pair_accuracy", "satisfied_auc"] = "pair_accuracy"

    def __post_init__(self) -> None:
        limit = self.max_daily_answers
        require(limit is None or limit >= 1, "max_daily_answers", limit, "1 or more, or null")
        if self.from_behaviours is not None:
            for name in ("columns", "answers"):
                require(
                    getattr(self, name) is None,
                    name,
                    getattr(self, name),
                    "none, as from_behaviours is given",
                )
            return
        for name in ("columns", "answers"):
            require(
                getattr(self, name) is not None,
                name,
                None,
                "columns and answers of the questionnaires table (or from_behaviours)",
            )


@dataclass(frozen=True)
class Trigger:
    """Only impressions watched this long, or this share of them, may be asked about.

    Attributes:
        min_played_seconds: enough by itself. 0 lets every impression through.
        min_played_fraction: played / duration, enough by itself.
    """

    min_played_seconds: float = 7.0
    min_played_fraction: float = 0.5

    def __post_init__(self) -> None:
        seconds, fraction = self.min_played_seconds, self.min_played_fraction
        require(seconds >= 0, "min_played_seconds", seconds, "0 or more")
        require(0 <= fraction <= 1, "min_played_fraction", fraction, "between 0 and 1")


@dataclass(frozen=True)
class Behaviours:
    """What the user did with the item, and how a behaviour level is formed from it.

    The level of an exposed row is min(number of `positive` behaviours, `max_level`).

    Attributes:
        columns: columns of the impressions table; each becomes a label, never a feature.
        positive: those that count for the level.
        max_level: the highest level.
        values: `binary`: 0/1 or true/false, everything else is rejected; `count`: any number
            from 0 up, above 0 counts as 1.
    """

    columns: tuple[str, ...]
    positive: tuple[str, ...]
    max_level: int = 2
    values: Literal["binary", "count"] = "binary"

    def __post_init__(self) -> None:
        _refuse_repeats("columns", self.columns)
        _refuse_repeats("positive", self.positive)
        require(len(self.positive) > 0, "positive", self.positive, "at least one behaviour")
        for index, name in enumerate(self.positive):
            require(
                name in self.columns,
                f"positive[{index}]",
                name,
                f"one of {', '.join(self.columns)}{suggest(name, self.columns)}",
            )
        require(1 <= self.max_level <= 127, "max_level", self.max_level, "between 1 and 127")


@dataclass(frozen=True)
class PairWindow:
    """Which earlier answers of a user are compared with a new one.

    Attributes:
        hours: how far back.
        max_slates: at most so many slates a group, the new one included; the newest are kept.
    """

    hours: float = 168.0
    max_slates: int = 8

    def __post_init__(self) -> None:
        require(self.hours > 0, "hours", self.hours, "more than 0")
        require(self.max_slates >= 1, "max_slates", self.max_slates, "1 or more")


@dataclass(frozen=True)
class Rebuild:
    """How slates are rebuilt from time where the log has no request id: exactly one of

    Attributes:
        gap_minutes: a new slate where a user's next impression comes later than this.
        by: `user_day`: all of a user's impressions of one day.
        utc_offset_hours: when the day begins, for `user_day`: 8 for China, -5 for New York.
    """

    gap_minutes: float | None = None
    by: Literal["user_day"] | None = None
    utc_offset_hours: float = 0.0

    def __post_init__(self) -> None:
        given = [name for name in ("gap_minutes", "by") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError("", " and ".join(given) or "neither", "one of gap_minutes and by")
        if self.gap_minutes is not None:
            require(self.gap_minutes > 0, "gap_minutes", self.gap_minutes, "more than 0")
        offset = self.utc_offset_hours
        require(-24 < offset < 24, "utc_offset_hours", offset, "between -24 and 24")


@dataclass(frozen=True)
class Slate:
    """The candidates of one request, ranked together.

    Attributes:
        max_candidates: the width of a slate in training and serving. The rest of a longer
            request is dropped, candidates that were not exposed first, and counted; slates
            rebuilt from time are split instead.
        min_candidates: a slate with fewer has nothing to compare and is rejected and counted,
            unless it holds an answer.
        rebuild: how to form slates where `columns.request_id` is not given.
    """

    max_candidates: int = 40
    min_candidates: int = 2
    rebuild: Rebuild | None = None

    def __post_init__(self) -> None:
        low, high = self.min_candidates, self.max_candidates
        require(low >= 1, "min_candidates", low, "1 or more")
        require(high >= max(low, 2), "max_candidates", high, f"{max(low, 2)} or more")


@dataclass(frozen=True)
class Split:
    """Evaluation gets the last `eval_fraction` of the impressions, by time; training the rest."""

    eval_fraction: float = 0.25

    def __post_init__(self) -> None:
        fraction = self.eval_fraction
        require(0 < fraction < 1, "eval_fraction", fraction, "more than 0 and less than 1")


@dataclass(frozen=True)
class DatasetConfig:
    """A dataset: its tables, what their columns mean, and how slates and labels are formed.

    Every part is checked when it is made; `ConfigError` says which key is wrong and why.

    Attributes:
        slice_by: features of which the evaluation is also made for each value: categories of few
            values; and of candidates also numbers, whose classes are 1-2, 2-4, 4-8 and so on. A
            slate is in the slice of its user's or context's value, or in those of the candidates
            that were answered.
    """

    name: str
    tables: Tables
    columns: ImpressionColumns
    questionnaire: Questionnaire
    behaviours: Behaviours
    features: tuple[FeatureConfig, ...]
    trigger: Trigger = field(default_factory=Trigger)
    pair_window: PairWindow = field(default_factory=PairWindow)
    slate: Slate = field(default_factory=Slate)
    split: Split = field(default_factory=Split)
    slice_by: tuple[str, ...] = ()
    privacy: Privacy = field(default_factory=Privacy)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "DatasetConfig":
        """Reads a YAML file. Raises `ConfigError`."""
        config = build(cls, read_yaml(path), file=str(path))
        key_file = config.privacy.user_id_key_file
        if key_file is None:
            return config
        # The config goes on to other processes without its folder.
        beside = Path(path).absolute().parent / Path(key_file).expanduser()
        return dataclasses.replace(config, privacy=Privacy(str(beside)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DatasetConfig":
        """The inverse of `to_dict`; takes what YAML gives. Raises `ConfigError`."""
        return build(cls, values)

    @classmethod
    def from_json(cls, text: str) -> "DatasetConfig":
        """The inverse of `to_json`."""
        return cls.from_dict(json.loads(text))

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and scalars, with every default written out."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def to_json(self) -> str:
        """One line, the same text for the same config."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    def features_of(self, table: str) -> tuple[FeatureConfig, ...]:
        """The features read from one table, in the order of the config."""
        return tuple(feature for feature in self.features if feature.table == table)

    def __post_init__(self) -> None:
        require(self.name != "", "name", self.name, "a name for the dataset")
        self._check_slates()
        self._check_answers()
        self._check_features()
        self._check_slices()

    def _check_slices(self) -> None:
        sliceable = [
            feature.name
            for feature in self.features
            if feature.kind == "categorical" or (feature.numeric and feature.level == "candidate")
        ]
        for index, name in enumerate(self.slice_by):
            require(
                name in sliceable,
                f"slice_by[{index}]",
                name,
                f"a category, or a number of candidates: {', '.join(sliceable) or 'none'}",
            )
        _refuse_repeats("slice_by", self.slice_by)

    def _check_slates(self) -> None:
        has_id, rebuild = self.columns.request_id is not None, self.slate.rebuild
        require(
            has_id or rebuild is not None,
            "slate.rebuild",
            rebuild,
            "gap_minutes or by, as columns.request_id is not given",
        )
        if has_id and rebuild is not None:
            raise ConfigError(
                "slate.rebuild", "a rule", "none, as columns.request_id says what a slate is"
            )

    def _check_answers(self) -> None:
        asked = self.questionnaire
        if asked.from_behaviours is not None:
            require(
                self.tables.questionnaires is None,
                "tables.questionnaires",
                self.tables.questionnaires,
                "none, as questionnaire.from_behaviours is given",
            )
            for name in ("satisfied", "dissatisfied"):
                column = getattr(asked.from_behaviours, name)
                require(
                    column not in self.behaviours.columns,
                    f"questionnaire.from_behaviours.{name}",
                    column,
                    "a column that is not in behaviours.columns: the answer must stay out of the "
                    "behaviour labels of its own row",
                )
            return
        require(
            self.tables.questionnaires is not None,
            "tables.questionnaires",
            None,
            "the table that questionnaire.columns describes",
        )
        assert asked.columns is not None
        if asked.columns.request_id is not None:
            require(
                self.columns.request_id is not None,
                "questionnaire.columns.request_id",
                asked.columns.request_id,
                "none, as columns.request_id is not given",
            )

    def _outcome_columns(self) -> dict[str, str]:
        """Columns known only after the item was shown, and the setting that says so."""
        outcomes = dict.fromkeys(self.behaviours.columns, "behaviours.columns")
        outcomes[self.columns.played.column] = "columns.played"
        if self.columns.true_satisfaction is not None:
            outcomes[self.columns.true_satisfaction] = "columns.true_satisfaction"
        if self.columns.exposed is not None:
            outcomes[self.columns.exposed] = "columns.exposed"
        stand_in = self.questionnaire.from_behaviours
        if stand_in is not None:
            for name in ("satisfied", "dissatisfied", "only_if"):
                column = getattr(stand_in, name)
                if column is not None:
                    outcomes[column] = f"questionnaire.from_behaviours.{name}"
        return outcomes

    def _check_features(self) -> None:
        require(
            any(feature.level == "candidate" for feature in self.features),
            "features",
            [feature.name for feature in self.features],
            "at least one feature of level candidate: without one, nothing can be ranked",
        )
        outcomes = self._outcome_columns()
        ids = {"user_id": self.columns.user_id, "item_id": self.columns.item_id}
        made: dict[str, str] = {}
        hashed = {"impressions": self.columns.user_id}
        if self.tables.users is not None:
            hashed["users"] = self.users_key
        for index, feature in enumerate(self.features):
            at = f"features[{index}]"
            if self.privacy.user_id_key_file is not None:
                require(
                    not feature.numeric or hashed.get(feature.table) != feature.column,
                    f"{at}.kind",
                    feature.kind,
                    "id or categorical: user ids are hashed (privacy.user_id_key_file)",
                )
            require(
                feature.table == "impressions" or getattr(self.tables, feature.table) is not None,
                f"{at}.table",
                feature.table,
                f"a table that is given: add tables.{feature.table}",
            )
            if feature.table == "impressions":
                require(
                    feature.column not in outcomes,
                    f"{at}.column",
                    feature.column,
                    "a column known before the item is shown; this one is the outcome "
                    f"({outcomes.get(feature.column)})",
                )
            if feature.name in ids:
                allowed = {ids[feature.name]}
                if feature.table != "impressions":
                    allowed.add(self._key(feature.table))
                level = "user" if feature.name == "user_id" else "candidate"
                require(
                    feature.column in allowed and feature.kind == "id" and feature.level == level,
                    f"{at}.name",
                    feature.name,
                    f"this name only for the id itself: column {ids[feature.name]}, kind id, "
                    f"level {level}",
                )
            for name in feature.transformed_names:
                require(
                    name not in made,
                    f"{at}.name",
                    feature.name,
                    f"another name: {name} is already made from {made.get(name)}",
                )
                made[name] = feature.name

    def _key(self, table: Literal["users", "items"]) -> str:
        own = getattr(self.tables, table).key
        return own or (self.columns.user_id if table == "users" else self.columns.item_id)

    @property
    def users_key(self) -> str:
        """The id column of the users table (which must be given)."""
        return self._key("users")

    @property
    def items_key(self) -> str:
        """The id column of the items table (which must be given)."""
        return self._key("items")


def _refuse_repeats(key: str, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        require(name not in names[:index], f"{key}[{index}]", name, "each name once")


def built_in_datasets() -> tuple[str, ...]:
    """Names of the datasets that come with the pipeline."""
    folder = resources.files("pipeline.logs") / "datasets"
    files = (Path(entry.name) for entry in folder.iterdir())
    return tuple(sorted(file.stem for file in files if file.suffix == ".yaml"))


def load_dataset_config(name_or_path: str | Path) -> DatasetConfig:
    """A built-in dataset by its name, or one's own by its file (ending in .yaml or .yml).

    Raises:
        ConfigError: neither a built-in name nor a readable file, or a file with an error.
    """
    text = str(name_or_path)
    if text in built_in_datasets():
        with resources.as_file(resources.files("pipeline.logs") / "datasets") as folder:
            return build(
                DatasetConfig, read_yaml(folder / f"{text}.yaml"), file=f"datasets/{text}.yaml"
            )
    if text.endswith((".yaml", ".yml")):
        return DatasetConfig.from_yaml(name_or_path)
    names = built_in_datasets()
    known = f"{', '.join(names)} or the path of a .yaml file{suggest(text, names)}"
    raise ConfigError("dataset", repr(text), known)

"""Where a dataset's tables are, and which of their columns plays which role."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.logs.checked import require


@dataclass(frozen=True)
class Table:
    """Where a table's files are.

    Attributes:
        path: glob (or several) relative to the data directory. The ending says the format:
            `.parquet`, `.csv` or `.csv.gz`.
        key: users and items only: the column with the id. Default: the column of that id in the
            impressions table.
    """

    path: tuple[str, ...]
    key: str | None = None

    def __post_init__(self) -> None:
        require(len(self.path) > 0, "path", self.path, "at least one file name or glob")
        for index, pattern in enumerate(self.path):
            require(
                pattern.endswith((".parquet", ".csv", ".csv.gz")),
                f"path[{index}]",
                pattern,
                "a name or glob ending in .parquet, .csv or .csv.gz",
            )
            inside = not Path(pattern).is_absolute() and ".." not in Path(pattern).parts
            require(inside, f"path[{index}]", pattern, "a path inside the data directory (no '..')")


@dataclass(frozen=True)
class Tables:
    """The four tables. Impressions are required, the others optional."""

    impressions: Table
    questionnaires: Table | None = None
    users: Table | None = None
    items: Table | None = None

    def __post_init__(self) -> None:
        for name in ("impressions", "questionnaires"):
            table = getattr(self, name)
            if table is not None:
                require(
                    table.key is None,
                    f"{name}.key",
                    table.key,
                    "no key here: only users and items have one",
                )


@dataclass(frozen=True)
class TimeColumn:
    """A point in time.

    Attributes:
        column: its name. A Parquet timestamp says its own unit (without a zone: UTC).
        unit: of a number, since 1970 UTC; or `iso8601` for text (without a zone: UTC).
    """

    column: str
    unit: Literal["s", "ms", "us", "ns", "iso8601"] = "ms"


@dataclass(frozen=True)
class DurationColumn:
    """A length of time, a number in `unit`."""

    column: str
    unit: Literal["s", "ms", "us"] = "ms"


@dataclass(frozen=True)
class ImpressionColumns:
    """Which column of the impressions table plays which role.

    Attributes:
        user_id, item_id: any integer or text; carried as text.
        time: when the impression (or its request) happened.
        played, duration: how long it was played, how long the item is. May be empty where the
            item was not exposed.
        request_id: the rows that share one are one slate. None: slates are rebuilt from time
            (`slate.rebuild`).
        position: rank in the slate, from the top. None: the order of the rows in the file.
        exposed: true/false or 1/0: did the user see it. None: every row was seen.
        true_satisfaction: known only to simulators. Used to evaluate, never as a feature.
    """

    user_id: str
    item_id: str
    time: TimeColumn
    played: DurationColumn
    duration: DurationColumn
    request_id: str | None = None
    position: str | None = None
    exposed: str | None = None
    true_satisfaction: str | None = None


@dataclass(frozen=True)
class QuestionnaireColumns:
    """Which column of the questionnaires table plays which role.

    Attributes:
        user_id, item_id: of the impression asked about.
        issued: when the question was shown.
        answered: when it was answered; empty if it was not. Logs with one time only name the
            same column twice.
        answer: the chosen option; empty if the question was not answered.
        request_id: of the impression asked about. None: the user's latest impression of the
            item before `issued`.
    """

    user_id: str
    item_id: str
    issued: TimeColumn
    answered: TimeColumn
    answer: str
    request_id: str | None = None

"""One input of the model: where it is read from and how it is encoded."""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.logs.checked import require

Level = Literal["user", "context", "candidate"]
Kind = Literal["id", "categorical", "numeric"]
TableName = Literal["users", "items", "impressions"]

EMBEDDING_BY_KIND = {"id": 64, "categorical": 32, "numeric": 8}
BUCKETS_BY_KIND = {"id": 16384, "categorical": 1024, "numeric": 16}

# Names the slate's example uses for itself; a feature may not take one of them.
RESERVED_NAMES = frozenset(
    {
        "request_id",
        "time",
        "group_time",
        "pair_group",
        "exposed",
        "played_seconds",
        "behaviour_level",
        "answer",
        "answer_label",
        "popularity",
        "true_satisfaction",
        "mask",
        "score",
        "satisfaction",
    }
)


@dataclass(frozen=True)
class FeatureConfig:
    """One input of the model.

    Attributes:
        name: lower case letters, digits and `_`; its name from here to the served signature.
        table: where it is read from.
        column: its column there. Default: `name`.
        level: `user` and `context` have one value a request, `candidate` one a candidate.
        kind: `id` and `categorical` are hashed into `buckets` and embedded; `numeric` is also
            bucketised by quantiles, normalised, and ranked within the slate if `rank`.
        embedding: 64, 32 or 8. Default: 64 for an id, 32 for a category, 8 for a number.
        buckets: default 16384 for an id, 1024 for a category, 16 for a number.
        rank: add the rank among the slate's candidates (numbers of candidates only).
        default: stands for a missing value. Default: "" or 0.0.
    """

    name: str
    table: TableName
    level: Level
    kind: Kind
    column: str = ""
    embedding: Literal[64, 32, 8] | None = None
    buckets: int | None = None
    rank: bool = False
    default: str | float | None = None

    def __post_init__(self) -> None:
        def fill(name: str, value: Any) -> None:
            if getattr(self, name) in (None, ""):
                object.__setattr__(self, name, value)

        fill("column", self.name)
        fill("embedding", EMBEDDING_BY_KIND[self.kind])
        fill("buckets", BUCKETS_BY_KIND[self.kind])
        if self.default is None:
            object.__setattr__(self, "default", 0.0 if self.numeric else "")
        self._check()

    @property
    def numeric(self) -> bool:
        return self.kind == "numeric"

    @property
    def transformed_names(self) -> tuple[str, ...]:
        """What Transform makes of it: `<name>`, and for a number `<name>_z` and `<name>_rank`."""
        made = [self.name]
        if self.numeric:
            made.append(f"{self.name}_z")
        if self.rank:
            made.append(f"{self.name}_rank")
        return tuple(made)

    def _check(self) -> None:
        require(
            re.fullmatch(r"[a-z][a-z0-9_]*", self.name) is not None,
            "name",
            self.name,
            "lower case letters, digits and _, beginning with a letter",
        )
        taken = self.name in RESERVED_NAMES or self.name.startswith("behaviour_")
        require(not taken, "name", self.name, "another name: the slate uses this one itself")
        allowed = {"users": ("user",), "items": ("candidate",)}
        levels = allowed.get(self.table, ("user", "context", "candidate"))
        require(
            self.level in levels,
            "level",
            self.level,
            f"{' or '.join(levels)} for a feature of the {self.table} table",
        )
        assert self.buckets is not None
        require(self.buckets >= 2, "buckets", self.buckets, "2 or more")
        if self.rank:
            require(
                self.numeric and self.level == "candidate",
                "rank",
                self.rank,
                "rank only with kind: numeric and level: candidate",
            )
        if self.numeric:
            require(
                isinstance(self.default, float) and math.isfinite(self.default),
                "default",
                self.default,
                "a finite number, as the feature is numeric",
            )
        else:
            require(
                isinstance(self.default, str),
                "default",
                self.default,
                f"text (in quotes), as the feature is of kind {self.kind}",
            )

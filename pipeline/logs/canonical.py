"""One raw batch → canonical columns, each value checked, each row kept or rejected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.logs import values as parse
from pipeline.logs.columns import DurationColumn, TimeColumn
from pipeline.logs.dataset_config import FromBehaviours
from pipeline.logs.dead_letters import Rejections
from pipeline.logs.errors import LogError
from pipeline.logs.feature_config import FeatureConfig
from pipeline.logs.files import LogPart, RawBatch
from pipeline.logs.user_ids import UserIdKey

# Codes of `answer`, in the order of the questionnaire's scale.
NOT_ANSWERED, DISSATISFIED, UNCERTAIN, SATISFIED = -1, 0, 1, 2

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_LONGEST_SECONDS = 366 * 86_400.0  # nothing is played longer than a year
_FEW_ROWS = 20  # fewer are too few to tell a wrong unit from wrong rows
_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def behaviour_column(name: str) -> str:
    """The canonical column of a behaviour."""
    return f"behaviour_{name}"


def feature_column(name: str) -> str:
    """The canonical column of a feature."""
    return f"feature_{name}"


@dataclass(frozen=True)
class Batch:
    """What became of a stretch of rows; `rows` and `rejected` together are all that were read.

    Attributes:
        rows: the good rows, in canonical columns, in the order of the file.
        rejected: dead letters of the others.
        missing: by feature, how often it was missing in `rows` and replaced by its default.
    """

    rows: pa.RecordBatch
    rejected: pa.RecordBatch
    missing: dict[str, int]


class CanonicalRows:
    """Builds the canonical columns of one raw batch.

    Each method reads one role's column, adds the canonical column and rejects the rows whose
    value will not do. The first reason found against a row is its reason.

    Args:
        part: where the batch is from.
        raw: the rows as the file has them.
        ids: the columns that identify a row in its dead letter.
        hashed: columns with user ids, and the key that replaces each by its hash.
    """

    def __init__(
        self,
        part: LogPart,
        raw: RawBatch,
        ids: Sequence[str],
        hashed: Mapping[str, UserIdKey] | None = None,
    ):
        self._part, self._raw = part, raw
        self._hashed = hashed or {}
        self._count = raw.rows.num_rows
        self._rejections = Rejections(raw.rows, ids, self._hashed)
        self._columns: dict[str, pa.Array] = {}
        self._missing: dict[str, np.ndarray] = {}
        self._texts: dict[str, parse.Parsed] = {}

    def id(self, name: str, column: str | None) -> None:
        """An id as text; without a column, null in every row."""
        if column is None:
            self._columns[name] = pa.nulls(self._count, pa.string())
            return
        text = self._text(column)
        self._rejections.add(f"bad_{name}", text.bad, column)
        self._rejections.add(f"missing_{name}", parse.nulls(text.values), column)
        self._columns[name] = text.values

    def time(self, name: str, of: TimeColumn, setting: str, *, required: bool = True) -> pa.Array:
        """A time in milliseconds, as `<name>_ms`.

        Raises:
            LogError: most times are impossible in the unit of `setting`, but not in another.
        """
        times = parse.parse_time(self._raw.rows.column(of.column), of.unit)
        if times.outside is not None:
            self._refuse_wrong_unit(times, of, setting)
        self._rejections.add(f"bad_{name}", times.bad, of.column)
        self._rejections.add(f"{name}_out_of_range", times.outside, of.column)
        if required:
            self._rejections.add(f"missing_{name}", parse.nulls(times.values), of.column)
        self._columns[f"{name}_ms"] = times.values
        return times.values

    def _refuse_wrong_unit(self, times: parse.Times, of: TimeColumn, setting: str) -> None:
        assert times.outside is not None
        wrong = int(times.outside.sum())
        if times.other_unit is None or self._count < _FEW_ROWS or 2 * wrong <= self._count:
            return
        column = self._raw.rows.column(of.column)
        if pa.types.is_timestamp(column.type):
            return  # its unit is its own
        row = int(np.flatnonzero(times.outside)[0])
        shown = column[row].as_py()
        shown = shown.decode() if isinstance(shown, bytes) else shown
        raise LogError(
            self._part.path,
            f"{shown} {of.unit} since 1970 is not between the years 2000 and 2100",
            f"these are {times.other_unit}: set {setting}.unit to {times.other_unit} in the "
            "dataset config",
            column=of.column,
            row=int(self._raw.numbers[row]),
        )

    def position(self, column: str | None) -> None:
        """The position in the slate as int32, null where there is none."""
        if column is None:
            self._columns["position"] = pa.nulls(self._count, pa.int32())
            return
        whole = parse.parse_whole(self._raw.rows.column(column))
        inside = pc.and_(pc.less(whole.values, 2**31), pc.greater(whole.values, -(2**31)))
        fits = pc.fill_null(inside, True)
        large = ~parse.as_mask(fits)
        self._rejections.add("bad_position", parse.either(whole.bad, large), column)
        self._columns["position"] = pc.if_else(fits, whole.values, None).cast(pa.int32())

    def exposed(self, column: str | None) -> np.ndarray:
        """Whether the user saw the item; returned as a mask too."""
        if column is None:
            seen = np.ones(self._count, bool)
        else:
            flag = parse.parse_flag(self._raw.rows.column(column))
            self._rejections.add("bad_exposed", flag.bad, column)
            self._rejections.add("missing_exposed", parse.nulls(flag.values), column)
            seen = parse.as_mask(pc.fill_null(flag.values, False))
        self._columns["exposed"] = pa.array(seen)
        return seen

    def played(self, of: DurationColumn, exposed: np.ndarray) -> None:
        """How long the item was played, as `played_s`; nothing was without exposure."""
        seconds = self._seconds("played", of, exposed)
        self._rejections.add("used_without_exposure", (seconds > 0) & ~exposed, of.column)

    def duration(self, of: DurationColumn, exposed: np.ndarray) -> None:
        """How long the item is, as `duration_s`."""
        self._seconds("duration", of, exposed)

    def _seconds(self, name: str, of: DurationColumn, exposed: np.ndarray) -> np.ndarray:
        """A length of time as `<name>_s`; 0 where missing on an unexposed row."""
        number = parse.parse_number(self._raw.rows.column(of.column))
        gone = parse.nulls(number.values)
        seconds = pc.fill_null(number.values, 0.0).to_numpy() * _SECONDS[of.unit]
        endless = np.isinf(seconds)
        self._rejections.add(f"bad_{name}", parse.either(number.bad, endless), of.column)
        self._rejections.add(f"negative_{name}", seconds < 0, of.column)
        self._rejections.add(f"{name}_out_of_range", seconds > _LONGEST_SECONDS, of.column)
        if gone is not None:
            self._rejections.add(f"missing_{name}", gone & exposed, of.column)
        self._columns[f"{name}_s"] = pa.array(seconds)
        return seconds

    def behaviour(self, name: str, exposed: np.ndarray, counts: bool) -> None:
        """A behaviour as 0/1 int8; 0 where missing on an unexposed row."""
        done = self._flag(name, exposed, counts)
        self._rejections.add("used_without_exposure", done & ~exposed, name)
        self._columns[behaviour_column(name)] = pa.array(done.view(np.int8))

    def _flag(self, column: str, exposed: np.ndarray, counts: bool = False) -> np.ndarray:
        flag = parse.parse_flag(self._raw.rows.column(column), count=counts)
        self._rejections.add("bad_behaviour", flag.bad, column)
        gone = parse.nulls(flag.values)
        if gone is None:
            return parse.as_mask(flag.values)
        self._rejections.add("missing_behaviour", gone & exposed, column)
        return parse.as_mask(pc.fill_null(flag.values, False))

    def stand_in(self, rule: FromBehaviours, exposed: np.ndarray) -> None:
        """`answer` from two behaviours; rows with both are rejected."""
        good = self._flag(rule.satisfied, exposed)
        poor = self._flag(rule.dissatisfied, exposed)
        columns = (rule.satisfied, rule.dissatisfied)
        self._rejections.add("satisfied_and_dissatisfied", good & poor, *columns)
        asked = exposed
        if rule.only_if is not None:
            asked = exposed & self._flag(rule.only_if, exposed)
        answer = np.full(self._count, NOT_ANSWERED, np.int8)
        answer[asked & good] = SATISFIED
        answer[asked & poor] = DISSATISFIED
        self._columns["answer"] = pa.array(answer)

    def true_satisfaction(self, column: str) -> None:
        """A simulator's true satisfaction as float32."""
        number = parse.parse_number(self._raw.rows.column(column))
        finite = pc.less_equal(pc.abs(number.values), _LARGEST_FLOAT)
        endless = ~parse.as_mask(pc.fill_null(finite, True))
        name = "true_satisfaction"
        self._rejections.add(f"bad_{name}", parse.either(number.bad, endless), column)
        self._rejections.add(f"missing_{name}", parse.nulls(number.values), column)
        self._columns[name] = number.values.cast(pa.float32())

    def answer(
        self, column: str, answered: TimeColumn, codes: dict[str, int], issued_ms: pa.Array
    ) -> None:
        """`answer` as a code and `answered_ms`, which have to go together."""
        text = self._text(column)
        known = pc.index_in(text.values, value_set=pa.array(list(codes), pa.string()))
        code = pc.fill_null(pa.array(list(codes.values()), pa.int8()).take(known), NOT_ANSWERED)
        strange = parse.as_mask(pc.and_(text.values.is_valid(), known.is_null()))
        self._rejections.add("bad_answer", text.bad, column)
        self._rejections.add("unknown_answer", strange, column)
        setting = "questionnaire.columns.answered"
        answered_ms = self.time("answered", answered, setting, required=False)
        has_answer = code.to_numpy() != NOT_ANSWERED
        has_time = parse.as_mask(answered_ms.is_valid())
        both = (column, answered.column)
        self._rejections.add("missing_answered", has_answer & ~has_time, *both)
        self._rejections.add("missing_answer", has_time & ~has_answer, *both)
        early = parse.as_mask(pc.fill_null(pc.less(answered_ms, issued_ms), False))
        self._rejections.add("answered_before_issued", early, answered.column)
        self._columns["answer"] = code

    def feature(self, feature: FeatureConfig) -> None:
        """A feature as text or float32, its default where it is missing."""
        column = feature.column
        if feature.numeric:
            parsed = parse.parse_number(self._raw.rows.column(column))
            finite = pc.less_equal(pc.abs(parsed.values), _LARGEST_FLOAT)
            endless = ~parse.as_mask(pc.fill_null(finite, True))
            self._rejections.add("infinite_feature", endless, column)
        else:
            parsed = self._text(column)
        self._rejections.add("bad_feature", parsed.bad, column)
        gone = parse.nulls(parsed.values)
        values = parsed.values
        if gone is not None:
            self._missing[feature.name] = gone
            values = pc.fill_null(values, feature.default)
        kind = pa.float32() if feature.numeric else pa.string()
        self._columns[feature_column(feature.name)] = values.cast(kind)

    def batch(self) -> Batch:
        """The rows nothing was found against, and the dead letters of the others."""
        part, raw, kept = self._part, self._raw, self._rejections.kept
        self._columns["_file"] = pa.array(np.full(self._count, part.index, np.int32))
        self._columns["_row"] = pa.array(raw.numbers)
        rows = pa.RecordBatch.from_pydict(self._columns)
        if kept is not None:
            rows = rows.filter(pa.array(kept))
        rejected = self._rejections.letters(part.table, part.name, raw.numbers, raw.malformed)
        missing = {
            name: int(gone.sum() if kept is None else (gone & kept).sum())
            for name, gone in self._missing.items()
        }
        return Batch(rows, rejected, {name: n for name, n in missing.items() if n})

    def _text(self, column: str) -> parse.Parsed:
        if column not in self._texts:
            text = parse.parse_text(self._raw.rows.column(column))
            if column in self._hashed:
                text = parse.Parsed(self._hashed[column].hash_all(text.values), text.bad)
            self._texts[column] = text
        return self._texts[column]

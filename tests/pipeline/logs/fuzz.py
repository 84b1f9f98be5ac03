"""The mutation fuzzer of logs and dataset configs.

    python -m tests.pipeline.logs.fuzz --inputs 10000

Every mutated input is refused with one of our own errors, which names the file or the setting and
says what to do; or each row of each of its files is used or a dead letter with a reason. Any other
outcome is printed with its seed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.example_gen.columnar import one_chunk
from pipeline.example_gen.counts import Counts, counts_report, read_counts
from pipeline.example_gen.example_encoding import encode_examples
from pipeline.example_gen.examples import example_batch, popularity_of
from pipeline.example_gen.slates import build_slates
from pipeline.example_gen.time_plan import TimeHistogram, TimePlan
from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.errors import LogError
from pipeline.logs.files import LogPart
from pipeline.logs.readers import (
    QUESTIONNAIRE_ROWS,
    find_tables,
    no_impressions,
    read_features,
    read_impressions,
    read_questionnaires,
)
from pipeline.online.span_examples import write_span_examples
from pipeline.online.spans import Span
from tests.pipeline.logs.mutations import Mutant, write_mutant

_KINDS = {"questionnaires": "answers"}


def outcome(mutant: Mutant) -> str:
    """`refused` or `read`.

    Raises:
        AssertionError: a row was lost, or an error does not say where or what to do.
        Exception: anything else went wrong, which nothing should.
    """
    try:
        config = DatasetConfig.from_yaml(mutant.config)
    except ConfigError as error:
        _require_clear(str(error), str(mutant.config), "; expected ")
        return "refused"
    try:
        _read(config, mutant.logs)
    except ConfigError as error:  # the key of the user ids is looked for when logs are read
        _require_clear(str(error), "privacy.user_id_key_file", "; expected ")
        return "refused"
    except LogError as error:
        _require_clear(str(error), str(mutant.logs), error.problem, error.remedy)
        return "refused"
    _learn_as_span(config, mutant)
    return "read"


def _learn_as_span(config: DatasetConfig, mutant: Mutant) -> None:
    """The same files as a span of online learning, which can be read, as the log could."""
    out = mutant.config.parent / "examples"
    span = Span.at(mutant.logs)
    report = write_span_examples(
        span, config, None, out, mutant.config.parent / "store", shared=mutant.logs
    )
    answers = report["answers"]
    lost = answers["late_rejected"] + answers["duplicates"] + sum(answers["rejected"].values())
    if config.tables.questionnaires is not None:
        assert _letters(out, "questionnaires") == lost
        rejected = sum(report["impressions"]["rejected"].values())
        assert _letters(out, "impressions") == rejected


def _letters(out: Path, table: str) -> int:
    return sum(
        pq.read_metadata(path).num_rows for path in out.glob(f"dead_letters/{table}-*.parquet")
    )


def _require_clear(message: str, *parts: str) -> None:
    """An error says where and what to do, in a line that somebody reads."""
    for part in parts:
        assert part, message
        assert part in message
    assert "\n" not in message
    assert len(message) < 3000


def _read(config: DatasetConfig, logs: Path) -> None:
    """What ExampleGen does, in one process and one shard; then counts and letters are compared."""
    found = find_tables(config, logs)
    counts: Counts = Counter()
    letters: list[pa.Table] = []
    tables: dict[str, pa.Table | None] = {"questionnaires": None, "users": None, "items": None}
    tables["impressions"] = no_impressions(config)
    for name, parts in found.items():
        if name in ("users", "items"):
            read = read_features(config, parts)
            counts.update(read_counts(name, read))
            letters.append(read.rejected)
            tables[name] = read.rows
            continue
        reader = read_impressions if name == "impressions" else read_questionnaires
        nothing = tables[name] if name == "impressions" else QUESTIONNAIRE_ROWS.empty_table()
        batches = [nothing]
        for part in parts:
            for batch in reader(config, part):
                counts.update(read_counts(name, batch))
                letters.append(pa.Table.from_batches([batch.rejected]))
                batches.append(pa.Table.from_batches([batch.rows]))
        tables[name] = pa.concat_tables(batches)
    impressions = tables["impressions"]
    times = TimeHistogram.of(one_chunk(impressions, "time_ms").to_numpy())
    plan = TimePlan.of(TimeHistogram.sum([times]), config.split.eval_fraction)
    built = build_slates(
        impressions,
        tables["questionnaires"],
        tables["users"],
        config,
        split_time_ms=plan.split_time_ms,
        file_names={name: tuple(part.name for part in parts) for name, parts in found.items()},
    )
    counts.update(built.counts)
    letters.append(built.dead_letters)
    _look_at_examples(built.slates, tables["items"], built.liked, config)
    names = [feature.name for feature in config.features]
    report = counts_report(counts, split_time_ms=plan.split_time_ms, features=names)
    _account(report, found, pa.concat_tables(letters), stand_in="questionnaires" not in found)


def _look_at_examples(
    slates: pa.Table, items: pa.Table | None, liked: pa.Table, config: DatasetConfig
) -> None:
    batch = example_batch(slates.combine_chunks(), items, popularity_of([liked]), config)
    assert len(encode_examples(batch)) == slates.num_rows
    for feature in config.features:
        values = batch.column(batch.schema.get_field_index(feature.name))
        flat = values.flatten() if feature.level == "candidate" else values
        assert flat.null_count == 0, feature.name
        if feature.numeric:
            assert np.isfinite(flat.to_numpy(zero_copy_only=False)).all(), feature.name
    answers = batch.column(batch.schema.get_field_index("answer")).flatten().to_numpy()
    assert set(answers.tolist()) <= {-1, 0, 1, 2}


def _account(
    report: dict, found: dict[str, tuple[LogPart, ...]], letters: pa.Table, *, stand_in: bool
) -> None:
    """Rows in the files = rows read = used + rejected, and every rejected row has a letter."""
    of_table = Counter(letters["table"].to_pylist())
    assert all(letters["reason"].to_pylist())
    for name, parts in found.items():
        kind = report[_KINDS.get(name, name)]
        rows = sum(_rows(path) for path in dict.fromkeys(part.path for part in parts))
        assert kind["read"] == rows, f"{name}: {kind['read']} read of {rows}"
        rejected = sum(kind["rejected"].values()) + kind.get("late", 0)
        if not stand_in or name != "impressions":
            assert of_table[name] == rejected, f"{name}: {of_table[name]} letters, {rejected} lost"


def _rows(path: str) -> int:
    if path.endswith(".parquet"):
        return pq.read_metadata(path).num_rows
    with pa.input_stream(path, compression="detect") as stream:
        data = stream.read()
    return data.count(b"\n") + (not data.endswith(b"\n")) - 1


def fuzz(seeds: range) -> tuple[Counter[str], list[str]]:
    """Outcomes of the inputs of these seeds, and what went wrong, each with its seed."""
    outcomes: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            mutant = write_mutant(Path(folder) / "input", seed)
            try:
                outcomes[outcome(mutant)] += 1
            except Exception:
                outcomes["wrong"] += 1
                done = "; ".join(mutant.done)
                wrong.append(f"seed {seed} ({done})\n{traceback.format_exc()}")
    return outcomes, wrong


def main() -> int:
    """Runs it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first input")
    options = parser.parse_args()
    started = time.monotonic()
    outcomes, wrong = fuzz(range(options.seed, options.seed + options.inputs))
    for one in wrong:
        print(one, file=sys.stderr)
    told = ", ".join(f"{number:,} {what}" for what, number in sorted(outcomes.items()))
    print(f"{options.inputs:,} inputs: {told}; {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

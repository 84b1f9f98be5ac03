"""What is known of each span, a line of JSON each, appended as spans are done."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.plain_data import plain
from pipeline.whole_files import write_in_one_step


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a record; after a crash it is there or not, and half a line is ignored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(plain(record), allow_nan=False)
    with path.open("a+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # what a crash cut short
                file.write(b"\n")
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """All whole records; none where there is no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def keep_until(path: Path, sequence: int) -> None:
    """Drops the records after a commit: they were written but their span was not done."""
    records = read(path)
    kept = [record for record in records if record["sequence"] <= sequence]
    if len(kept) < len(records):
        write_in_one_step(path, "".join(json.dumps(record) + "\n" for record in kept))

"""`easq simulate --spans`: what lies where, and what to do with it."""

import pytest

from pipeline.online.spans import find_spans
from tests.cli.test_command_line import run

SMALL = ("--requests", 200, "--days", 3)


def test_spans_and_the_base_before_them(capsys, tmp_path):
    out = tmp_path / "logs"
    arguments = ("simulate", "--out", out, *SMALL, "--spans", "daily", "--base-days", 1)
    code, said, _ = run(*arguments, capsys=capsys)
    assert code == 0
    assert [span.name for span in find_spans(out)] == ["2024-01-02", "2024-01-03"]
    assert (out / "_base" / "impressions.parquet").exists()
    assert f"easq run --data-dir {out}/_base; then learn them with: easq online --watch {out}" in (
        said.replace("\n", " ")
    )
    assert "impressions" in said
    assert "2,400" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--base-days", 1), 2, "--base-days is for --spans"),
        (("--spans", "weekly"), 2, "weekly"),
        (("--spans", "daily", "--base-days", 3), 1, "expected less than the 3 days"),
    ],
)
def test_what_makes_no_spans_is_refused(arguments, code, message, capsys, tmp_path):
    found, _, said = run("simulate", "--out", tmp_path / "x", *SMALL, *arguments, capsys=capsys)
    assert (found, message in said) == (code, True)

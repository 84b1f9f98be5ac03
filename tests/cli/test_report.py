"""`easq report`: wrong usage, and runs that cannot be compared, in one line."""

import json

import pytest

from cli.main import main


def run(*arguments, capsys):
    code = main(["report", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("both", [False, True], ids=["nothing", "one run and two to compare"])
def test_one_run_or_two_to_compare(both, capsys, tmp_path):
    given = [tmp_path, "--compare", tmp_path, tmp_path] if both else []
    code, _, err = run(*given, capsys=capsys)
    assert code == 2
    assert "either the work folder of a run, or --compare" in err


@pytest.mark.parametrize("compare", [False, True])
def test_a_folder_that_is_no_run_is_named(compare, capsys, tmp_path):
    given = ["--compare", tmp_path, tmp_path] if compare else [tmp_path]
    code, _, err = run(*given, capsys=capsys)
    assert code == 1
    assert err.strip() == (
        f"Error: {tmp_path} holds no report.json; expected the work folder of a finished easq run"
    )


def test_runs_on_two_datasets_are_refused_before_anything_is_written(capsys, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        report = {"format": 2, "run": {"dataset": name}}
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    out = tmp_path / "comparison.html"
    code, _, err = run(
        "--compare", tmp_path / "one", tmp_path / "other", "--out", out, capsys=capsys
    )
    assert code == 1
    assert "compare two runs on the same dataset" in err
    assert not out.exists()

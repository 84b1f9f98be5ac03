"""`easq experiment`: wrong usage is answered with what there is, and exit code 2."""

import pytest

from cli.main import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["table2"], "there are: validity, frontier, table1"),
        (["frontier", "--scenario", "medium"], "there are: mild, strong"),
        (["frontier", "--method", "EASK"], "there are: EMER, EMER_s-pair"),
        (["frontier", "--seeds", "0..3"], "expected such as 0-7 or 0,2,5"),
        (["frontier", "--density", "3"], "is not between"),
        (["sensitivity", "--method", "Blend"], "is about EASQ; none of them was asked for"),
    ],
)
def test_wrong_usage_gets_the_list(arguments, told, tmp_path, capfd):
    assert main(["experiment", *arguments, "--out", str(tmp_path)]) == 2

    assert told in capfd.readouterr().err
    assert not list(tmp_path.glob("*.json"))


def test_the_page_of_an_empty_folder_is_empty(tmp_path, capfd):
    assert main(["experiment", "report", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8").startswith("# Results")
    assert "README.md" in capfd.readouterr().out

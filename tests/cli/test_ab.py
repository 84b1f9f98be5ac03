"""`easq ab` on the command line: what is refused before anything runs, and what is shown."""

import json

import pytest

from cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--treatment", "EASK"], "did you mean 'EASQ'"),
        (["--days", "0"], "--days"),
        (["--users", "60", "--settings", "SETTINGS"], "an unknown key"),
    ],
)
def test_wrong_usage_is_refused_at_once(arguments, message, tmp_path, capsys):
    wrong = tmp_path / "ab.yaml"
    wrong.write_text("{dayz: 7}")
    given = [str(wrong) if word == "SETTINGS" else word for word in arguments]
    assert main(["ab", "--workdir", str(tmp_path / "out"), *given]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_go_before_the_file_and_the_report_is_written_and_shown(
    tmp_path, capfd, monkeypatch
):
    from experiments.ab import run

    estimate = {"value": 0.02, "low": 0.01, "high": 0.03}
    row = {
        "metric": "watch_time",
        "title": "Watch time",
        "better": 1,
        "control": 10.0,
        "treatment": 10.2,
        "difference": estimate,
        "adjusted_difference": estimate,
        "lift": estimate,
        "adjusted": estimate,
        "users_needed": 1000,
    }
    asked = []

    def run_ab(settings, folder, *, step):
        asked.append(settings)
        with step("History") as detail:
            detail("12 requests")
        return {
            "settings": settings.to_dict(),
            "lifts": [row],
            "daily": [{"day": 1, "measured": True, "lifts": [row]}],
            "split": {"assigned": {"control": 5, "treatment": 5, "mismatch_p_value": 1.0}},
            "resplits": None,
            "learnt": {"control": [], "treatment": []},
        }

    monkeypatch.setattr(run, "run_ab", run_ab)
    chosen = tmp_path / "ab.yaml"
    chosen.write_text("{users: 100, days: 9}")
    out = tmp_path / "out"

    assert main(["ab", "--settings", str(chosen), "--users", "50", "--workdir", str(out)]) == 0

    assert (asked[0].users, asked[0].days, asked[0].treatment) == (50, 9, "EASQ")
    shown = capfd.readouterr().err
    assert "History" in shown
    assert "+2.00 % (+1.00 to +3.00)" in shown
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert set(report["seconds"]) == {"Imports", "History"}
    assert "| Watch time |" in (out / "report.md").read_text(encoding="utf-8")


def test_an_arm_that_fails_ends_the_command_with_one_sentence(tmp_path, capsys, monkeypatch):
    from experiments.ab import run
    from experiments.ab.arms import ArmError

    def run_ab(settings, folder, *, step):
        raise ArmError("the control arm: its training process died")

    monkeypatch.setattr(run, "run_ab", run_ab)
    assert main(["ab", "--workdir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.strip() == "Error: the control arm: its training process died"

"""`easq users`: ids hashed as the logs' are, users forgotten."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import easq, main
from tests.pipeline.example_gen.small_logs import config
from tests.pipeline.forget.forgetting import OTHER, THEM, logs_of
from tests.pipeline.online.span_folders import write_span

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(easq, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_hash_of_the_documentation_is_that_of_the_command(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    found: dict[str, object] = {}
    exec(code, found)
    (tmp_path / "user_id.key").write_bytes(found["key"] + b"\n")
    assert (
        run("users", "hash", "--key-file", tmp_path / "user_id.key", "1017", "1018").split()[0]
        == (found["user_id"])
    )


def test_a_short_key_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_text("short")
    assert main(["users", "hash", "--key-file", str(tmp_path / "key"), "1"]) == 2
    assert "a key of 5 bytes; expected 32 bytes or more" in capsys.readouterr().err


def test_users_are_forgotten_in_logs_and_counts_add_up(tmp_path: Path) -> None:
    dataset = tmp_path / "logs.yaml"
    dataset.write_text(config().to_json())  # JSON is YAML
    for number, (shown, answers) in enumerate(logs_of(THEM, OTHER), start=1):
        write_span(tmp_path, str(number), shown, answers, users={THEM: 20.0, OTHER: 30.0})
    logs = tmp_path / "spans"
    before = {path: path.read_bytes() for path in logs.rglob("*.parquet")}
    assert any(THEM.encode() in content for content in before.values())
    said = run("users", "forget", THEM, "--logs", logs, "--dataset", dataset)
    # Three requests of two items; an answer at once in each, two late ones, one that waits.
    assert re.findall(r"(\d+)  rows of (\w+)", said) == [
        ("6", "impressions"), ("3", "users"), ("6", "questionnaires"),
    ]  # fmt: skip
    for path in before:
        assert THEM.encode() not in path.read_bytes()
    again = run("users", "forget", THEM, "--logs", logs, "--dataset", dataset)
    assert again == "Nothing of them was found.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["1"], 2, "--logs or --workdir is needed: where to look"),
        (["1", "--logs", "."], 2, "--dataset is needed: what the logs mean"),
        (["1", "--logs", "docs", "--dataset", "simulated"], 1, "no file of the dataset simulated"),
        (["1", "--logs", ".", "--dataset", "simulatd"], 2, "did you mean 'simulated'?"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["users", "forget", *arguments]) == code
    assert said in capsys.readouterr().err

"""The examples in docs/serving.md, run against a server."""

from __future__ import annotations

import json
import re
import shlex
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from serving.client import RankingClient, canary_label
from serving.flags import parse_flags
from tests.serving.conftest import Running, free_port

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text()
README = (ROOT / "README.md").read_text()
STRINGS = ["activity", "age_group", "hour", "top_topic", "user_id"]
CANDIDATE_STRINGS = ["author_id", "item_id", "style", "topic"]
CANDIDATE_NUMBERS = ["duration_s", "p_click", "p_like", "p_watch", "upload_day"]


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def easq(start_server: Callable[..., Running], tmp_path: Path) -> Running:
    """A model with the inputs of the simulated logs."""

    specs = {
        **{name: tf.TensorSpec([None], tf.string, name) for name in STRINGS},
        "registered_days": tf.TensorSpec([None], tf.float32, "registered_days"),
        **{name: tf.TensorSpec([None, None], tf.string, name) for name in CANDIDATE_STRINGS},
        **{name: tf.TensorSpec([None, None], tf.float32, name) for name in CANDIDATE_NUMBERS},
    }

    def rank(**inputs: Any) -> dict[str, Any]:
        return {"score": inputs["p_like"] + 0.01 * inputs["duration_s"]}

    module = tf.Module()
    module.rank = tf.function(rank, autograph=False)
    tf.saved_model.save(
        module,
        str(tmp_path / "easq" / "1"),
        signatures={"serving_default": module.rank.get_concrete_function(**specs)},
    )
    return start_server(
        model_name="easq", model_base_path=str(tmp_path / "easq"), rest_api_port=free_port()
    )


def run_curl(command: str, running: Running) -> Any:
    """What the curl command line does, on a machine that may have no curl."""
    program, *arguments = shlex.split(command)
    assert program == "curl"
    data = None
    if arguments[0] == "-d":
        data = arguments[1].encode()
        arguments = arguments[2:]
    (url,) = arguments
    url = url.replace("localhost:8501", f"127.0.0.1:{running.rest_port}")
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as response:
        return json.loads(response.read())


def run_curl_block(page: str, running: Running) -> list[Any]:
    (block,) = (one for one in blocks("sh", page) if "curl" in one)
    commands = [part for part in re.split(r"^(?=curl)", block, flags=re.MULTILINE) if part.strip()]
    return [run_curl(command, running) for command in commands]


def test_the_curl_examples(easq: Running) -> None:
    predicted, status, metadata = run_curl_block(PAGE, easq)
    assert predicted == {"predictions": [[pytest.approx(0.14), pytest.approx(0.535)]]}
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    assert metadata["model_spec"]["name"] == "easq"


def test_the_client_example_of_the_readme(
    easq: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = (one for one in blocks("python", README) if "RankingClient" in one)
    exec(compile(example.replace("127.0.0.1:8500", easq.address), "README", "exec"))
    # Without durations all are equal, and stay in the order they were sent.
    assert capsys.readouterr().out == "[('301', 0.0), ('7', 0.0), ('1204', 0.0)]\n"


def test_the_client_example(easq: Running, capsys: pytest.CaptureFixture[str]) -> None:
    example, canary = blocks("python")
    example = example.replace("localhost:8500", easq.address)
    exec(compile(example.replace("deadline_seconds=0.5", "deadline_seconds=10"), "page", "exec"))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["v2", "v3", "v1"]
    assert "canary_label(user_id, percent=5)" in canary
    assert canary_label("u", percent=5) in ("stable", "canary")
    with pytest.raises(ValueError, match="version or label"):
        RankingClient(easq.address, version=1, label="canary")


def test_the_command_line_example() -> None:
    command = shlex.split(blocks("sh")[0].replace("\\\n", " "))
    assert command[:2] == ["easq", "serve"]
    assert parse_flags(command[2:]).model_name == "easq"


def test_the_files_the_page_names_are_there() -> None:
    for path in re.findall(r"(?:serving|benchmarks)/[\w./-]+\w", PAGE):
        if path.startswith(("serving/apis", "serving_model")) or "<version>" in path:
            continue
        assert (ROOT / path).exists(), path

"""`easq kubeflow` writes what the engines take, and says what it could not work with."""

import json

import pytest
from kfp.components import load_component_from_file

from cli.main import main

CONFIG = """
pipeline_root: gs://bucket/pipelines
logs: gs://bucket/logs
serving_dir: gs://bucket/models/easq
image: registry.example/easq:1.0
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "kubeflow.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def run(*arguments, capsys):
    code = main(["kubeflow", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", ["easq.yaml", "easq.json"])
def test_a_pipeline_or_a_job_with_the_image_of_the_command_line(config, tmp_path, capsys, name):
    out = tmp_path / "out" / name
    code, said, _ = run(
        *("--dataset", "kuairand", "--config", config, "--image", "registry.example/easq:1.1"),
        *("--out", out),
        capsys=capsys,
    )
    assert code == 0
    assert said == f"Written to {out}\n"
    text = out.read_text(encoding="utf-8")
    assert "registry.example/easq:1.1" in text
    assert "registry.example/easq:1.0" not in text
    if name.endswith(".yaml"):
        loaded = load_component_from_file(str(out))
        assert loaded.name == "easq-kuairand"
        assert list(loaded.component_spec.inputs) == ["logs"]
    else:
        assert json.loads(text)["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/pipelines"


@pytest.mark.parametrize(
    ("line", "options", "said"),
    [
        ("logs: /data/logs", (), "logs: found '/data/logs'; expected gs://…"),
        ("windows_spans: 7", (), "did you mean 'window_spans'?"),
        ("", ("--image", "easq"), "image: found 'easq'; expected an image with the tag"),
        ("", ("--dataset", "simulatde"), "simulatde"),
        ("", ("--out", "easq.txt"), "out: found 'easq.txt'; expected a name that ends in .yaml"),
    ],
)
def test_what_no_cluster_could_run_is_wrong_usage(config, tmp_path, capsys, line, options, said):
    key = line.partition(":")[0]
    kept = [old for old in CONFIG.splitlines() if not key or not old.startswith(f"{key}:")]
    config.write_text("\n".join([*kept, line]), encoding="utf-8")
    given = {"--dataset": "simulated", "--config": config, "--out": tmp_path / "easq.yaml"}
    given.update(zip(options[::2], options[1::2], strict=True))
    code, _, err = run(*(part for pair in given.items() for part in pair), capsys=capsys)
    assert code == 2
    assert said in err
    assert not (tmp_path / "easq.yaml").exists()

"""What the command says and how it exits, without running a pipeline."""

import json
import subprocess
import sys

import pytest
from click import Context, Option

from cli.errors import first_cause
from cli.main import easq, main
from cli.run import _settings
from pipeline.logs.errors import LogError

COMMANDS = [*easq.list_commands(None), "spans split", "online status", "online rollback"]


def run(*arguments, capsys):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_lists_every_command_without_importing_any(capsys):
    code, out, _ = run("--help", capsys=capsys)
    assert code == 0
    for command in easq.list_commands(None):
        assert f"  {command} " in out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_says_what_each_option_is_and_has_an_example(command, capsys):
    code, out, _ = run(*command.split(), "--help", capsys=capsys)
    assert code == 0
    _, _, example = out.partition("Example")
    assert f"easq {command}" in example
    root = easq
    for name in command.split():
        root = root.get_command(Context(easq), name)
    unexplained = [
        one.name for one in root.params if isinstance(one, Option) and not (one.help or one.hidden)
    ]
    assert unexplained == []


def test_help_is_quick_because_nothing_heavy_is_imported():
    script = (
        "import sys; from cli.main import main; main(['run', '--help']);"
        "print(sorted({'tensorflow', 'tfx', 'keras', 'apache_beam'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["rn"], "No such command 'rn'. Did you mean 'run'? (see easq --help)"),
        (["xyz"], "No such command 'xyz'. (see easq --help)"),
        (["simulate"], "Missing option '--out'. (see easq simulate --help)"),
        (["spans", "split"], "Missing option '--dataset'. (see easq spans split --help)"),
        (["serve", "--prt=1"], "unknown argument: --prt=1 (see easq serve --help)"),
    ],
)
def test_wrong_usage_is_told_in_one_line(given, said, capsys):
    code, out, err = run(*given, capsys=capsys)
    assert (code, out, err) == (2, "", f"Error: {said}\n")


def test_an_error_of_the_system_names_the_file(capsys, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run("simulate", "--out", tmp_path / "file" / "logs", capsys=capsys)
    assert (code, err) == (1, f"Error: {tmp_path}/file/logs: not a directory\n")


def test_simulated_logs_are_written_and_counted(capsys, tmp_path):
    code, out, _ = run("simulate", "--out", tmp_path, "--requests", 200, capsys=capsys)
    assert code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "impressions.parquet",
        "questionnaires.parquet",
        "users.parquet",
        "items.parquet",
    }
    assert "2,400" in out  # 200 requests of 12 candidates


def test_a_misspelt_dataset_key_is_wrong_usage_and_named(capsys, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("name: mine\ntabels: {}\n")
    code, _, err = run("run", "--dataset", config, "--data-dir", tmp_path, capsys=capsys)
    assert code == 2
    assert err.startswith(f"Error: {config}: tabels: ")
    assert "did you mean 'tables'" in err.lower()
    assert len(err.splitlines()) == 1
    assert "--help" not in err


def test_an_unknown_dataset_is_wrong_usage_with_the_known_ones(capsys):
    code, _, err = run("run", "--dataset", "kuairnd", capsys=capsys)
    assert code == 2
    assert "kuairand" in err


def test_logs_of_a_real_service_need_their_folder(capsys):
    code, _, err = run("run", "--dataset", "kuairand", capsys=capsys)
    assert code == 2
    assert "--data-dir" in err


def test_an_empty_folder_fails_at_once_and_names_the_table(capsys, tmp_path):
    code, _, err = run("run", "--data-dir", tmp_path, "--workdir", tmp_path / "run", capsys=capsys)
    assert code == 1
    assert "impressions*.parquet" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("trainer: {batchsize: 3}", "batch_size"),
        ("trainer: {batch_size: 0}", "batch_size"),
        ("gate: {behaviour_loss: 2}", "behaviour_loss"),
        ("[1, 2]", "mapping"),
    ],
)
def test_a_wrong_setting_is_refused_at_start(settings, named, capsys, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(settings)
    code, _, err = run("run", "--settings", file, capsys=capsys)
    assert code == 2
    assert named in err


def test_an_unknown_method_is_wrong_usage_with_the_list(capsys):
    code, _, err = run("run", "--method", "EASK", capsys=capsys)
    assert code == 2
    for method in ("EMER_s-level", "SAQRec-listwise", "Imputation", "EASQ-w/o-LoRA"):
        assert method in err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--preset", "paper", "--method", "EMER"], "--preset is short for a --method"),
        (["--trials", 3], "--tune"),
        (["--tune", "--trials", 0], "--trials"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(options, named, capsys):
    code, _, err = run("run", *options, capsys=capsys)
    assert code == 2
    assert named in err


def test_options_are_laid_over_the_settings_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("trainer: {method: Blend, model: {alpha: 0.2}, seed: 3}\ntuning: {trials: 5}")
    as_is = {"method": None, "trials": None, "seed": None, "no_cache": False}
    settings = _settings(file, **as_is)
    assert (settings.trainer.method, settings.trainer.seed) == ("Blend", 3)
    assert (settings.tuning.trials, settings.enable_cache) == (5, True)
    changed = _settings(file, method="EASQ", trials=9, seed=4, no_cache=True)
    assert (changed.trainer.method, changed.trainer.seed) == ("EASQ", 4)
    assert changed.trainer.model_overrides == {"alpha": 0.2}
    assert (changed.tuning.trials, changed.enable_cache) == (9, False)


def test_predict_without_a_server_says_where_it_looked(capsys, tmp_path):
    slate = tmp_path / "slate.json"
    slate.write_text(json.dumps({"item_id": ["a"]}))
    code, _, err = run(
        "predict", slate, "--address", "127.0.0.1:9", "--deadline", 0.5, capsys=capsys
    )
    assert code == 1
    assert err.startswith("Error: 127.0.0.1:9: UNAVAILABLE: ")
    assert err.endswith("; start a server with easq serve, or name another with --address\n")


@pytest.mark.parametrize(("text", "named"), [("{", "not JSON"), ("[1]", "expected an object")])
def test_predict_refuses_what_is_no_slate(text, named, capsys, tmp_path):
    slate = tmp_path / "slate.json"
    slate.write_text(text)
    code, _, err = run("predict", slate, capsys=capsys)
    assert code == 1
    assert named in err


def test_the_first_cause_is_found_under_what_beam_wraps_around_it():
    worker = (
        "Traceback (most recent call last):\n"
        '  File "worker.py", line 1, in process\n'
        "pipeline.logs.errors.LogError: log.csv: column 'time': missing; rename it "
        "[while running 'Read']\n"
    )
    wrapped = RuntimeError("the bundle failed")
    wrapped.__cause__ = ValueError("inner")
    assert first_cause(wrapped) == "inner"
    assert first_cause(RuntimeError(worker)) == "log.csv: column 'time': missing; rename it"
    assert first_cause(KeyError()) == "KeyError"


def test_an_error_that_names_the_file_is_not_dug_through_to_the_library_s():
    library = OSError("magic bytes not found")
    ours = LogError("span/impressions.parquet", "cannot be read", "write it again")
    ours.__cause__ = library
    wrapped = RuntimeError("the step failed")
    wrapped.__cause__ = ours
    assert first_cause(wrapped) == str(ours)
    assert "span/impressions.parquet" in first_cause(wrapped)

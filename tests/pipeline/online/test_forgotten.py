"""The right to erasure where learning goes on: logs, stores, memories, models."""

import shutil

import pytest

from pipeline.forget import users
from pipeline.forget.users import JOURNAL, forget_users
from pipeline.local_runner import Workdir
from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.user_ids import UserIdKey
from pipeline.online.engine import OnlineEngine
from pipeline.online.spans import find_spans
from tests.pipeline.example_gen.written import files_under
from tests.pipeline.online.online_runs import SETTINGS, learn_all

KEY = b"k" * 32


def test_a_killed_and_repeated_command_leaves_no_trace_and_learning_goes_on(
    workdir, tiny_dataset, tiny_spans, tmp_path, monkeypatch
) -> None:
    (tmp_path / "key").write_bytes(KEY)
    privacy = {"user_id_key_file": str(tmp_path / "key")}
    dataset = DatasetConfig.from_dict({**tiny_dataset.to_dict(), "privacy": privacy})
    logs = tmp_path / "logs"
    shutil.copytree(tiny_spans[0].path.parent, logs)
    spans = find_spans(logs)
    engine = OnlineEngine(workdir, dataset, SETTINGS)
    engine.resume()
    learn_all(engine, spans[:1])
    engine.close()
    # Of those who answered, one who is trained on: their answers are remembered.
    them = "u3"
    hashed = UserIdKey(KEY).hash(them).encode()
    traces = [file for file, content in files_under(workdir.root).items() if hashed in content]
    assert any("Split-train" in file for file in traces)
    assert any("answered.arrow" in file for file in traces)
    # What an ExampleGen that was killed leaves: tables on their way, and no counts.
    killed_run = workdir.pipeline_root / "LogExampleGen" / "examples" / "3"
    for place in ("unfinished/shuffled", "Split-train"):
        (killed_run / place).mkdir(parents=True)
        (killed_run / place / "0").write_bytes(b"anything")
    before = sum(line.count(f",{them},") for line in lines_of(logs))
    assert before > 0

    with monkeypatch.context() as killed:
        killed.setattr(users.run_files, "forget_artifact", _killed)
        with pytest.raises(KeyboardInterrupt):
            forget_users([them], dataset, [logs], workdir)
    assert (workdir.root / JOURNAL).exists()
    found = forget_users([them], dataset, [logs], workdir)
    assert not (workdir.root / JOURNAL).exists()
    assert [(one.number, one.there) for one in found.versions] == [
        (version.number, True) for version in engine.state.versions if version.sequence
    ]
    assert found.versions[-1].learnt == ("span=1",)
    assert found.removed["examples"] > 0
    assert not killed_run.exists()
    assert found.removed["stored slates and answers"] > 0
    assert found.left == []
    assert [file for file, content in files_under(workdir.root).items() if hashed in content] == []
    assert sum(line.count(f",{them},") for line in lines_of(logs)) == 0

    engine = OnlineEngine(workdir, dataset, SETTINGS)
    engine.resume()
    # The spans are others now, and are not taken for new ones.
    assert [engine.is_new(span) for span in find_spans(logs)] == [False, True, True, True]
    engine.process(find_spans(logs)[1])
    engine.close()


def _killed(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def lines_of(logs):
    return [line for path in sorted(logs.rglob("*.csv")) for line in path.read_text().splitlines()]


def test_what_cannot_be_done_is_refused(tiny_dataset, tmp_path) -> None:
    with pytest.raises(ConfigError, match="USER: found no id"):
        forget_users([""], tiny_dataset, [tmp_path], None)
    with pytest.raises(RuntimeError, match="no such folder; give the work folder of a run"):
        forget_users(["u1"], tiny_dataset, [], Workdir(tmp_path / "none"))

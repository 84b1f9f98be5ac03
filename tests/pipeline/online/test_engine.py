"""The engine on four spans of a few rows, through the real pipeline of a span."""

import errno
import json
import shutil
from pathlib import Path

import pytest

from pipeline.online import engine as engine_module
from pipeline.online import series
from pipeline.online.engine import OnlineEngine
from pipeline.online.lineage import learnt_spans
from pipeline.online.report import build_online_report, render_online_html
from pipeline.online.rollback import rolled_back
from pipeline.online.spans import Span, SpanError, find_spans
from pipeline.online.state import OnlineFolder, read_state
from pipeline.run_artifacts import RunArtifact
from pipeline.trainer import CHECKPOINT
from tests.pipeline.online.online_runs import (
    FIRST_VERSION,
    SETTINGS,
    assert_same_weights,
    assert_servable,
    copy_of,
    learn_all,
    outcome,
)


class Crash(Exception):
    """What a test does to the engine."""


@pytest.fixture(scope="module")
def learnt(full_fit, tiny_transform_dir, tiny_dataset, tiny_spans, tmp_path_factory):
    """An engine that has learnt all spans without any interruption, and its folder."""
    root = tmp_path_factory.mktemp("learnt") / "run"
    workdir = copy_of(full_fit, root, tiny_transform_dir)
    engine = OnlineEngine(workdir, tiny_dataset, SETTINGS)
    engine.resume()
    results = [engine.process(span) for span in tiny_spans]
    yield workdir, results, engine
    engine.close()


def test_every_row_and_answer_of_every_span_is_learnt_once(learnt):
    _, results, _ = learnt
    counts = [result.counts for result in results]
    assert [one["impressions"]["used"] for one in counts] == [72] * 4  # 24 requests of 3
    for one in counts:
        assert one["slates"]["train"] + one["slates"]["holdout"] == 24
    heard = sum(one["answers"]["trained"] + one["answers"]["holdout"] for one in counts)
    # All but the twelve that have yet to land.
    assert heard == 4 * 24 - 12
    assert sum(one["answers"]["late_used"] for one in counts) == 3 * 12


def test_each_blessed_model_is_a_version_and_the_newest_ones_stay(learnt):
    workdir, results, _ = learnt
    assert [result.version for result in results] == [FIRST_VERSION + n for n in (1, 2, 3, 4)]
    folder = OnlineFolder(workdir)
    state = read_state(folder.state_file)
    assert [version.number for version in state.versions] == [1002, 1003, 1004]
    assert state.labels == {"stable": 1003, "canary": 1004}
    served = sorted(path.name for path in folder.serving_dir.iterdir())
    assert served == ["1002", "1003", "1004"]
    assert_servable(workdir)


def test_a_pushed_version_has_its_model_card(learnt):
    workdir, results, _ = learnt
    place = OnlineFolder(workdir).serving_dir / "1004" / "assets.extra"
    card = json.loads((place / "model_card.json").read_text(encoding="utf-8"))
    assert card["version"] == "1004"
    assert card["logs"] == (
        f"span {results[-1].name}, number 4 since the full fit; the version before it is 1003"
    )
    # The test before the span was learnt: what the online report shows of it too.
    assert card["evaluation"]["overall"]["rankers"]["model"]["pair_accuracy"]["mean"] == (
        pytest.approx(results[-1].prequential["model"]["pair_accuracy"]["mean"])
    )
    assert results[-1].reason in (place / "model_card.html").read_text(encoding="utf-8")


def test_what_no_state_refers_to_is_deleted(learnt):
    workdir, _, _ = learnt
    spans = OnlineFolder(workdir).root / "spans"
    # Two spans are kept, and the one that the oldest version came from.
    assert sorted(path.name for path in spans.iterdir()) == ["000002", "000003", "000004"]


def test_the_metadata_traces_a_version_to_its_spans(learnt, tiny_spans):
    workdir, _, _ = learnt
    state = read_state(OnlineFolder(workdir).state_file)
    found = learnt_spans(workdir.metadata, state.versions[0].model)
    assert found == [str(span.path.resolve()) for span in tiny_spans[:2]]


def test_the_series_has_a_record_a_span_and_the_report_shows_it(learnt):
    workdir, results, engine = learnt
    records = series.read(OnlineFolder(workdir).series_file)
    assert [record["span"] for record in records] == [result.name for result in results]
    report = build_online_report(engine.folder, engine.state)
    assert report["seconds"]["all"]["n"] == 4
    html = render_online_html(report)
    for record in records:
        assert record["reason"] in html
    assert html.count("<svg") >= 5


def test_a_span_is_tested_by_the_model_that_has_not_learnt_it(learnt):
    """The first span is scored by the untrained model: its LoRA path is still zero."""
    _, results, _ = learnt
    first, last = results[0].prequential["model"], results[-1].prequential["model"]
    assert first["behaviour_ndcg@10"]["n_users"] > 0
    assert last["pair_accuracy"]["n_pairs"] > first["pair_accuracy"]["n_pairs"]


def test_a_span_that_lands_twice_is_not_learnt_twice(learnt, tiny_spans, tmp_path):
    _, _, engine = learnt
    assert not engine.is_new(tiny_spans[0])
    with pytest.raises(SpanError, match="learnt already"):
        engine.process(tiny_spans[0])
    shutil.copytree(tiny_spans[0].path, tmp_path / "span=1")
    (tmp_path / "span=1" / "impressions.csv").write_text("request\n")
    with pytest.raises(SpanError):
        engine.is_new(Span.at(tmp_path / "span=1"))


@pytest.fixture
def events():
    """Hears of the components as they finish; crashes at the chosen one."""

    class Events:
        def __init__(self):
            self.finished = 0
            self.crash_at = None

        def __call__(self, event):
            self.finished += event.finished
            if event.finished and self.finished == self.crash_at:
                raise Crash(event.component)

    return Events()


def test_stopped_after_any_component_it_ends_as_if_it_had_not_been(
    learnt, workdir, tiny_dataset, tiny_spans, events
):
    engine = OnlineEngine(workdir, tiny_dataset, SETTINGS, events)
    engine.resume()
    engine.process(tiny_spans[0])
    crashes = 0
    while True:
        events.finished, events.crash_at = 0, crashes + 1
        try:
            engine.process(tiny_spans[1])
        except Crash:
            crashes += 1
            assert_servable(workdir)
            engine.resume()
        else:
            break
    events.crash_at = None
    # Three imports, examples, test, training, gate, push.
    assert crashes == 8
    learn_all(engine, tiny_spans)
    engine.close()
    assert outcome(workdir) == outcome(learnt[0])
    assert_same_weights(workdir, learnt[0])


def test_stopped_while_a_span_is_made_to_count_it_counts_once(
    learnt, workdir, tiny_dataset, tiny_spans, monkeypatch
):
    engine = OnlineEngine(workdir, tiny_dataset, SETTINGS)
    engine.resume()
    module = "pipeline.online.engine"
    steps = [
        [f"{module}.series.append", f"{module}.write_state"],
        [f"{module}.follow_state"],
        [f"{module}.OnlineEngine._clear_away"],
        ["pipeline.online.versions.shutil.copytree"],  # the push
    ]
    for span, stops in zip(tiny_spans, steps, strict=True):
        for step in stops:
            with monkeypatch.context() as patched:

                def full_disk(*arguments, **options):
                    raise OSError(errno.ENOSPC, "No space left on device")

                patched.setattr(step, full_disk)
                with pytest.raises(OSError, match="No space left"):
                    engine.process(span)
            assert_servable(workdir)
            engine.resume()
        learn_all(engine, [span])
    engine.close()
    assert outcome(workdir) == outcome(learnt[0])
    assert_same_weights(workdir, learnt[0])


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    learnt, workdir, tiny_dataset, tiny_spans
):
    engine = OnlineEngine(workdir, tiny_dataset, SETTINGS)
    engine.resume()
    learn_all(engine, tiny_spans)
    engine.close()
    newest = read_state(OnlineFolder(workdir).state_file).newest
    (file,) = Path(newest.model, CHECKPOINT).glob("*.weights.h5")
    with file.open("r+b") as opened:
        opened.seek(2000)
        opened.write(b"damage")

    again = OnlineEngine(workdir, tiny_dataset, SETTINGS)
    (note,) = again.resume()
    assert "span=4 cannot be used" in note
    assert "Goes back to span span=3" in note
    assert again.is_new(tiny_spans[3])
    learn_all(again, tiny_spans)
    again.close()
    assert outcome(workdir) == outcome(learnt[0])
    assert_same_weights(workdir, learnt[0])


@pytest.mark.slow
def test_a_rollback_serves_and_learns_from_the_version_before(
    learnt, workdir, tiny_dataset, tiny_spans
):
    engine = OnlineEngine(workdir, tiny_dataset, SETTINGS)
    engine.resume()
    learn_all(engine, tiny_spans[:2])
    before = engine.state
    state = rolled_back(OnlineFolder(workdir), before)
    engine.resume()
    assert state.labels == {"stable": 1001, "canary": 1001}
    assert not (OnlineFolder(workdir).serving_dir / "1002").exists()
    assert state.newest.model == before.versions[1].model
    assert not engine.is_new(tiny_spans[1])
    result = engine.process(tiny_spans[2])
    engine.close()
    assert result.version == 1003  # a number is never given twice
    found = learnt_spans(workdir.metadata, engine.state.versions[-1].model)
    assert [path.rpartition("/")[2] for path in found] == ["span=1", "span=3"]


def test_an_empty_span_is_done_and_its_answers_wait_for_the_next(
    workdir, tiny_dataset, tiny_spans, tmp_path
):
    folder = tmp_path / "spans"
    shutil.copytree(tiny_spans[0].path.parent, folder)
    (folder / "span=2" / "impressions.csv").write_text(
        (folder / "span=2" / "impressions.csv").read_text().splitlines()[0] + "\n"
    )
    engine = OnlineEngine(workdir, tiny_dataset, SETTINGS)
    engine.resume()
    results = [engine.process(span) for span in find_spans(folder)[:3]]
    engine.close()
    empty = results[1]
    assert (empty.version, empty.blessed) == (None, False)
    assert "no slate to learn from" in empty.reason
    assert empty.counts["answers"]["late_used"] == 12
    heard = sum(result.counts["answers"]["trained"] for result in results)
    first, _, last = (
        json.loads(
            next(engine.folder.span_root(n).glob("Trainer/model_run/*/training.json")).read_text()
        )["answers"]
        for n in (1, 2, 3)
    )
    assert first["fresh_groups"] + last["fresh_groups"] + last["waiting_groups"] == heard


def test_without_a_full_fit_it_says_what_to_run(tiny_dataset, tmp_path):
    from pipeline.local_runner import Workdir

    engine = OnlineEngine(Workdir(tmp_path / "nothing"), tiny_dataset, SETTINGS)
    with pytest.raises(RuntimeError, match="easq run --workdir"):
        engine.resume()


def test_an_answer_to_an_impression_of_the_full_fit_is_learnt(
    workdir, tiny_dataset, tiny_transform_dir, tiny_spans, tmp_path, monkeypatch
):
    """The first span's log stands for that of the full fit; the second brings answers to it."""
    base = tmp_path / "base"
    shutil.copytree(tiny_spans[0].path, base)
    for table in ("users.csv", "items.csv"):
        shutil.copy(tiny_spans[0].path.parent / table, base)
    fit = str(workdir.root / "pipeline" / "Trainer" / "model" / "1")
    uris = {
        "LogExampleGen": {"examples": RunArtifact("/examples", {"logs": str(base)}, cached=False)},
        "Transform": {"transform_graph": RunArtifact(tiny_transform_dir, {}, cached=False)},
        "Trainer": {"model": RunArtifact(fit, {}, cached=False)},
        "Pusher": {
            "pushed_model": RunArtifact(
                "/pushed", {"pushed": 1, "pushed_version": str(FIRST_VERSION)}, cached=False
            )
        },
    }
    monkeypatch.setattr(engine_module, "last_run_artifacts", lambda file, name: uris)
    workdir.metadata.touch()
    OnlineFolder(workdir).state_file.unlink()

    engine = OnlineEngine(workdir, tiny_dataset, SETTINGS)
    assert engine.resume() == ["24 slates of the full fit may still be answered."]
    answers = engine.process(tiny_spans[1]).counts["answers"]
    engine.close()
    assert (answers["late_used"], answers["waiting"]) == (12, 0)


@pytest.fixture
def unpushed(monkeypatch):
    """What ML Metadata says of a full fit whose model the gate refused."""

    def artifact(**properties):
        return RunArtifact(uri="/fit", properties=properties, cached=False)

    run = {
        "Transform": {"transform_graph": artifact()},
        "Trainer": {"model": artifact()},
        "Pusher": {"pushed_model": artifact(pushed=0)},
    }
    monkeypatch.setattr(engine_module, "last_run_artifacts", lambda file, name: run)


def test_a_full_fit_that_was_not_pushed_is_nothing_to_begin_with(unpushed, workdir, tiny_dataset):
    workdir.metadata.touch()
    OnlineFolder(workdir).state_file.unlink()
    engine = OnlineEngine(workdir, tiny_dataset, SETTINGS)
    with pytest.raises(RuntimeError, match="the full fit was not pushed"):
        engine.resume()


def test_a_refit_that_was_not_pushed_changes_nothing(unpushed, workdir, tiny_dataset):
    workdir.metadata.touch()
    before = read_state(OnlineFolder(workdir).state_file)
    engine = OnlineEngine(workdir, tiny_dataset, SETTINGS)
    (note,) = engine.resume()
    engine.close()
    assert "was not pushed" in note
    assert engine.state == before

"""What a training leaves for TensorBoard, and the slates before and after alignment."""

import json

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector import ProjectorConfig

from pipeline.trainer import run_fn
from tests.pipeline.conftest import TINY_SLATES
from tests.pipeline.tiny_training import SMALL, tiny_fn_args

DENSE = [TINY_SLATES[index % 3] for index in range(11)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_dataset, tiny_transform_dir):
    """The model run, with experts, of 11 dense slates and two answered ones."""
    folder = tmp_path_factory.mktemp("board")
    fn_args = tiny_fn_args(folder, tiny_dataset, tiny_transform_dir, DENSE)
    with_experts = json.dumps({**json.loads(SMALL), "use_moe": True})
    fn_args.custom_config["trainer"]["model"] = with_experts
    run_fn(fn_args)
    return folder / "model_run"


@pytest.fixture(scope="module")
def events(run):
    # All histograms: without a limit some of them are dropped.
    return EventAccumulator(str(run), size_guidance={"histograms": 0, "tensors": 0}).Reload()


def values(events, tag):
    return {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}


@pytest.mark.parametrize(
    "tag",
    [
        "loss/main",
        "loss/behaviour",
        "loss/satisfaction",
        "loss/dpo",
        "rewards/chosen",
        "rewards/margins",
        "rewards/accuracies",
        "pairs/share_of_batches",
        "pairs/per_batch",
        "answers/coverage",
        "score/std",
        "satisfaction/std",
        "router/share_active",
    ],
)
def test_a_curve_of_the_record_is_a_scalar_with_the_same_points(run, events, tag):
    history = json.loads((run / "training.json").read_text())["history"]
    found = values(events, tag)
    assert list(found) == history["step"]
    np.testing.assert_allclose(list(found.values()), history[tag], rtol=1e-6)
    assert np.isfinite(list(found.values())).all()


@pytest.mark.parametrize(("router", "experts"), [("router", 2), ("satisfaction_router", 4)])
def test_gates_are_counted_over_the_candidates_of_one_batch(events, router, experts):
    # The first batch: 3 + 2 + 4 + 3 candidates. Rows of a histogram: from, to, count.
    gates = values(events, f"{router}/gates")
    shares = values(events, f"{router}/share_by_expert")
    assert len(gates) >= 1
    for histogram in gates.values():
        assert histogram[:, 2].sum() == 12 * experts
        assert histogram[0, 0] >= 0
    for histogram in shares.values():
        assert histogram[:, 2].sum() == experts
        assert 0 <= histogram[0, 0] <= histogram[-1, 1] <= 1


def rows(run, name):
    return [line.split("\t") for line in (run / name).read_text().splitlines()]


def test_a_row_of_the_projector_is_a_bucket_named_by_its_values(run, tiny_dataset):
    listed = text_format.Parse(
        (run / "projector_config.pbtxt").read_text(encoding="utf-8"), ProjectorConfig()
    )
    assert [one.tensor_name for one in listed.embeddings] == ["user_id", "item_id", "hour"]
    for embedding in listed.embeddings:
        vectors, names = rows(run, embedding.tensor_path), rows(run, embedding.metadata_path)
        assert names[0] == ["values", "bucket", "times seen"]
        assert len(vectors) == len(names) - 1
        assert np.isfinite(np.array(vectors, dtype=np.float64)).all()
    items = {name: int(times) for name, _, times in rows(run, "item_id.names.tsv")[1:]}
    # 11 slates: 4 × (a, b, c), 4 × (b, d), 3 × (d, a, c, b).
    assert items == {"b": 11, "a": 7, "c": 7, "d": 7}
    users = {name: int(times) for name, _, times in rows(run, "user_id.names.tsv")[1:]}
    assert users == {"ann": 7, "bob": 4}


def test_answered_slates_are_ranked_before_and_after_alignment(run):
    found = json.loads((run / "slates.json").read_text())
    # Of the three slates, the first has a satisfied answer and the second a dissatisfied one.
    assert found["answered"] == 2
    assert [slate["request_id"] for slate in found["slates"]] == ["r0", "r1"]
    first = found["slates"][0]["candidates"]
    assert [one["after"] for one in first] == [1, 2, 3]
    assert sorted(one["before"] for one in first) == [1, 2, 3]
    (answered,) = [one for one in first if one["answer"]]
    assert (answered["item_id"], answered["answer"]) == ("a", "satisfied")
    assert answered["behaviours"] == ["click", "like"]
    assert {one["item_id"]: one["shown"] for one in first} == {"a": True, "b": True, "c": False}
    moved = found["moved"]["satisfied"]
    assert moved["mean"] == answered["before"] - answered["after"]
    assert (moved["n_answers"], moved["low"]) == (1, None)  # one user gives no interval


def test_a_method_without_a_behaviour_head_has_no_before(
    tmp_path, tiny_dataset, tiny_transform_dir
):
    fn_args = tiny_fn_args(tmp_path, tiny_dataset, tiny_transform_dir, DENSE)
    fn_args.custom_config["trainer"]["method"] = "EMER"
    run_fn(fn_args)
    found = json.loads((tmp_path / "model_run" / "slates.json").read_text())
    assert found["moved"] is None
    assert found["slates"][0]["candidates"][0]["before"] is None

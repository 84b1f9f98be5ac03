"""Users taken out of what runs keep of examples."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.evaluation.slates import Kept, text_hash
from pipeline.forget import run_files
from pipeline.forget.names import UserNames
from pipeline.logs.dead_letters import dead_letters
from pipeline.online.prequential import load_kept, save_kept
from pipeline.record_files import require_whole
from pipeline.training_input import AnsweredSlates
from pipeline.version_folder import CHECKSUMS, write_checksums
from tests.pipeline.example_gen.small_logs import config
from tests.pipeline.example_gen.written import examples_in, files_under
from tests.pipeline.forget.forgetting import OTHER, THEM, logs_of
from tests.pipeline.online.span_folders import learn, write_span

DATASET = config()
NAMES = UserNames.of([THEM], DATASET)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Examples of three spans; the last has dead letters of both users."""
    spans = [
        write_span(tmp_path, str(number), [*shown, {**shown[0], "duration_s": -1.0}], answers)
        for number, (shown, answers) in enumerate(logs_of(THEM, OTHER), start=1)
    ]
    learn(tmp_path, spans, DATASET)
    return tmp_path / "2"


def test_examples_and_dead_letters(artifact: Path) -> None:
    before = {split: list(examples_in(artifact, split)) for split in ("train", "answered")}
    letters = pq.read_table(next(artifact.glob("dead_letters/impressions*")))
    (users,) = {json.loads(values)["user_id"] for values in letters["values"].to_pylist()}
    assert users == THEM
    removed = run_files.forget_artifact(artifact, NAMES, DATASET, answers_only=False)
    after = {split: list(examples_in(artifact, split)) for split in ("train", "answered")}
    for split, records in before.items():
        assert after[split] == [one for one in records if one["user_id"] == [OTHER.encode()]]
        assert 0 < len(after[split]) < len(records)
    assert removed == (sum(map(len, before.values())) - sum(map(len, after.values())), 1)
    assert not any(THEM.encode() in content for content in files_under(artifact).values())
    require_whole(str(artifact))


def test_answers_alone(artifact: Path) -> None:
    before = list(examples_in(artifact, "train"))
    run_files.forget_artifact(artifact, NAMES, DATASET, answers_only=True)
    for record, then in zip(examples_in(artifact, "train"), before, strict=True):
        theirs = record["user_id"] == [THEM.encode()]
        assert record == {**then, "answer": [-1, -1]} if theirs else then
    assert not run_files.has_examples(artifact / "Split-answered", NAMES)
    assert run_files.has_examples(artifact / "Split-train", NAMES)


def test_dead_letters_of_any_table_and_of_cut_ids(tmp_path: Path) -> None:
    long_id = "person-" + "1" * 200
    path = tmp_path / "letters.parquet"
    values = [{"user_id": THEM}, {"user_id": long_id}, {"user_id": OTHER}, {"fields": 3}]
    pq.write_table(
        pa.Table.from_batches([dead_letters("users", "a", [1, 2, 3, 4], "x", values)]), path
    )
    names = UserNames.of([THEM, long_id], DATASET)
    assert run_files.forget_dead_letters(path, names, DATASET, answers_only=True) == 0
    assert run_files.forget_dead_letters(path, names, DATASET, answers_only=False) == 2
    assert pq.read_table(path)["row"].to_pylist() == [3, 4]


def test_warm_up_requests_and_the_checksums_of_their_version(tmp_path: Path) -> None:
    path = tmp_path / "7" / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(parents=True)
    requests = [
        tf.make_tensor_proto([user]).SerializeToString() for user in (THEM, OTHER, THEM + "1")
    ]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            writer.write(request)
    write_checksums(tmp_path / "7")
    assert run_files.forget_warmups(path, NAMES) == 1
    left = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    assert left == requests[1:]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in (tmp_path / "7" / CHECKSUMS).read_text()


def test_most_frequent_ids_of_the_statistics(tmp_path: Path) -> None:
    found = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = found.datasets.add()
    for name, values in (("user_id", [THEM, OTHER]), ("request_id", [f"{THEM}/17", "r1"])):
        text = dataset.features.add(path={"step": [name]}).string_stats
        for value in values:
            text.top_values.add(value=value, frequency=3)
            text.rank_histogram.buckets.add(label=value, sample_count=3)
    path = tmp_path / "FeatureStats.pb"
    path.write_bytes(found.SerializeToString())
    assert run_files.forget_statistics(path, NAMES) == 4
    left = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    shown = [
        (one.value, bucket.label)
        for feature in left.datasets[0].features
        for one, bucket in zip(
            feature.string_stats.top_values,
            feature.string_stats.rank_histogram.buckets,
            strict=True,
        )
    ]
    assert shown == [(OTHER, OTHER), ("r1", "r1")]


def memory(users: list[str], group_end: list[int], learnt: int) -> AnsweredSlates:
    buckets = tf.strings.to_hash_bucket_fast(users, 16384 - 1).numpy() + 1
    groups = np.repeat(np.arange(len(group_end)), np.diff(group_end, prepend=0))
    return AnsweredSlates(
        {"user_id": buckets, "pair_group": groups, "n": np.arange(len(users))},
        np.array(group_end),
        np.arange(len(group_end)) + 10,
        learnt,
    )


def test_remembered_answers(tmp_path: Path) -> None:
    path = tmp_path / "answers.npz"
    # Two learnt anchors, then a waiting group of two, one of one, and one of two.
    users = [OTHER, THEM, THEM, THEM, OTHER, OTHER, OTHER]
    memory(users, [1, 2, 4, 5, 7], learnt=2).save(path)
    assert run_files.forget_memory(path, NAMES, DATASET) == 3
    left = AnsweredSlates.load(path)
    assert left.tensors["n"].tolist() == [0, 4, 5, 6]
    assert left.group_end.tolist() == [1, 2, 4]
    assert left.arrival.tolist() == [10, 13, 14]
    assert left.learnt == 1
    assert run_files.forget_memory(path, NAMES, DATASET) == 0


def test_without_the_feature_user_id_nothing_is_remembered_any_more(tmp_path: Path) -> None:
    path = tmp_path / "answers.npz"
    memory([OTHER, THEM], [1, 2], learnt=1).save(path)
    features = [one for one in DATASET.to_dict()["features"] if one["name"] != "user_id"]
    assert run_files.forget_memory(path, NAMES, config(features=features)) == 2
    left = AnsweredSlates.load(path)
    assert (len(left), left.learnt, left.group_end.tolist()) == (0, 0, [])


def test_what_the_prequential_test_kept(tmp_path: Path) -> None:
    path = tmp_path / "answers.npz"
    them, other = (text_hash(name.encode()) for name in (THEM, OTHER))
    hashes = np.array([other, them, other], np.uint64)
    listed = np.array([them, other, other, them], np.uint64)
    kept = Kept(
        user=hashes,
        request=np.arange(3, dtype=np.uint64),
        shared=np.arange(12.0).reshape(3, 4),
        by_ranker=np.arange(12.0).reshape(2, 3, 2),
        list_user=listed,
        list_request=np.arange(4, dtype=np.uint64),
        list_tie_break=np.arange(4.0),
        list_answer=np.arange(4),
        list_scores=np.arange(8.0).reshape(2, 4),
    )
    save_kept(path, kept)
    assert run_files.forget_tested(path, NAMES) == 1
    left = load_kept(path)
    assert left.request.tolist() == [0, 2]
    assert left.by_ranker[:, :, 0].tolist() == [[0.0, 4.0], [6.0, 10.0]]
    assert left.list_answer.tolist() == [1, 2]
    assert left.list_scores.tolist() == [[1.0, 2.0], [5.0, 6.0]]


def test_names_of_buckets(tmp_path: Path) -> None:
    path = tmp_path / "user_id.names.tsv"
    path.write_text(
        f"values\tbucket\ttimes seen\n{THEM}\t7\t3\n{OTHER}, {THEM}\t8\t2\n{THEM}1\t9\t1\n"
    )
    assert run_files.forget_bucket_names(path, NAMES) == 2
    assert path.read_text().splitlines()[1:] == [
        "(forgotten)\t7\t3",
        f"{OTHER}\t8\t2",
        f"{THEM}1\t9\t1",
    ]


def test_the_sample_slate_goes_if_it_is_theirs(tmp_path: Path) -> None:
    path = tmp_path / "slate.json"
    path.write_text(json.dumps({"user_id": OTHER}))
    assert run_files.forget_sample(path, NAMES) == 0
    path.write_text(json.dumps({"user_id": THEM}))
    assert run_files.forget_sample(path, NAMES) == 1
    assert not path.exists()

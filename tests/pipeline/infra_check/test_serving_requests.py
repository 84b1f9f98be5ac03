"""Requests built from logged slates: what is in them, and what is wrong with a slate or a model."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipeline.serving_requests import (
    RequestBuilder,
    read_signatures,
    read_slates,
    write_warmup,
)
from tests.pipeline.slate_stubs import save_ranker, slate_example


@pytest.fixture(scope="module")
def signatures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_ranker(folder)
    return read_signatures(folder)


@pytest.fixture
def split(tmp_path):
    for file, requests in (("a", ["r1", "r2", "r3"]), ("b", ["r4"])):
        with tf.io.TFRecordWriter(str(tmp_path / f"slates-{file}")) as writer:
            for request in requests:
                writer.write(slate_example(request, "ann", [0.5] * int(request[1])))
    return tmp_path


def test_slates_come_evenly_from_the_files_of_the_split(split):
    assert [slate.request_id for slate in read_slates(str(split), 2)] == ["r1", "r4"]
    assert [slate.request_id for slate in read_slates(str(split), 99)] == ["r1", "r2", "r3", "r4"]
    assert [slate.size for slate in read_slates(str(split), 99)] == [1, 2, 3, 4]


def test_an_empty_split_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no slate"):
        read_slates(str(tmp_path), 5)


def test_raw_request_pads_shorter_slates_with_empty_text_and_zero(split, signatures):
    slates = read_slates(str(split), 99)
    request = RequestBuilder("easq", signatures).raw([slates[1], slates[3]])
    assert request.model_spec.name == "easq"
    assert request.model_spec.signature_name == "serving_default"
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    assert inputs["device"].tolist() == [b"phone", b"phone"]
    assert inputs["item_id"].tolist() == [
        [b"r2-item0", b"r2-item1", b"", b""],
        [b"r4-item0", b"r4-item1", b"r4-item2", b"r4-item3"],
    ]
    assert inputs["quality"].dtype == np.float32
    assert inputs["quality"].tolist() == [[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]]


def test_example_request_holds_no_label(split, signatures):
    slates = read_slates(str(split), 1)
    request = RequestBuilder("easq", signatures).examples(slates)
    (serialized,) = tf.make_ndarray(request.inputs["examples"])
    example = tf.train.Example.FromString(serialized)
    assert sorted(example.features.feature) == ["device", "item_id", "quality", "user_id"]


def test_a_feature_that_the_examples_lack_is_named(split, signatures):
    (slate, *_) = read_slates(str(split), 1)
    del slate.example.features.feature["quality"]
    with pytest.raises(ValueError, match="asks for quality, which the examples do not have"):
        RequestBuilder("easq", signatures).raw([slate])


def test_a_list_of_the_wrong_length_is_named(split, signatures):
    slate = read_slates(str(split), 99)[2]
    slate.example.features.feature["quality"].float_list.value.append(0.1)
    with pytest.raises(
        ValueError, match="request r3: quality has 4 values, serving_default needs 3"
    ):
        RequestBuilder("easq", signatures).raw([slate])


def test_a_model_without_the_signatures_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ValueError, match="expected serving_default with the output score"):
        RequestBuilder("easq", read_signatures(tmp_path))


def test_warmup_file_is_read_back_as_prediction_logs(split, signatures, tmp_path):
    builder = RequestBuilder("easq", signatures)
    slates = read_slates(str(split), 2)
    requests = [builder.raw(slates[:1]), builder.examples(slates[1:])]
    write_warmup(tmp_path, requests)
    file = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]
    assert [log.predict_log.request for log in logs] == requests

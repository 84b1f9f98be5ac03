"""What a step's entry point mends between the engine and TFX."""

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.kubeflow.step import local_path, prepared, restored

TYPE = {"instanceSchema": "title: tfx.Model\ntype: object\n"}


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://bucket/a", None),
        ("/mnt/easq/a", None),
        ("s3://bucket/a/b", "/s3/bucket/a/b"),
        ("minio://mlpipeline/v2/artifacts/a", "/minio/mlpipeline/v2/artifacts/a"),
        ("file:///mnt/easq/a", "/mnt/easq/a"),
    ],
)
def test_where_an_artifact_lies_in_the_container(uri, path):
    assert local_path(uri) == path


def invocation_of(inputs, outputs):
    value = {
        "inputs": {"artifacts": {key: {"artifacts": [one]} for key, one in inputs.items()}},
        "outputs": {"artifacts": {key: {"artifacts": [one]} for key, one in outputs.items()}},
    }
    return json_format.ParseDict(value, pipeline_spec_pb2.ExecutorInput())


def interface_of(**types):
    value = {"artifacts": {key: {"artifactType": one} for key, one in types.items()}}
    return json_format.ParseDict(value, pipeline_spec_pb2.ComponentInputsSpec())


def test_an_input_without_a_type_gets_that_of_the_interface_and_others_keep_theirs():
    other = {"schemaTitle": "tfx.Examples"}
    invocation = invocation_of(
        {"model": {"uri": "gs://b/m"}, "examples": {"uri": "gs://b/e", "type": other}}, {}
    )
    assert prepared(invocation, interface_of(model=TYPE, examples=TYPE)) == {}
    types = {key: one.artifacts[0].type for key, one in invocation.inputs.artifacts.items()}
    assert types["model"].instance_schema == TYPE["instanceSchema"]
    assert types["examples"].schema_title == "tfx.Examples"


def test_local_paths_take_the_place_of_uris_and_come_back_as_them(tmp_path):
    invocation = invocation_of(
        {"model": {"uri": f"file://{tmp_path}/in", "type": TYPE}},
        {"blessing": {"uri": f"file://{tmp_path}/out", "type": TYPE}},
    )
    uris = prepared(invocation, interface_of())
    assert invocation.inputs.artifacts["model"].artifacts[0].uri == f"{tmp_path}/in"
    assert invocation.outputs.artifacts["blessing"].artifacts[0].uri == f"{tmp_path}/out"
    assert (tmp_path / "out").is_dir()
    assert not (tmp_path / "in").exists()

    written = {
        "artifacts": {
            "blessing": {
                "artifacts": [
                    {
                        "uri": f"{tmp_path}/out",
                        "metadata": {
                            "blessed": 1,
                            "current_model_uri": f"{tmp_path}/in",
                            "file": f"{tmp_path}/in/Format-Serving",
                            "other": f"{tmp_path}/inside",
                        },
                    }
                ]
            }
        }
    }
    (artifact,) = restored(written, uris)["artifacts"]["blessing"]["artifacts"]
    assert artifact["uri"] == f"file://{tmp_path}/out"
    assert artifact["metadata"] == {
        "blessed": 1,
        "current_model_uri": f"file://{tmp_path}/in",
        "file": f"file://{tmp_path}/in/Format-Serving",
        "other": f"{tmp_path}/inside",
    }

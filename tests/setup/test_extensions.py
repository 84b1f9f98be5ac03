"""The two extensions that are relinked on older glibc, put to use."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from environment.elf import RELAXED, RENAMED, SharedObject, make_loadable

EXTENSIONS = [
    "ml_metadata/metadata_store/pywrap/metadata_store_extension.so",
    "tensorflow_data_validation/pywrap/tensorflow_data_validation_extension.so",
]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_relinked_extension_asks_for_nothing_new(extension):
    """On glibc 2.39 and newer the official extension is installed: this relinks it in memory."""
    package = importlib.util.find_spec(extension.split("/")[0])
    installed = Path(package.origin).parent.parent / extension

    relinked = SharedObject(make_loadable(installed.read_bytes()))

    names = {symbol.name for symbol in relinked.symbols() if symbol.undefined}
    assert not names & set(RENAMED)
    assert all(need.weak for need in relinked.version_needs() if need.name in RELAXED)


def test_metadata_goes_into_a_store_and_comes_back(tmp_path):
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.db")
    config.sqlite.connection_mode = config.sqlite.READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(config)
    model_type = metadata_store_pb2.ArtifactType(
        name="Model", properties={"version": metadata_store_pb2.INT}
    )
    model = metadata_store_pb2.Artifact(type_id=store.put_artifact_type(model_type), uri="models/7")
    model.properties["version"].int_value = 7

    [identifier] = store.put_artifacts([model])

    [found] = metadata_store.MetadataStore(config).get_artifacts_by_id([identifier])
    assert (found.uri, found.properties["version"].int_value) == ("models/7", 7)


def test_a_missing_artifact_type_raises_through_the_extension():
    config = metadata_store_pb2.ConnectionConfig()
    config.fake_database.SetInParent()

    with pytest.raises(Exception, match="No type found"):
        metadata_store.MetadataStore(config).get_artifact_type("Nothing")


def test_statistics_give_a_schema_and_the_schema_finds_anomalies():
    usual = pd.DataFrame({"answer": ["satisfied", "uncertain", "satisfied"], "played": [1, 2, 3]})
    odd = pd.DataFrame({"answer": ["satisfied", "perhaps", "satisfied"], "played": [1, 2, 3]})
    statistics = tfdv.generate_statistics_from_dataframe(usual)

    schema = tfdv.infer_schema(statistics)
    same = tfdv.validate_statistics(statistics, schema)
    other = tfdv.validate_statistics(tfdv.generate_statistics_from_dataframe(odd), schema)

    assert statistics.datasets[0].num_examples == 3
    assert sorted(feature.name for feature in schema.feature) == ["answer", "played"]
    assert not same.anomaly_info
    assert list(other.anomaly_info) == ["answer"]
    assert "perhaps" in other.anomaly_info["answer"].description

"""The TFX component that hands the curated schema to the others."""

# No `from __future__ import annotations` here: TFX reads the component's annotations as objects.

import os

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Schema
from tfx.utils import io_utils

from pipeline.logs.dataset_config import DatasetConfig
from pipeline.slate_schema import slate_schema

# By this name TFX's components look for it in the artifact.
SCHEMA_FILE = "schema.pbtxt"


@component
def SlateSchemaGen(schema: OutputArtifact[Schema], dataset_config: Parameter[str]):
    """Writes the schema that follows from the dataset config, wherever the artifact lies.

    `dataset_config`: JSON of the dataset config. No file has to be where the component runs.
    """
    config = DatasetConfig.from_json(dataset_config)
    io_utils.write_pbtxt_file(os.path.join(schema.uri, SCHEMA_FILE), slate_schema(config))

"""The curated schema of a slate example, derived from the dataset config.

One `tf.Example` is one slate (`pipeline.example_gen`): scalars for the request and its user, lists
of equal length for the candidates. The schema is *curated*, not inferred from data: types,
presence, ranges and the ragged representation follow from the dataset config, so that a log that
does not fit is an anomaly instead of a new schema.
"""

from __future__ import annotations

from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.logs.canonical import NOT_ANSWERED, SATISFIED, behaviour_column
from pipeline.logs.dataset_config import DatasetConfig

SCALAR_INTS = ("time", "pair_group", "group_time", "user_train_slates")


def _feature(
    schema: schema_pb2.Schema, name: str, kind: schema_pb2.FeatureType, *, ragged: bool
) -> schema_pb2.Feature:
    feature = schema.feature.add(name=name, type=kind)
    feature.presence.min_fraction = 1.0
    feature.presence.min_count = 1
    if ragged:
        feature.value_count.min = 1
    else:
        feature.shape.SetInParent()
    return feature


def _finite(feature: schema_pb2.Feature) -> None:
    feature.float_domain.disallow_nan = True
    feature.float_domain.disallow_inf = True


def _int_range(feature: schema_pb2.Feature, low: int, high: int) -> None:
    feature.int_domain.min = low
    feature.int_domain.max = high


def slate_schema(config: DatasetConfig, *, labels: bool = True) -> schema_pb2.Schema:
    """Returns the schema of raw slate examples of the dataset.

    Args:
        config: The dataset config.
        labels: Whether to include what is known only after the request was served: behaviours,
            answers and the lists used by the evaluation alone. `False` gives what a serving request
            holds: features only.

    Returns:
        A schema in which scalars have the empty shape and candidate lists are ragged.
    """
    schema = schema_pb2.Schema(represent_variable_length_as_ragged=True)
    schema.default_environment.extend(["TRAINING", "SERVING"])
    if labels:
        _feature(schema, "request_id", schema_pb2.BYTES, ragged=False)
    if labels or any(feature.name == "user_id" for feature in config.features):
        _feature(schema, "user_id", schema_pb2.BYTES, ragged=False)
    _feature(schema, "item_id", schema_pb2.BYTES, ragged=True)
    for feature in config.features:
        if feature.name in ("user_id", "item_id"):
            continue
        added = _feature(
            schema,
            feature.name,
            schema_pb2.FLOAT if feature.kind == "numeric" else schema_pb2.BYTES,
            ragged=feature.level == "candidate",
        )
        if feature.kind == "numeric":
            _finite(added)
    if not labels:
        return schema

    for name in SCALAR_INTS:
        scalar = _feature(schema, name, schema_pb2.INT, ragged=False)
        _int_range(scalar, -1 if name == "pair_group" else 0, 2**62)
    for name, low, high in (
        ("exposed", 0, 1),
        ("behaviour_level", -1, config.behaviours.max_level),
        ("answer", NOT_ANSWERED, SATISFIED),
        *((behaviour_column(name), 0, 1) for name in config.behaviours.columns),
    ):
        _int_range(_feature(schema, name, schema_pb2.INT, ragged=True), low, high)
    evaluation_only = ["popularity"]
    if config.columns.true_satisfaction is not None:
        evaluation_only.append("true_satisfaction")
    for name in ("played_seconds", *evaluation_only):
        added = _feature(schema, name, schema_pb2.FLOAT, ragged=True)
        _finite(added)
        if name != "true_satisfaction":
            added.float_domain.min = 0.0
    at_serving = {"item_id", *(feature.name for feature in config.features)}
    for feature in schema.feature:
        if feature.name not in at_serving:
            feature.not_in_environment.append("SERVING")
    return schema

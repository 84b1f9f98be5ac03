"""Transform: raw slate examples to the model's features and labels; the same graph at serving.

Ids and categories are hashed (no vocabulary: a new video needs no refit and moves no embedding
row), numeric features become a quantile bucket and a z-score and, where the dataset config asks for
it, their rank within the slate (the NormalizedRank of EMER). Candidate lists are padded to the
width `slate.max_candidates`, because a static width is what lets XLA compile the training step
once.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from pipeline.logs.canonical import DISSATISFIED, NOT_ANSWERED, SATISFIED
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.logs.feature_config import FeatureConfig

MAX_Z_SCORE = 5.0
MASK = "mask"
BEHAVIOUR_LABEL = "behaviour_level"
ANSWER_LABEL = "answer_label"
PASSED_THROUGH = ("pair_group", "time", "group_time")


def preprocessing_fn(
    inputs: dict[str, tf.Tensor | tf.RaggedTensor], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor]:
    """Transforms one batch of raw slates; TFX Transform's entry point.

    Features of one kind go through the graph as the columns of one matrix: a served slate is small
    and pays for each operation, not for what it computes.

    Args:
        inputs: Raw features as the curated schema represents them: scalars `[batch]`, candidate
            lists ragged. A candidate with an empty `item_id` is padding, wherever it stands.
        custom_config: `{"dataset_config": <JSON of the dataset config>}`.

    Returns:
        Dense features and labels with W = `slate.max_candidates`; padding is 0 in features, −1 in
        labels: `mask` `[batch, W]`, features `[batch]` or `[batch, W]`, `behaviour_level` and
            `answer_label`
        `[batch, W]`, and the scalars `pair_group`, `time`, `group_time`.
    """
    config = DatasetConfig.from_json(custom_config["dataset_config"])
    width = config.slate.max_candidates
    of_request = [feature for feature in config.features if feature.level != "candidate"]
    of_candidate = [feature for feature in config.features if feature.level == "candidate"]
    indices, z_scores = _transformed(of_request, inputs)
    outputs = {**indices, **z_scores}
    items = inputs["item_id"]
    lists = {feature.name: inputs[feature.name].flat_values for feature in of_candidate}
    indices, z_scores = _transformed(of_candidate, lists)
    real = items.flat_values != ""
    indices[MASK] = tf.ones_like(items.flat_values, dtype=tf.int64)
    outputs.update(_slates(indices, real, items, width))
    z_scores = _slates(z_scores, real, items, width)
    outputs.update(z_scores)
    outputs.update(_ranks(of_candidate, z_scores, tf.cast(outputs[MASK], tf.float32)))
    level = tf.cast(inputs["behaviour_level"], tf.float32)
    outputs[BEHAVIOUR_LABEL] = _dense(level, width, -1.0)
    answers = answer_label(inputs["answer"], inputs["exposed"], config.questionnaire.unanswered)
    outputs[ANSWER_LABEL] = _dense(answers, width, -1.0)
    for name in PASSED_THROUGH:
        outputs[name] = inputs[name]
    return outputs


def answer_label(
    answer: tf.RaggedTensor, exposed: tf.RaggedTensor, unanswered: str
) -> tf.RaggedTensor:
    """1 satisfied, 0 dissatisfied, −1 no label; ½ not answered, where the dataset says `middle`.

    *Uncertain* is no label: as a middle level it was seen to hurt the satisfaction head.
    """
    codes = answer.flat_values
    label = tf.fill(tf.shape(codes), -1.0)
    if unanswered == "middle":
        middle = (codes == NOT_ANSWERED) & (exposed.flat_values == 1)
        label = tf.where(middle, 0.5, label)
    label = tf.where(codes == DISSATISFIED, 0.0, label)
    label = tf.where(codes == SATISFIED, 1.0, label)
    return answer.with_flat_values(label)


def _dense(ragged: tf.RaggedTensor, width: int, padding: float) -> tf.Tensor:
    return ragged.to_tensor(default_value=tf.cast(padding, ragged.dtype), shape=[None, width])


def _transformed(
    features: list[FeatureConfig], values: dict[str, tf.Tensor]
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """The indices and the z-scores of features of one level, by output name.

    Args:
        features: The features.
        values: Of each its raw values, all of one shape `[values]`.
    """
    indices = _hashed([feature for feature in features if not feature.numeric], values)
    numbers = [feature for feature in features if feature.numeric]
    if not numbers:
        return indices, {}
    for buckets in sorted({feature.buckets for feature in numbers}):
        alike = [feature for feature in numbers if feature.buckets == buckets]
        index = _quantile_buckets(_matrix(alike, values), buckets - 1)
        indices.update(_columns([feature.name for feature in alike], index))
    z_scores = tft.scale_to_z_score(_matrix(numbers, values), elementwise=True)
    # One absurd number in a request must not throw the score of its slate.
    z_scores = tf.clip_by_value(z_scores, -MAX_Z_SCORE, MAX_Z_SCORE)
    return indices, _columns([f"{feature.name}_z" for feature in numbers], z_scores)


def _hashed(features: list[FeatureConfig], values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    if not features:
        return {}
    texts = _matrix(features, values)
    buckets = [
        tf.strings.to_hash_bucket_fast(values[feature.name], feature.buckets - 1)
        for feature in features
    ]
    # Bucket 0 stands for "missing", so padding and an empty string look the same to the model.
    index = tf.where(texts == "", tf.constant(0, tf.int64), tf.stack(buckets, axis=-1) + 1)
    return _columns([feature.name for feature in features], index)


def _quantile_buckets(numbers: tf.Tensor, count: int) -> tf.Tensor:
    """Of each column's numbers `[values, columns]` the quantile they fall in, 1 to `count`.

    NaN is in the last one.
    """
    boundaries = tft.quantiles(
        numbers, count, epsilon=min(1.0 / count, 0.01), reduce_instance_dims=False
    )
    reached = tf.logical_not(numbers[:, :, None] < boundaries)
    # Bucket 0 is padding here as well.
    return tf.reduce_sum(tf.cast(reached, tf.int64), axis=-1) + 1


def _matrix(features: list[FeatureConfig], values: dict[str, tf.Tensor]) -> tf.Tensor:
    return tf.stack([values[feature.name] for feature in features], axis=-1)


def _columns(names: list[str], matrix: tf.Tensor) -> dict[str, tf.Tensor]:
    return dict(zip(names, tf.unstack(matrix, num=len(names), axis=-1), strict=True))


def _slates(
    columns: dict[str, tf.Tensor], real: tf.Tensor, items: tf.RaggedTensor, width: int
) -> dict[str, tf.Tensor]:
    """Columns of candidates as slates `[batch, width]`, 0 where there is no real candidate."""
    if not columns:
        return {}
    matrix = tf.stack(list(columns.values()), axis=-1)
    matrix = tf.where(real[:, None], matrix, tf.constant(0, matrix.dtype))
    slates = items.with_flat_values(matrix).to_tensor(shape=[None, width, len(columns)])
    return _columns(list(columns), slates)


def _ranks(
    features: list[FeatureConfig], z_scores: dict[str, tf.Tensor], mask: tf.Tensor
) -> dict[str, tf.Tensor]:
    names = [feature.name for feature in features if feature.rank]
    if not names:
        return {}
    values = tf.stack([z_scores[f"{name}_z"] for name in names], axis=1)
    ranks = tf.unstack(normalised_rank(values, mask[:, None, :]), num=len(names), axis=1)
    return {f"{name}_rank": rank for name, rank in zip(names, ranks, strict=True)}


def normalised_rank(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The rank of each candidate in its slate, divided by the number of candidates; 0 is the
    largest value.

    Candidates with equal values share the mean of their ranks, so that the order of the list never
    matters.

    Args:
        values: `[…, W]`.
        mask: float, of the same shape or one that broadcasts to it; 1 for a candidate, 0 for
            padding.

    Returns:
        `[…, W]` in [0, 1); 0 for padding.
    """
    others = mask[..., None, :]
    above = tf.cast(values[..., None, :] > values[..., :, None], tf.float32)
    equal = tf.cast(values[..., None, :] == values[..., :, None], tf.float32)
    tied_with = tf.reduce_sum(equal * others, axis=-1) - 1.0
    rank = tf.reduce_sum(above * others, axis=-1) + 0.5 * tied_with
    size = tf.maximum(tf.reduce_sum(mask, axis=-1, keepdims=True), 1.0)
    return mask * rank / size

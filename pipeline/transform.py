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

    Args:
        inputs: Raw features as the curated schema represents them: scalars `[batch]`, candidate
            lists ragged.
        custom_config: `{"dataset_config": <JSON of the dataset config>}`.

    Returns:
        Dense features and labels with W = `slate.max_candidates`; padding is 0 in features, −1 in
        labels: `mask` `[batch, W]`, features `[batch]` or `[batch, W]`, `behaviour_level` and
            `answer_label`
        `[batch, W]`, and the scalars `pair_group`, `time`, `group_time`.
    """
    config = DatasetConfig.from_json(custom_config["dataset_config"])
    width = config.slate.max_candidates
    outputs = {MASK: _dense(tf.ones_like(inputs["item_id"], dtype=tf.int64), width, 0)}
    mask = tf.cast(outputs[MASK], tf.float32)
    for feature in config.features:
        outputs.update(_transform_feature(feature, inputs[feature.name], mask, width))
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


def _map_values(function, value: tf.Tensor | tf.RaggedTensor) -> tf.Tensor | tf.RaggedTensor:
    # TFT's bucketizer takes no ragged tensors, and everything here is elementwise.
    if isinstance(value, tf.RaggedTensor):
        return value.with_flat_values(function(value.flat_values))
    return function(value)


def _transform_feature(
    feature: FeatureConfig, raw: tf.Tensor | tf.RaggedTensor, mask: tf.Tensor, width: int
) -> dict[str, tf.Tensor]:
    candidate = feature.level == "candidate"

    def finish(value: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        return _dense(value, width, 0) if candidate else value

    if feature.kind != "numeric":
        # Bucket 0 stands for "missing", so padding and an empty string look the same to the model.
        def hashed(text: tf.Tensor) -> tf.Tensor:
            bucket = tf.strings.to_hash_bucket_fast(text, feature.buckets - 1) + 1
            return tf.where(text == "", tf.zeros_like(bucket), bucket)

        return {feature.name: finish(_map_values(hashed, raw))}

    # Bucket 0 is padding here as well: quantile buckets start at 1.
    bucket = _map_values(lambda x: tft.bucketize(x, feature.buckets - 1) + 1, raw)
    z_score = finish(_map_values(_clipped_z_score, raw))
    outputs = {feature.name: finish(bucket), f"{feature.name}_z": z_score}
    if feature.rank:
        outputs[f"{feature.name}_rank"] = normalised_rank(z_score, mask)
    return outputs


def _clipped_z_score(values: tf.Tensor) -> tf.Tensor:
    # One absurd number in a request must not throw the score of its slate.
    return tf.clip_by_value(tft.scale_to_z_score(values), -MAX_Z_SCORE, MAX_Z_SCORE)


def normalised_rank(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The rank of each candidate in its slate, divided by the number of candidates; 0 is the
    largest value.

    Candidates with equal values share the mean of their ranks, so that the order of the list never
    matters.

    Args:
        values: `[batch, W]`.
        mask: float `[batch, W]`, 1 for a candidate, 0 for padding.

    Returns:
        `[batch, W]` in [0, 1); 0 for padding.
    """
    others = mask[:, None, :]
    above = tf.cast(values[:, None, :] > values[:, :, None], tf.float32)
    equal = tf.cast(values[:, None, :] == values[:, :, None], tf.float32)
    tied_with = tf.reduce_sum(equal * others, axis=-1) - 1.0
    rank = tf.reduce_sum(above * others, axis=-1) + 0.5 * tied_with
    size = tf.maximum(tf.reduce_sum(mask, axis=-1, keepdims=True), 1.0)
    return mask * rank / size

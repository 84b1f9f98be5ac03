"""The SavedModel that is served: raw slates in, ŷ out, with the Transform graph inside.

Signatures:

* `serving_default`: named raw tensors, request and user features `[batch]`, candidate features
  `[batch, N]` with any N up to `slate.max_candidates`; a candidate whose `item_id` is `""` is
  padding, wherever it stands. Returns `score` `[batch, N]`.
* `serving_examples`: serialized slate examples `examples` `[batch]`. Returns `score` `[batch,
  slate.max_candidates]`.
* `transform_features`: serialized slate examples `[batch]`. Returns the transformed features.
* `lite_inputs`: what `serving_default` takes. Returns the numbers from which the LiteRT model in
  `assets.extra/split.tflite` computes the score: LiteRT hashes no strings, so TensorFlow runs this
  part before it. TensorFlow Serving looks at neither.

Only ŷ is served: the graph is that of `easq_keras.export.scoring_model`, without the alignment
tower. Padding scores the lowest float32, so that it sorts behind every candidate and still prints
as a JSON number.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.lite.python.convert import ConverterError
from tensorflow_transform.tf_metadata import schema_utils

from easq_keras.export import ScoringModel, scoring_model
from easq_keras.models import EMER
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.slate_schema import slate_schema
from pipeline.transform import MASK

SCORE = "score"
EXAMPLES = "examples"
LITE_INPUTS = "lite_inputs"
LITE_FILE = "assets.extra/split.tflite"
COLUMNS = "columns"

log = logging.getLogger(__name__)


def raw_feature_spec(config: DatasetConfig, *, labels: bool) -> dict[str, Any]:
    """How to parse serialized slate examples; without labels this is all that a serving request
    holds.
    """
    return schema_utils.schema_as_feature_spec(slate_schema(config, labels=labels)).feature_spec


class ServedRanker(tf.Module):
    """Holds everything that the SavedModel needs; its functions are the signatures."""

    def __init__(
        self,
        scoring_model: keras.Model,
        transform_output: tft.TFTransformOutput,
        config: DatasetConfig,
    ) -> None:
        super().__init__(name="served_ranker")
        # The model is kept out of TensorFlow's tracking, its variables are not: a tracked Keras
        # variable is saved as a copy that model servers restore in place of the one that is read.
        self._score_features = lambda features: scoring_model(features, training=False)
        self._weights = [variable.value for variable in scoring_model.variables]
        self._transform_layer = transform_output.transform_features_layer()
        self._width = config.slate.max_candidates
        # Tuples, because tf.Module wraps a dict attribute and then cannot be saved.
        self._request_features = tuple(
            (name, spec) for name, spec in sorted(raw_feature_spec(config, labels=False).items())
        )

    def signatures(self) -> dict[str, Any]:
        """Traces the signatures that a SavedModel always has."""
        examples = tf.TensorSpec([None], tf.string, name=EXAMPLES)
        return {
            "serving_default": self.rank_raw.get_concrete_function(**self._named_tensors()),
            "serving_examples": self.rank_examples.get_concrete_function(examples),
            "transform_features": self.transform_examples.get_concrete_function(examples),
        }

    def lite_signature(self) -> Any:
        """Traces `lite_inputs`."""
        return self.lite_inputs.get_concrete_function(**self._named_tensors())

    def lite_model(self, lite_inputs: Any) -> bytes:
        """Converts what follows `lite_inputs` to LiteRT.

        Args:
            lite_inputs: The signature, as `lite_signature` returns it.

        Raises:
            tf.lite.python.convert.ConverterError: LiteRT has no kernel for something in the model.
        """
        specs = {}
        for name, output in lite_inputs.structured_outputs.items():
            # The width is known. With it LiteRT can do more: add an axis, for one.
            shape = [None, self._width][: output.shape.rank]
            specs[name] = tf.TensorSpec(shape, output.dtype, name=name)
        scoring = self.score_numbers.get_concrete_function(**specs)
        return bytes(tf.lite.TFLiteConverter.from_concrete_functions([scoring], self).convert())

    def _named_tensors(self) -> dict[str, tf.TensorSpec]:
        inputs = {}
        for name, spec in self._request_features:
            shape = [None, None] if isinstance(spec, tf.io.RaggedFeature) else [None]
            inputs[name] = tf.TensorSpec(shape, spec.dtype, name=name)
        return inputs

    @tf.function(autograph=False)
    def rank_raw(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores named raw tensors; see `serving_default` above."""
        return self.score_numbers(**self.lite_inputs(**inputs))

    @tf.function(autograph=False)
    def score_numbers(self, columns: tf.Tensor, **features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores what `lite_inputs` returns."""
        return {SCORE: self._score(features)[:, :columns]}

    @tf.function(autograph=False)
    def lite_inputs(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the transformed features of named raw tensors, `[batch]` or `[batch,
        slate.max_candidates]`, and how many candidates each slate has (`columns`, a scalar)."""
        rows, columns = tf.unstack(tf.shape(inputs["item_id"], tf.int64))
        # The bare operation: tf.debugging.assert_less_equal makes a dozen of it.
        fits = tf.raw_ops.Assert(
            condition=columns <= self._width,
            data=[f"item_id: more candidates than the model's slate width {self._width}"],
        )
        with tf.control_dependencies([fits]):
            # Every list of candidates is as long as the others: one partition serves all, and
            # Transform tells padding by its empty item_id.
            splits = tf.range(rows + 1) * columns
        raw = {}
        for name, spec in self._request_features:
            raw[name] = inputs[name]
            if isinstance(spec, tf.io.RaggedFeature):
                flat = tf.reshape(inputs[name], [-1])
                raw[name] = tf.RaggedTensor.from_row_splits(flat, splits, validate=False)
        return {**self._transform(raw), COLUMNS: tf.cast(columns, tf.int32)}

    @tf.function(autograph=False)
    def rank_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores serialized slate examples; see `serving_examples` above."""
        return {SCORE: self._score(self._transform(self._parse(examples)))}

    @tf.function(autograph=False)
    def transform_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the transformed features of serialized slate examples."""
        return self._transform(self._parse(examples))

    def _parse(self, examples: tf.Tensor) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        return tf.io.parse_example(examples, dict(self._request_features))

    def _transform(self, raw: dict[str, tf.Tensor | tf.RaggedTensor]) -> dict[str, tf.Tensor]:
        # Labels are not in a request: the layer leaves out what cannot be computed.
        return self._transform_layer(raw)

    def _score(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        score = tf.cast(self._score_features(features), tf.float32)
        return tf.where(features[MASK] > 0, score, tf.fill(tf.shape(score), tf.float32.min))


def export_ranker(
    scoring_model: keras.Model,
    transform_output: tft.TFTransformOutput,
    config: DatasetConfig,
    directory: str,
) -> None:
    """Writes the SavedModel to `directory`, with its LiteRT part.

    A model that LiteRT cannot run is written without that part; the log says why.
    """
    module = ServedRanker(scoring_model, transform_output, config)
    lite_inputs = module.lite_signature()
    signatures = {**module.signatures(), LITE_INPUTS: lite_inputs}
    tf.saved_model.save(module, directory, signatures=signatures)
    try:
        lite = module.lite_model(lite_inputs)
    except ConverterError as error:
        log.warning("%s has no %s, TensorFlow serves it: %s", directory, LITE_FILE, error)
        return
    path = os.path.join(directory, LITE_FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(lite)


class RankerExporter:
    """Exports one model again and again as it learns; its graph is traced once.

    Args:
        transform_output: The transform graph.
        config: The dataset.
    """

    def __init__(self, transform_output: tft.TFTransformOutput, config: DatasetConfig) -> None:
        self._transform_output, self._config = transform_output, config
        self._traced: tuple[ScoringModel, ServedRanker, dict[str, Any]] | None = None

    def export(self, model: EMER, directory: str) -> None:
        """Writes what `export_ranker` would write of the model's scoring graph, but for the LiteRT
        part: it takes as long as the rest, and a span's model is soon replaced.

        Args:
            model: The same model each time, with other weights.
            directory: Where to.
        """
        scorer = scoring_model(model)
        if self._traced is None:
            module = ServedRanker(scorer, self._transform_output, self._config)
            self._traced = scorer, module, module.signatures()
        traced_scorer, module, signatures = self._traced
        traced_scorer.set_weights(scorer.get_weights())
        tf.saved_model.save(module, directory, signatures=signatures)

"""EMER: the plain behaviour ranker."""

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import keras
import tensorflow as tf
from keras import ops

from easq_keras.arguments import positive_int
from easq_keras.layers import FeatureEmbedding, FeatureSpec, ReLUMoE, SlateEncoder, TopKMoE
from easq_keras.layers.slate_input import SlateInput
from easq_keras.models import objectives
from easq_keras.models.alignment import PARTS, read_slates
from easq_keras.models.diagnostics import Diagnostics
from easq_keras.models.score_network import ScoreNetwork
from easq_keras.models.settings import EMERSettings
from easq_keras.models.training import (
    Objective,
    Report,
    check_labels,
    gradients,
    replica_count,
    unpack,
)
from easq_keras.types import Tensor

COMPILE_OPTIONS = ("run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss")
ROUTER_VALUES = ("share_active", "dead_experts", "all_dead_candidates")


def slate_mask(features: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Returns which candidates are real, `(batch, slate)` booleans: all, without a `"mask"`."""
    mask = features.get("mask")
    return ops.ones(ops.shape(x)[:2], dtype="bool") if mask is None else ops.cast(mask, "bool")


def read(layer: keras.layers.Layer, x: SlateInput, mask: Tensor) -> Tensor:
    """Returns what a layer makes of x.

    A layer whose `call` knows no mask is not given one, and to one that knows no `shared` columns
    x comes whole.
    """
    known = inspect.signature(layer.call).parameters
    options = {"mask": mask} if "mask" in known else {}
    if "shared" in known:
        return layer(x.own, shared=x.shared, **options)
    return layer(x.whole(mask), **options)


def score_of(tower: keras.layers.Layer, h: Tensor, mask: Tensor) -> Tensor:
    """Returns the tower's score of each candidate, `(batch, slate)`, 0 for padding.

    A tower whose `call` knows a mask is given it, so that padding does not count in its auxiliary
    loss either.
    """
    score = ops.cast(read(tower, SlateInput(h, None), mask)[..., 0], "float32")
    return ops.where(mask, score, ops.zeros_like(score))


class ServedTowers(NamedTuple):
    """What makes ŷ of a candidate's representation: `base(h) + weight · fused(h + Δh)`.

    Attributes:
        fused: Layer `(..., d) → (..., 1)`; of h itself where there is no LoRA delta.
        base: Another one, or None for 0.
        weight: A constant.
    """

    fused: keras.layers.Layer
    base: keras.layers.Layer | None = None
    weight: float = 1.0


@keras.saving.register_keras_serializable(package="easq_keras")
class EMER(keras.Model):
    """Ranks the candidates of a slate by expected behaviour.

    Features are embedded, a backbone lets the candidates see each other, and a mixture of experts
    scores each one (Eqs. 6, 9, 10 of the EASQ paper, which follows EMER here). Training orders the
    exposed candidates of a slate by behaviour level (Eq. 11, averaged over the pairs of a batch).

    Args:
        features: The `FeatureSpec`s of the batch.
        backbone: Layer `(batch, slate, k) → (batch, slate, d)`, called with `mask=` if its `call`
            has such an argument. Defaults to a `SlateEncoder` made by the settings.
        settings: All other settings. Defaults to `EMERSettings()`.
        **kwargs: Single settings to change, and `name`, `dtype`, `trainable` of `keras.Model`.

    Call arguments:
        features: Dictionary of `(batch,)` user features and `(batch, slate)` candidate features;
            under `"mask"` 1 for a real candidate (without it all are real).

    Returns when called:
        `{"score": ŷ}`, `(batch, slate)`, float32; 0 for padding.

    Batches of `fit` and `evaluate`:
        `(features, labels)`; `labels["behaviour"]` `(batch, slate)`: level of at least 0 for an
        exposed candidate, negative otherwise. Other labels are ignored.

    Attributes:
        trade_off: The setting that trades behaviour for satisfaction (`settings.trade_off_setting`
            names it) as a scalar variable that the objective reads: `trade_off.assign(…)` changes
            it and compiles nothing anew. None where the model has no such setting. A `.keras` file
            brings its value back; after `load_checkpoint` that of the loading model holds.

    Raises:
        ValueError: A setting is out of range, the backbone's output is no `(batch, slate, d)`, or
            a batch breaks the contract.

    Examples:
        >>> model = EMER([FeatureSpec("item", "categorical", num_buckets=50)], num_experts=4)
        >>> model.compile()
        >>> x = {"item": np.arange(8).reshape(2, 4)}
        >>> y = {"behaviour": np.array([[2, 1, 0, -1], [0, 1, -1, -1]], "float32")}
        >>> history = model.fit(x, y, verbose=0)
        >>> tuple(model(x)["score"].shape)
        (2, 4)
    """

    settings_class: ClassVar[type[EMERSettings]] = EMERSettings

    def __init__(
        self,
        features: Iterable[FeatureSpec | Mapping[str, Any]],
        backbone: keras.layers.Layer | None = None,
        settings: Any = None,
        **kwargs: Any,
    ) -> None:
        fields = {field.name for field in dataclasses.fields(self.settings_class)}
        changes = {name: kwargs.pop(name) for name in fields & set(kwargs)}
        super().__init__(**kwargs)
        if settings is None:
            settings = self.settings_class()
        elif not isinstance(settings, self.settings_class):
            raise ValueError(
                f"`settings` must be {self.settings_class.__name__}. Received: {settings!r}."
            )
        self.settings = settings.replace(**changes)
        self.embedding = self.make_embedding(features)
        self.default_backbone = backbone is None
        self.backbone = self.make_backbone() if backbone is None else backbone
        self.tower = self.make_tower(self.settings.num_experts, name="tower")
        self.answered_rows: int | None = None
        self._make_parts()
        self.diagnostics = Diagnostics(self.diagnostic_names())
        self.build()

    def _make_parts(self) -> None:
        """Makes the layers that a subclass adds, before anything is built."""

    def make_embedding(self, features: Iterable[FeatureSpec | Mapping[str, Any]]) -> Any:
        """Returns what turns a dictionary of features into x, `(batch, slate, k)`."""
        return FeatureEmbedding(features, name="embedding", dtype=self.dtype_policy)

    def make_backbone(self) -> keras.layers.Layer:
        """Returns the backbone that is used when none is given."""
        return SlateEncoder(
            self.settings.units,
            num_layers=self.settings.num_layers,
            num_heads=self.settings.num_heads,
            name="backbone",
            dtype=self.dtype_policy,
        )

    def make_tower(self, num_experts: int, name: str) -> keras.layers.Layer:
        """Returns a layer `(..., d) → (..., 1)` that scores; override it for experts of your own.

        Args:
            num_experts: K1 for ŷ, K2 for ŝ.
            name: Name of the layer.
        """
        if not self.settings.use_moe:
            return self.make_network(name)
        bias = self.settings.gate_bias
        options: dict[str, Any] = {
            "units": 1,
            "num_experts": num_experts,
            "hidden_dim": self.settings.expert_hidden_dim,
            "router_norm": self.settings.router_norm,
            "gate_bias_initializer": None if bias is None else keras.initializers.Constant(bias),
            "name": name,
            "dtype": self.score_dtype,
        }
        if self.settings.router == "top_k":
            return TopKMoE(top_k=min(self.settings.top_k, num_experts), **options)
        return ReLUMoE(**options)

    def make_network(self, name: str, output_bias: bool = False) -> keras.layers.Layer:
        """Returns a layer `(..., d) → (..., 1)` without experts, as wide as h.

        Args:
            name: Name of the layer.
            output_bias: Whether a constant is added to all scores; a loss of pairs never sees it.
        """
        return ScoreNetwork(
            self.settings.units, output_bias=output_bias, name=name, dtype=self.score_dtype
        )

    @property
    def score_dtype(self) -> Any:
        """Dtype policy of what scores: float32 where the model computes in half precision.

        A loss of pairs lives on small differences of scores, which half precision rounds away.
        """
        half = keras.backend.standardize_dtype(self.compute_dtype) in ("float16", "bfloat16")
        return "float32" if half else self.dtype_policy

    @property
    def served_towers(self) -> ServedTowers:
        """What scores in production."""
        return ServedTowers(self.tower)

    def build(self, input_shape: Any = None) -> None:
        """Creates all variables; the features say all there is to know of the shapes."""
        if self.built:
            return
        self.embedding.build(self.embedding.symbolic_shapes())
        x = keras.KerasTensor((None, None, self.embedding.output_dim), dtype=self.compute_dtype)
        h = self.backbone(x)
        if len(h.shape) != 3 or h.shape[-1] is None:
            raise ValueError(
                "`backbone` must map (batch, slate, k) to (batch, slate, d) with a known d. "
                f"Received: {self.backbone.name!r}, which returns shape {tuple(h.shape)}."
            )
        self._build_heads(tuple(x.shape), tuple(h.shape))
        name = self.settings.trade_off_setting
        self.trade_off = None if name is None else self._add_trade_off(getattr(self.settings, name))

    def _add_trade_off(self, value: float) -> keras.Variable:
        return self.add_weight(
            name="trade_off",
            shape=(),
            initializer=keras.initializers.Constant(value),
            dtype="float32",
            autocast=False,
            trainable=False,
            aggregation="only_first_replica",
        )

    def _build_heads(self, x_shape: tuple[Any, ...], h_shape: tuple[Any, ...]) -> None:
        """Builds what reads the backbone's output."""
        self.tower.build(h_shape)

    def call(
        self,
        features: Mapping[str, Tensor],
        training: bool | None = None,
        learning: bool = False,
    ) -> dict[str, Any]:
        """Scores a batch.

        Args:
            features: See the class.
            training: As everywhere in Keras.
            learning: Also return what the objective needs; for the training step.
        """
        if learning:
            features = self._dense_rows(features)
        mask, h = self._encoded(features)
        outputs: dict[str, Any] = {"score": score_of(self.tower, h, mask)}
        if learning:
            outputs["h"], outputs["mask"] = h, mask
            outputs["router"] = self._router_activity(self.tower, h, mask)
        return outputs

    def _encoded(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the slate mask and h."""
        x = self.embedding.parts(features)
        mask = slate_mask(features, x.own)
        return mask, read(self.backbone, x, mask)

    def _dense_rows(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Returns the features without those of the answered rows."""
        last = self.answered_rows
        if last is None:
            return features
        self._check_answered_rows(next(iter(features.values())))
        return {name: value[:-last] for name, value in features.items()}

    def _check_answered_rows(self, batch: Tensor) -> None:
        last, rows = self.answered_rows, batch.shape[0]
        if last is not None and rows is not None and rows < last:
            raise ValueError(
                f"The last {last} rows of a batch hold the answers (`answered_rows` of `compile`). "
                f"Received: a batch of {rows}."
            )

    @staticmethod
    def _router_activity(tower: Any, h: Tensor, mask: Tensor) -> dict[str, Tensor]:
        if not hasattr(tower, "router_activity"):
            return {}
        return dict(tower.router_activity(h, mask))

    def objective(self, outputs: Mapping[str, Any], labels: Mapping[str, Tensor]) -> Objective:
        """Returns the loss of a batch and what to report of it.

        Args:
            outputs: What `call` returned with `learning=True`.
            labels: The labels of the batch.
        """
        slates = read_slates(labels, outputs["mask"])
        loss = objectives.pair_loss(slates.preference, outputs["score"]) * slates.per_pair
        report = Report()
        report.add("loss", loss)
        report.add("loss/main", loss, slates.has_pairs)
        report.add("score/std", objectives.spread(outputs["score"], slates.shown))
        report.add_router("router", outputs["router"], outputs["mask"])
        return Objective(loss, None, None, {"main": loss}, report)

    def routes(self) -> dict[str, set[str]]:
        """Returns the parts of the model that each of its losses has a gradient for."""
        return {"main": {"embedding", "backbone", "tower"}}

    def routing_table(self) -> dict[str, dict[str, bool]]:
        """Returns which loss has a gradient for which part of the model.

        Everything else it has exactly none for. `docs/library/routing.md` shows the tables of
        EASQ's presets; the tests hold them against the gradients of every variable.

        Returns:
            By loss (`"main"`, `"behaviour"`, `"satisfaction"`, `"dpo"`, … as far as the settings
            have it), by part (`"embedding"`, `"backbone"`, `"tower"`, … as far as the model has
            it), whether there is one.

        Examples:
            >>> from easq_keras.models import EASQ
            >>> model = EASQ.from_preset("paper", [FeatureSpec("item", "id", num_buckets=9)])
            >>> [part for part, moved in model.routing_table()["dpo"].items() if moved]
            ['embedding', 'backbone', 'tower']
        """
        present = [part for part in PARTS if getattr(self, part, None) is not None]
        return {loss: {part: part in by for part in present} for loss, by in self.routes().items()}

    def diagnostic_names(self) -> tuple[str, ...]:
        """Returns the names of what `fit` reports."""
        return ("loss", "loss/main", "score/std", *self._router_names(self.tower, "router"))

    @staticmethod
    def _router_names(tower: Any, prefix: str) -> tuple[str, ...]:
        known = ROUTER_VALUES if hasattr(tower, "router_activity") else ()
        return tuple(f"{prefix}/{name}" for name in known)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that `fit` resets and reports."""
        return [self.diagnostics]

    def compile(
        self, optimizer: Any = None, *, answered_rows: int | None = None, **kwargs: Any
    ) -> None:
        """Prepares `fit`.

        Args:
            optimizer: A Keras optimizer. Defaults to Adam with `settings.learning_rate`.
            answered_rows: If the last so many rows of each batch have answers and no behaviour:
                that number. A model that has no use for answers never computes them. None: any row
                may have both.
            **kwargs: `run_eagerly`, `steps_per_execution`, `jit_compile`, `auto_scale_loss` of
                `keras.Model.compile`. XLA compiles once for each shape of batch, so give all
                batches one.

        Raises:
            TypeError: A loss, metrics or anything else is given: these are the model's own.
            ValueError: `answered_rows` is no positive integer.
        """
        self._compile(optimizer, answered_rows, **kwargs)
        self.optimizer.build(self.trainable_variables)

    def _compile(self, optimizer: Any, answered_rows: int | None, **kwargs: Any) -> None:
        unknown = sorted(set(kwargs) - set(COMPILE_OPTIONS))
        if unknown:
            raise TypeError(
                f"`compile` of {type(self).__name__} takes no {unknown}: its losses and metrics "
                f"are its own. Known beside its own arguments: {list(COMPILE_OPTIONS)}."
            )
        if optimizer is None:
            optimizer = keras.optimizers.Adam(self.settings.learning_rate)
        self.answered_rows = (
            None if answered_rows is None else positive_int("answered_rows", answered_rows)
        )
        super().compile(optimizer=optimizer, **kwargs)

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns `compile`'s arguments, serialised, or None before it was called."""
        config = super().get_compile_config()
        known = ("optimizer", "run_eagerly", "steps_per_execution", "jit_compile")
        if not config:
            return None
        return {**{name: config[name] for name in known}, "answered_rows": self.answered_rows}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Calls `compile` with what `get_compile_config` returned."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def _unpack(self, data: Any) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        features, labels = unpack(data)
        of_slate = next(spec for spec in self.embedding.features if spec.level == "candidate")
        if of_slate.name in features:  # if not, the embedding says what is absent
            check_labels(labels, features[of_slate.name].shape)
        return features, labels

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Learns from one batch: one forward pass, then one step of each optimizer."""
        features, labels = self._unpack(data)
        with tf.GradientTape(persistent=True) as tape:
            outputs = self(features, training=True, learning=True)
            objective = self.objective(outputs, labels)
            extra = sum(self.losses)
            losses = [
                None if loss is None else (loss + extra) / replica_count()
                for loss in (objective.behaviour, objective.satisfaction)
            ]
            scaled = self._scale(losses)
        self._minimise(tape, scaled, objective)
        self._after_step(outputs, objective)
        self.diagnostics.update_state(objective.report.values, objective.report.weights)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Evaluates the objective on one batch and learns nothing."""
        features, labels = self._unpack(data)
        outputs = self(features, training=False, learning=True)
        objective = self.objective(outputs, labels)
        self.diagnostics.update_state(objective.report.values, objective.report.weights)
        return self.get_metrics_result()

    def _scale(self, losses: list[Tensor | None]) -> list[Tensor | None]:
        return [self.optimizer.scale_loss(losses[0]), None]

    def _minimise(
        self, tape: tf.GradientTape, losses: list[Tensor | None], objective: Objective
    ) -> None:
        variables = self.trainable_variables
        self.optimizer.apply(gradients(tape, losses[0], variables), variables)

    def _after_step(self, outputs: Mapping[str, Any], objective: Objective) -> None:
        """Updates what a subclass tracks between steps."""

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "features": [spec.get_config() for spec in self.embedding.features],
            "backbone": (
                None
                if self.default_backbone
                else keras.saving.serialize_keras_object(self.backbone)
            ),
            "settings": self.settings.to_dict(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Builds the model from what `get_config` returned."""
        config = dict(config)
        config["settings"] = cls.settings_class(**config["settings"])
        config["backbone"] = keras.saving.deserialize_keras_object(
            config["backbone"], custom_objects=custom_objects
        )
        return cls(**config)

"""SAQRec: satisfaction imputed by models that were trained before, for every candidate."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from easq_keras.arguments import at_least, one_of, positive_int
from easq_keras.layers import FeatureSpec
from easq_keras.models import objectives
from easq_keras.models.alignment import read_slates
from easq_keras.models.emer import EMER, score_of
from easq_keras.models.imputed_features import NETWORKS, ImputedFeatures, response_network
from easq_keras.models.response_data import Columns, collect_responses
from easq_keras.models.settings import EMERSettings
from easq_keras.models.training import Objective, Report, replica_count
from easq_keras.types import Tensor

# Stands for the score of a candidate that is not there.
ABSENT = -1e9
TARGETS = ("tower", "listwise")
# Of the offline models, as published.
DROPOUT = 0.1
WEIGHT_DECAY = 1e-5
BATCH_SIZE = 512
# From so many candidates on a fifth is held out, which says when to stop.
MIN_FOR_HOLD_OUT = 50
MAX_EPOCHS, EPOCHS_WITHOUT_HOLD_OUT, PATIENCE = 100, 20, 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class SAQRecSettings(EMERSettings):
    """Settings of `SAQRec`.

    Attributes:
        target: What the imputed satisfaction is the target of. `"tower"`: of a second tower on h,
            as published. `"listwise"`: of the softmax of ŷ over the exposed candidates.
        lambda_imputed: Weight of that loss, `weight_2` of the original.
        num_auxiliary_experts: Experts of the second tower.
        correction_start: Steps after which the second tower has a say in its own target; None:
            never.
        imputer: Kind of the two offline networks: `"mlp"` (200 and 80 units, as published) or
            `"logistic"`.
        propensity_clip: The least propensity, in shares of the mean one, that an answer is weighted
            by the inverse of.

    Raises:
        ValueError: A setting is out of range; the message names it.

    Examples:
        >>> SAQRecSettings().trade_off_setting
        'lambda_imputed'
    """

    target: str = "tower"
    lambda_imputed: float = 1.0
    num_auxiliary_experts: int = 4
    correction_start: int | None = 200
    imputer: str = "mlp"
    propensity_clip: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("target", self.target, TARGETS)
        one_of("imputer", self.imputer, NETWORKS)
        at_least("lambda_imputed", self.lambda_imputed, 0)
        positive_int("num_auxiliary_experts", self.num_auxiliary_experts)
        if self.correction_start not in (None, 0):
            positive_int("correction_start", self.correction_start)
        at_least("propensity_clip", self.propensity_clip, 0, strictly=True)

    @property
    def trade_off_setting(self) -> str:
        """Name of the setting that trades behaviour for satisfaction."""
        return "lambda_imputed"


@keras.saving.register_keras_serializable(package="easq_keras")
class SAQRec(EMER):
    """EMER with offline imputed satisfaction as an input and as the target of a second loss.

    After SAQRec (CIKM 2024), put on EMER's backbone as the EASQ paper does with its baselines.
    `pretrain` fits, one after the other,

    1. a behaviour ranker, whose embeddings the next two read and leave as they are;
    2. the propensity p to answer, exposed against answered candidates;
    3. the satisfaction s̃ of answered candidates, each answer weighted by 1 / p.

    Then `fit` learns `L_main + λ · L_imputed`, s̃ being frozen, an input feature of every candidate,
    and the target of L_imputed: the cross entropy of a second tower with s̃, corrected by what that
    tower says itself (`corrected_target`), or, with `target="listwise"`, the cross entropy between
    the softmaxes of s̃'s logit and of ŷ over the exposed candidates. Only ŷ ranks.

    Args:
        features: As for `EMER`.
        backbone: As for `EMER`.
        settings: Defaults to `SAQRecSettings()`.
        **kwargs: As for `EMER`.

    Batches of `fit` and `evaluate`:
        As for `EMER`. Answers matter to `pretrain` only.

    Raises:
        ValueError: As for `EMER`; from `fit` and `train_on_batch`: `pretrain` was not called.

    Examples:
        >>> model = SAQRec([FeatureSpec("item", "id", num_buckets=50, dim=4)], units=8, num_heads=2)
        >>> model.compile(run_eagerly=True)
        >>> x = {"item": np.arange(8).reshape(2, 4)}
        >>> y = {"behaviour": np.array([[2, 1, 0, -1], [1, 0, -1, -1]], "float32"),
        ...      "answer": np.array([[-1, 1, -1, -1], [0, -1, -1, -1]], "float32")}
        >>> figures = model.pretrain(lambda: (batch for batch in [(x, y)]))
        >>> figures["answers"], figures["exposed"]
        (2, 5)
        >>> history = model.fit(x, y, verbose=0)
    """

    settings_class: ClassVar[type[EMERSettings]] = SAQRecSettings
    settings: SAQRecSettings

    def make_embedding(self, features: Iterable[FeatureSpec | Mapping[str, Any]]) -> Any:
        """Returns what turns a dictionary of features into x, imputed satisfaction included."""
        return ImputedFeatures(
            features, network=self.settings.imputer, name="embedding", dtype=self.dtype_policy
        )

    def _make_parts(self) -> None:
        self.auxiliary_tower = (
            self.make_tower(self.settings.num_auxiliary_experts, name="auxiliary_tower")
            if self.settings.target == "tower"
            else None
        )

    def _build_heads(self, x_shape: tuple[Any, ...], h_shape: tuple[Any, ...]) -> None:
        super()._build_heads(x_shape, h_shape)
        if self.auxiliary_tower is not None:
            self.auxiliary_tower.build(h_shape)
        self.pretrained = self._add_count("pretrained")
        self.trained_steps = self._add_count("trained_steps")

    def _add_count(self, name: str) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=(),
            initializer="zeros",
            dtype="int32",
            autocast=False,
            trainable=False,
            aggregation="only_first_replica",
        )

    def routes(self) -> dict[str, set[str]]:
        """Returns the parts of the model that each of its losses has a gradient for."""
        main = super().routes()["main"]
        scored = "tower" if self.auxiliary_tower is None else "auxiliary_tower"
        return {"main": main, "imputed": {"embedding", "backbone", scored}}

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
        outputs = super().call(features, training=training, learning=learning)
        if learning:
            outputs["imputed"] = self.embedding.impute(self._dense_rows(features))
            if self.auxiliary_tower is not None:
                auxiliary = score_of(self.auxiliary_tower, outputs["h"], outputs["mask"])
                outputs["auxiliary"] = auxiliary
        return outputs

    def objective(self, outputs: Mapping[str, Any], labels: Mapping[str, Tensor]) -> Objective:
        """Returns the loss of a batch and what to report of it.

        Args:
            outputs: What `call` returned with `learning=True`.
            labels: The labels of the batch.

        Raises:
            ValueError: There are several replicas.
        """
        if replica_count() > 1:
            raise ValueError(
                "SAQRec trains on one replica: it corrects its targets by the extremes of a batch, "
                f"which replicas do not share. Received: {replica_count()} replicas."
            )
        slates = read_slates(labels, outputs["mask"])
        main = objectives.pair_loss(slates.preference, outputs["score"]) * slates.per_pair
        if self.auxiliary_tower is None:
            imputed = listwise_loss(outputs["imputed"], outputs["score"], slates.shown)
        else:
            imputed = self._tower_loss(outputs["imputed"], outputs["auxiliary"], outputs["mask"])
        loss = main + self.trade_off * imputed
        report = Report()
        report.add("loss", loss)
        report.add("loss/main", main, slates.has_pairs)
        report.add("loss/imputed", imputed)
        report.add("imputed/std", objectives.spread(outputs["imputed"], outputs["mask"]))
        report.add("score/std", objectives.spread(outputs["score"], slates.shown))
        report.add_router("router", outputs["router"], outputs["mask"])
        return Objective(loss, None, None, {"main": main, "imputed": imputed}, report)

    def _tower_loss(self, imputed: Tensor, auxiliary: Tensor, mask: Tensor) -> Tensor:
        target, start = ops.sigmoid(imputed), self.settings.correction_start
        if start is not None:
            begun = ops.convert_to_tensor(self.trained_steps) >= start
            target = ops.where(begun, corrected_target(target, auxiliary, mask), target)
        count = ops.maximum(objectives.number(mask), 1.0)
        return objectives.answer_loss(target, auxiliary, mask) / count

    def diagnostic_names(self) -> tuple[str, ...]:
        """Returns the names of what `fit` reports."""
        loss, main, *rest = super().diagnostic_names()
        return (loss, main, "loss/imputed", "imputed/std", *rest)

    def _after_step(self, outputs: Mapping[str, Any], objective: Objective) -> None:
        self.trained_steps.assign_add(1)

    def make_train_function(self, force: bool = False) -> Any:
        """Returns the function that runs a training step; asked for by `fit`."""
        if not int(self.pretrained):
            raise ValueError("SAQRec learns from what `pretrain` imputed: call that before `fit`.")
        return super().make_train_function(force)

    def pretrain(
        self, batches: Callable[[], Any], verbose: int | str = 0, base: EMER | None = None
    ) -> dict[str, float]:
        """Fits the offline models and freezes what they learnt.

        Costs two passes over the batches and one training of `EMER`, with what `compile` was given.
        Called again it starts anew and leaves the rest of the model as it is.

        Args:
            batches: Returns a new pass over the batches of `fit`, a `tf.data.Dataset` or a
                generator, whenever it is called.
            verbose: As for `fit`, of the first of the models.
            base: An `EMER` of the same features that is trained already, if there is one.

        Returns:
            `"answers"` and `"exposed"`, the numbers of candidates the two networks learnt from, and
            `"loss/propensity"` and `"loss/satisfaction"`, cross entropies of candidates held out.

        Raises:
            ValueError: The model is not compiled, or the answers are not of both kinds.
        """
        if not self.compiled:
            raise ValueError("`pretrain` trains as `compile` says: call that first.")
        if base is None:
            base = self._behaviour_ranker()
            base.fit(batches(), epochs=1, verbose=verbose)
        self.embedding.frozen.set_weights(base.embedding.get_weights())
        data = collect_responses(batches(), self.embedding.features)
        satisfied = int(np.sum(data.answers > 0.5))
        if satisfied in (0, len(data.answers)) or not len(next(iter(data.exposed.values()))):
            raise ValueError(
                "`pretrain` needs exposed candidates and answers of both kinds. Received: "
                f"{satisfied} satisfied of {len(data.answers)} answers."
            )
        answered, exposed = self._embedded(data.answered), self._embedded(data.exposed)
        inverse, propensity_loss = self._inverse_propensity(answered, exposed)
        network, satisfaction_loss = self._fitted(answered, data.answers, inverse)
        self.embedding.imputer.set_weights(network.get_weights())
        self.pretrained.assign(1)
        return {
            "answers": len(answered),
            "exposed": len(exposed),
            "loss/propensity": propensity_loss,
            "loss/satisfaction": satisfaction_loss,
        }

    def _behaviour_ranker(self) -> EMER:
        names = [field.name for field in dataclasses.fields(EMERSettings)]
        base = EMER(
            self.embedding.features,
            backbone=(
                None
                if self.default_backbone
                else type(self.backbone).from_config(self.backbone.get_config())
            ),
            settings=EMERSettings(**{name: getattr(self.settings, name) for name in names}),
            dtype=self.dtype_policy,
        )
        base.compile(
            answered_rows=self.answered_rows,
            run_eagerly=self.run_eagerly,
            steps_per_execution=self.steps_per_execution,
            jit_compile=self.jit_compile,
        )
        return base

    def _embedded(self, columns: Columns) -> np.ndarray:
        """Returns what the offline networks read of single candidates, `(n, k)`."""
        levels = {spec.name: spec.level for spec in self.embedding.features}
        slates = {
            name: column if levels[name] == "user" else column[:, None]
            for name, column in columns.items()
        }
        x = self.embedding.frozen(slates)[:, 0]
        return np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")))

    def _inverse_propensity(
        self, answered: np.ndarray, exposed: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Returns mean p over p of the answered, clipped, with mean 1, and the loss of p's model.

        Both classes count alike: the odds are then p over its mean. Only that ratio matters, and at
        one answer in 10,000 views a clip of p itself would clip everything.
        """
        inputs = np.concatenate([answered, exposed])
        labels = np.concatenate([np.ones(len(answered)), np.zeros(len(exposed))])
        weights = np.where(labels == 1, 0.5 / len(answered), 0.5 / len(exposed)) * len(labels)
        network, loss = self._fitted(inputs, labels, weights)
        odds = np.exp(np.clip(network.predict(answered, verbose=0)[:, 0], -20, 20))
        inverse = 1.0 / np.maximum(odds, self.settings.propensity_clip)
        return inverse / np.mean(inverse), loss

    def _fitted(
        self, inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> tuple[keras.Sequential, float]:
        """Returns a network fitted to binary labels, and its loss where it was not fitted."""
        network = response_network(self.settings.imputer, name="imputer", dropout=DROPOUT)
        network.compile(
            keras.optimizers.Adam(self.settings.learning_rate, weight_decay=WEIGHT_DECAY),
            keras.losses.BinaryCrossentropy(from_logits=True),
        )
        order = np.random.default_rng(0).permutation(len(labels))
        held_out = len(labels) // 5 if len(labels) >= MIN_FOR_HOLD_OUT else 0
        kept, test = order[held_out:], order[:held_out]
        watched = (inputs[test], labels[test], weights[test]) if held_out else None
        stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
        history = network.fit(
            inputs[kept],
            labels[kept],
            sample_weight=weights[kept],
            batch_size=min(BATCH_SIZE, len(kept)),
            epochs=MAX_EPOCHS if held_out else EPOCHS_WITHOUT_HOLD_OUT,
            validation_data=watched,
            callbacks=[stop] if held_out else [],
            verbose=0,
        )
        losses = history.history["val_loss" if held_out else "loss"]
        return network, float(min(losses) if held_out else losses[-1])


def corrected_target(target: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """Returns the imputed satisfaction, mixed with what the tower itself says where they agree.

    `w · target + (1 − w) · σ(logits)`, w being the distribution function of Beta(½, ½) at the cross
    entropy of the two, which is brought to [0, 1] over the batch: `w = (2/π) · asin(√l)`. Both
    without gradient. (SAQRec's label correction.)

    Args:
        target: Imputed satisfaction in [0, 1], `(rows, slate)`.
        logits: Of the tower, `(rows, slate)`.
        mask: `(rows, slate)` booleans: the real candidates.

    Examples:
        >>> target = np.array([[0.5, 0.5, 0.5]], "float32")
        >>> logits = np.array([[0.0, 4.0, 9.0]], "float32")
        >>> mask = np.array([[True, True, False]])
        >>> np.round(np.asarray(corrected_target(target, logits, mask)), 3)[:, :2]
        array([[0.5, 0.5]], dtype=float32)
    """
    logits = ops.stop_gradient(logits)
    entropy = ops.softplus(logits) - target * logits
    low = ops.min(ops.where(mask, entropy, np.inf))
    high = ops.max(ops.where(mask, entropy, -np.inf))
    share = ops.clip((entropy - low) / ops.maximum(high - low, 1e-12), 0.0, 1.0)
    weight = 2.0 / np.pi * ops.arcsin(ops.sqrt(share))
    return ops.stop_gradient(weight * target + (1.0 - weight) * ops.sigmoid(logits))


def listwise_loss(target: Tensor, scores: Tensor, shown: Tensor) -> Tensor:
    """Returns the cross entropy between two softmaxes over the exposed candidates of a slate.

    A mean over the slates with at least two of them.

    Args:
        target: Logits of the target, `(rows, slate)`.
        scores: `(rows, slate)`.
        shown: `(rows, slate)` booleans: the exposed candidates.

    Examples:
        >>> target, scores = ops.convert_to_tensor([[[0.0, 0.0, 9.0]], [[1.0, 1.0, 9.0]]])
        >>> round(float(listwise_loss(target, scores, np.array([[True, True, False]]))), 4)
        0.6931
    """
    several = ops.sum(ops.cast(shown, "int32"), axis=-1) > 1
    kept = ops.logical_and(shown, several[:, None])
    wanted = ops.softmax(ops.where(kept, target, ABSENT), axis=-1)
    found = ops.log_softmax(ops.where(kept, scores, ABSENT), axis=-1)
    entropy = -ops.sum(ops.where(kept, wanted * found, 0.0))
    return entropy / ops.maximum(objectives.number(several), 1.0)

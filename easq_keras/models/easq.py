"""EASQ: the behaviour ranker that listens to questionnaires."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import keras
import tensorflow as tf
from keras import ops

from easq_keras.arguments import positive_int
from easq_keras.layers import FeatureSpec, LoRALayer
from easq_keras.losses import count_pairs, dpo_loss, pairwise_logistic_loss
from easq_keras.models import objectives
from easq_keras.models.emer import EMER, encode, score_of, slate_mask
from easq_keras.models.objectives import Answers, Slates
from easq_keras.models.settings import EASQSettings, EMERSettings
from easq_keras.models.training import Objective, Report, apply_if
from easq_keras.optimizers import AdamTowardInit
from easq_keras.precision import accumulated
from easq_keras.types import Tensor

# Below this standard deviation ŝ no longer tells candidates apart, and is not scaled up further.
COLLAPSED_STD = 0.1
# Share of the old value in the running standard deviations after a step.
SCALE_MOMENTUM = 0.99


@keras.saving.register_keras_serializable(package="easq_keras")
class EASQ(EMER):
    """Ranks by expected behaviour and aligns the ranking with satisfaction.

    To `EMER` come a LoRA delta of the representation (Eq. 7), a second tower for the satisfaction
    score ŝ (Eqs. 12–14) that answers train and that reaches nothing but itself and the delta, and a
    transfer of what it learnt into ŷ (Eq. 16). Only ŷ ranks; `easq_keras.export.scoring_model`
    cuts the rest off.

    Which loss moves which parameters is fixed by stopped gradients and told by `routing_table`.

    Args:
        features: The `FeatureSpec`s of the batch.
        backbone: As for `EMER`.
        settings: Defaults to `EASQSettings()`, the preset `recommended`.
        **kwargs: Single settings to change, and `name`, `dtype`, `trainable` of `keras.Model`.

    Call arguments:
        features: As for `EMER`.

    Returns when called:
        `{"score": ŷ, "satisfaction": ŝ}`, both `(batch, slate)`, float32; 0 for padding.

    Batches of `fit` and `evaluate`:
        `(features, labels)`. `labels["behaviour"]` as for `EMER`; `labels["answer"]`
        `(batch, slate)`: 1 satisfied, 0 dissatisfied, negative none; `labels["pair_group"]`
        `(batch,)`: rows that share a number of at least 0 form one group of answers, a row with a
        negative number is a group of its own. The last two may be absent. A step without answers
        (for a pairwise L_satis: without a pair) leaves the satisfaction path and its optimizer as
        they were.

    Raises:
        ValueError: As for `EMER`.

    Example:

    >>> model = EASQ.from_preset(
    ...     "recommended", features=[FeatureSpec("item", "categorical", num_buckets=50)]
    ... )
    >>> model.compile()
    >>> x = {"item": np.arange(8).reshape(2, 4)}
    >>> y = {"behaviour": np.array([[2, 1, 0, -1], [-1, -1, -1, -1]], "float32"),
    ...      "answer": np.array([[-1, -1, -1, -1], [1, -1, -1, -1]], "float32")}
    >>> history = model.fit(x, y, verbose=0)
    >>> sorted(model(x))
    ['satisfaction', 'score']
    """

    settings_class: ClassVar[type[EMERSettings]] = EASQSettings
    settings: EASQSettings

    @classmethod
    def from_preset(
        cls,
        preset: str,
        features: Iterable[FeatureSpec | Mapping[str, Any]],
        backbone: keras.layers.Layer | None = None,
        **overrides: Any,
    ) -> Self:
        """Builds a model by the name of its settings.

        Args:
            preset: `"recommended"` or `"paper"`; see `EASQSettings`.
            features: As for the constructor.
            backbone: As for the constructor.
            **overrides: Settings that differ from the preset's, and what else the constructor
                takes.

        Raises:
            ValueError: There is no such preset, or an override is out of range.
        """
        return cls(features, backbone=backbone, settings=EASQSettings.preset(preset), **overrides)

    def make_lora(self, units: int) -> keras.layers.Layer:
        """Returns the layer `(..., k) → (..., d)` whose output is added to h (Eq. 7).

        Args:
            units: The backbone's width d.
        """
        return LoRALayer(
            units,
            rank=self.settings.lora_rank,
            lora_alpha=self.settings.lora_alpha,
            name="lora",
            dtype=self.dtype_policy,
        )

    def _make_parts(self) -> None:
        self.satisfaction_tower = self.make_tower(
            self.settings.num_satisfaction_experts, name="satisfaction_tower"
        )
        self.behaviour_head = (
            self.make_network("behaviour_head") if self.settings.has_behaviour_head else None
        )
        self.answered_rows: int | None = None
        self.__dict__["_reference_model"] = None

    def _build_heads(self, x_shape: tuple[Any, ...], h_shape: tuple[Any, ...]) -> None:
        super()._build_heads(x_shape, h_shape)
        self.lora = self.make_lora(h_shape[-1]) if self.settings.use_lora else None
        if self.lora is not None:
            self.lora.build(x_shape)
        self.satisfaction_tower.build(h_shape)
        if self.behaviour_head is not None:
            self.behaviour_head.build(h_shape)
        # Running standard deviations, within slates, of ŷ and of ŝ.
        self.score_scale = self.add_weight(
            name="score_scale",
            shape=(2,),
            initializer="ones",
            dtype="float32",
            autocast=False,
            trainable=False,
            aggregation="mean",
        )
        self.answered_steps = self.add_weight(
            name="answered_steps",
            shape=(),
            initializer="zeros",
            dtype="int32",
            autocast=False,
            trainable=False,
            aggregation="only_first_replica",
        )

    @property
    def satisfaction_variables(self) -> list[keras.Variable]:
        """The trainable variables of the satisfaction path: the delta and the tower of ŝ."""
        layers = [layer for layer in (self.lora, self.satisfaction_tower) if layer is not None]
        return [variable for layer in layers for variable in layer.trainable_variables]

    @property
    def behaviour_variables(self) -> list[keras.Variable]:
        """All other trainable variables."""
        satisfaction = {id(variable) for variable in self.satisfaction_variables}
        return [v for v in self.trainable_variables if id(v) not in satisfaction]

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
        x = self.embedding(features)
        mask = slate_mask(features, x)
        if learning:
            return self._learn(features, x, mask)
        h = encode(self.backbone, x, mask)
        delta = self._delta(x)
        return {
            "score": score_of(self.tower, self._main_input(h, delta), mask),
            "satisfaction": score_of(self.satisfaction_tower, ops.stop_gradient(h) + delta, mask),
        }

    def _delta(self, x: Tensor) -> Tensor:
        """Returns h_LoRA (Eq. 7). Embeddings belong to the main model: x gets no gradient."""
        return 0.0 if self.lora is None else self.lora(ops.stop_gradient(x))

    def _main_input(self, h: Tensor, delta: Tensor) -> Tensor:
        """Returns h_main (Eq. 8). With a behaviour head, that alone trains the backbone."""
        if self.behaviour_head is not None:
            h = ops.stop_gradient(h)
        return h + ops.stop_gradient(delta)

    def _learn(self, features: Mapping[str, Tensor], x: Tensor, mask: Tensor) -> dict[str, Any]:
        """One forward pass over dense and answered rows.

        Only what a loss will ask for is computed, and only where a gradient is wanted may one
        flow: with a batch of which `answered_rows` are answered, the dense rows pass the
        satisfaction path forwards only, and the answered rows the backbone.
        """
        settings = self.settings
        answer_pairs = settings.use_dpo and settings.dpo_pairs == "answers"
        every_row = self.answered_rows is None
        tail = slice(None) if every_row else slice(-self.answered_rows, None)
        if every_row or answer_pairs:
            dense = slice(None)
            h = encode(self.backbone, x, mask)
            answered_h, answered_x = h[tail], x[tail]
        else:
            dense = slice(None, -self.answered_rows)
            answered_x = ops.stop_gradient(x[tail])
            answered_h = encode(self.backbone, answered_x, mask[tail])
            x = x[dense]
            h = encode(self.backbone, x, mask[dense])
        dense_mask, answered_mask = mask[dense], mask[tail]
        delta = self._delta(x)
        main_input = self._main_input(h, delta)
        outputs: dict[str, Any] = {
            "score": score_of(self.tower, main_input, dense_mask),
            "mask": dense_mask,
            "answered_mask": answered_mask,
            "router": self._router_activity(self.tower, main_input, dense_mask),
        }
        answered_input = ops.stop_gradient(answered_h) + (
            delta if every_row else self._delta(answered_x)
        )
        satisfaction = score_of(self.satisfaction_tower, answered_input, answered_mask)
        outputs["answered_satisfaction"] = satisfaction
        outputs["satisfaction_router"] = self._router_activity(
            self.satisfaction_tower, answered_input, answered_mask
        )
        if self._needs_dense_satisfaction:
            if not every_row:
                satisfaction = score_of(self.satisfaction_tower, h + delta, dense_mask)
            outputs["satisfaction"] = ops.stop_gradient(satisfaction)
        if self.behaviour_head is not None:
            outputs["behaviour"] = score_of(self.behaviour_head, h, dense_mask)
        if self._needs_reference_model:
            frozen = self._reference_model(features)["score"]
            outputs["frozen"] = ops.stop_gradient(accumulated(frozen))[dense]
        return outputs

    @property
    def _needs_reference_model(self) -> bool:
        return self.settings.use_dpo and self.settings.dpo_reference == "frozen"

    @property
    def _needs_dense_satisfaction(self) -> bool:
        settings = self.settings
        return settings.shaping > 0 or (settings.use_dpo and settings.dpo_pairs == "slate")

    def objective(self, outputs: Mapping[str, Any], labels: Mapping[str, Tensor]) -> Objective:
        """Returns L_total of Eq. 17 by the path that it moves, and what to report.

        Args:
            outputs: What `call` returned with `learning=True`.
            labels: The labels of the batch.
        """
        settings, score = self.settings, outputs["score"]
        report = Report()
        slates = self._slates(outputs, labels)
        answers = self._answers(outputs, labels)

        difference = None
        if self._needs_dense_satisfaction:
            difference = self.satisfaction_preference(outputs["satisfaction"], slates.shown)
        wanted = slates.preference
        if settings.shaping > 0:
            wanted = objectives.shaped_preference(wanted, difference, settings.shaping)
        main = objectives.pair_loss(wanted, score) * slates.per_pair
        report.add("loss/main", main, slates.has_pairs)
        behaviour_loss = main
        if self.behaviour_head is not None:
            head = objectives.pair_loss(slates.preference, outputs["behaviour"]) * slates.per_pair
            report.add("loss/behaviour", head, slates.has_pairs)
            behaviour_loss = behaviour_loss + head

        satisfaction, usable = self._satisfaction_loss(outputs, answers)
        has_answers = usable > 0
        report.add("loss/satisfaction", satisfaction, has_answers)
        report.add("answers/coverage", has_answers)
        report.add("answers/used", usable)
        report.add("labels/ignored", slates.ignored + answers.ignored)

        if settings.use_dpo:
            dpo, found, rewards = self._dpo_loss(outputs, slates, answers, difference)
            strength = settings.lambda_dpo * self._ramp()
            behaviour_loss = behaviour_loss + strength * dpo
            report.add("loss/dpo", dpo, found)
            report.add("dpo/weight", strength)
            for name, value in rewards.items():
                report.add(name, value, found)

        total = behaviour_loss + settings.lambda_satisfaction * satisfaction
        report.add("loss", total)
        self._report_scores(report, outputs, slates, answers)
        return Objective(
            behaviour=behaviour_loss,
            satisfaction=settings.lambda_satisfaction * satisfaction,
            has_answers=has_answers,
            values=report.values,
            weights=report.weights,
        )

    def satisfaction_preference(self, satisfaction: Tensor, shown: Tensor) -> Tensor:
        """Returns how far satisfaction prefers i to j, `(rows, slate, slate)`, antisymmetric.

        `2σ(s̃ᵢ) − 2σ(s̃ⱼ)`, where s̃ is ŝ centred over the exposed candidates of its slate and
        brought to the running spread of ŷ; as long as ŝ hardly varies it is not blown up. Override
        it for a reward of your own.

        Args:
            satisfaction: ŝ, `(rows, slate)`, without gradient.
            shown: `(rows, slate)` booleans: the exposed candidates.
        """
        standardised = self._standardised(satisfaction, shown)
        return objectives.probability_difference(standardised, shown)

    def _slates(self, outputs: Mapping[str, Any], labels: Mapping[str, Tensor]) -> Slates:
        mask = outputs["mask"]
        levels = accumulated(labels["behaviour"])
        dense = levels[: ops.shape(mask)[0]]
        shown = objectives.exposed(dense, mask)
        preference = objectives.behaviour_preference(dense, shown)
        pairs = ops.sum(preference)
        has_pairs = pairs > 0
        return Slates(
            shown=shown,
            preference=preference,
            has_pairs=has_pairs,
            per_pair=ops.where(has_pairs, 1.0 / ops.maximum(pairs, 1.0), 0.0),
            ignored=objectives.number(levels >= 0) - objectives.number(shown),
        )

    def _answers(self, outputs: Mapping[str, Any], labels: Mapping[str, Tensor]) -> Answers:
        mask = outputs["answered_mask"]
        rows = ops.shape(mask)[0]
        every = labels.get("answer")
        every = -ops.ones_like(labels["behaviour"]) if every is None else every
        every = accumulated(every)
        groups = labels.get("pair_group")
        answer = every[-rows:]
        valid = objectives.is_answer(answer, mask)
        return Answers(
            labels=answer,
            valid=valid,
            groups=-ops.ones((rows,), dtype="int32") if groups is None else groups[-rows:],
            ignored=objectives.number(every >= 0) - objectives.number(valid),
        )

    def _satisfaction_loss(
        self, outputs: Mapping[str, Any], answers: Answers
    ) -> tuple[Tensor, Tensor]:
        """Returns L_satis, a mean, and over how many answers or pairs it was taken."""
        score = outputs["answered_satisfaction"]
        if self.settings.satisfaction_loss == "bce":
            count = objectives.number(answers.valid)
            total = objectives.answer_loss(answers.labels, score, answers.valid)
            return total / ops.maximum(count, 1.0), count
        pairing = {"mask": answers.valid, "groups": answers.groups}
        loss = pairwise_logistic_loss(answers.labels, score, **pairing)
        return loss, count_pairs(answers.labels, **pairing)

    def _dpo_loss(
        self,
        outputs: Mapping[str, Any],
        slates: Slates,
        answers: Answers,
        difference: Tensor | None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Returns L_DPO, whether the batch has any pair for it, and the rewards to report."""
        beta = self._beta()
        if self.settings.dpo_pairs == "slate":
            score, reference = outputs["score"], self._reference(outputs, slates)
            preferred = ops.relu(difference)
            loss = objectives.pair_loss(preferred, score, beta=beta, reference=reference)
            reward = beta * (score - reference)
            rewards = objectives.slate_rewards(preferred, reward)
            return loss * slates.per_pair, slates.has_pairs, rewards
        rows = ops.shape(answers.valid)[0]
        reference = self._reference(outputs, None)
        # The loss takes β as a number: while the ramp moves it, the scores carry what is missing.
        rise = beta / self.settings.beta
        score, reference = rise * outputs["score"][-rows:], rise * reference
        pairing = {"mask": answers.valid, "groups": answers.groups}
        loss = dpo_loss(answers.labels, score, reference, beta=self.settings.beta, **pairing)
        reward = self.settings.beta * (score - reference)
        rewards = objectives.answer_rewards(
            answers.labels, answers.valid, ops.stop_gradient(reward), answers.groups
        )
        return loss, count_pairs(answers.labels, **pairing) > 0, rewards

    def _reference(self, outputs: Mapping[str, Any], slates: Slates | None) -> Tensor:
        """Returns π_ref's scores without gradient, for the slates or for the answered rows."""
        kind = self.settings.dpo_reference
        if kind == "none":
            return ops.zeros_like(outputs["score"] if slates else outputs["answered_satisfaction"])
        if kind == "satisfaction":
            if slates is None:
                return ops.stop_gradient(outputs["answered_satisfaction"])
            return self._standardised(outputs["satisfaction"], slates.shown)
        score = ops.stop_gradient(outputs[kind])
        return score if slates else score[-ops.shape(outputs["answered_mask"])[0] :]

    def _standardised(self, satisfaction: Tensor, shown: Tensor) -> Tensor:
        of_score, of_satisfaction = ops.unstack(ops.convert_to_tensor(self.score_scale), 2)
        scale = of_score / ops.maximum(of_satisfaction, COLLAPSED_STD)
        return scale * objectives.centred(satisfaction, shown)

    def _ramp(self) -> Tensor:
        """Returns how far the ramp has come, from 0 to 1."""
        steps = self.settings.dpo_ramp_steps
        if steps == 0:
            return ops.ones(())
        return ops.minimum(ops.cast(self.answered_steps, "float32") / steps, 1.0)

    def _beta(self) -> Tensor:
        """Returns β of this step."""
        end, start = self.settings.beta, self.settings.beta_start
        return end if start is None else start + (end - start) * self._ramp()

    def _report_scores(
        self, report: Report, outputs: Mapping[str, Any], slates: Slates, answers: Answers
    ) -> None:
        report.add("score/std", objectives.spread(outputs["score"], slates.shown))
        if self._needs_dense_satisfaction:
            satisfaction, within = outputs["satisfaction"], slates.shown
        else:
            satisfaction, within = outputs["answered_satisfaction"], outputs["answered_mask"]
        spread = objectives.spread(ops.stop_gradient(satisfaction), within)
        any_within = ops.any(within)
        report.add("satisfaction/std", spread, any_within)
        report.add("satisfaction/collapsed", spread < COLLAPSED_STD, any_within)
        for prefix in ("router", "satisfaction_router"):
            for name, value in outputs[prefix].items():
                report.add(f"{prefix}/{name}", value)

    def diagnostic_names(self) -> tuple[str, ...]:
        """Returns the names of what `fit` reports."""
        names = ["loss", "loss/main"]
        if self.behaviour_head is not None:
            names.append("loss/behaviour")
        names.append("loss/satisfaction")
        if self.settings.use_dpo:
            names += ["loss/dpo", "dpo/weight", *objectives.REWARDS]
        names += ["answers/coverage", "answers/used", "labels/ignored"]
        names += ["score/std", "satisfaction/std", "satisfaction/collapsed"]
        return (
            *names,
            *self._router_names(self.tower, "router"),
            *self._router_names(self.satisfaction_tower, "satisfaction_router"),
        )

    def compile(
        self,
        optimizer: Any = None,
        satisfaction_optimizer: Any = None,
        answered_rows: int | None = None,
        reference_model: keras.Model | None = None,
        **kwargs: Any,
    ) -> None:
        """Prepares `fit`.

        Args:
            optimizer: Optimizer of everything but the satisfaction path. Defaults to Adam with
                `settings.learning_rate`.
            satisfaction_optimizer: Optimizer of the satisfaction path; its state moves only in
                steps that have answers. Defaults to `AdamTowardInit` with `settings.learning_rate`
                and `settings.satisfaction_decay`.
            answered_rows: If answers are found in the last so many rows of each batch only: that
                number. Answers elsewhere, and behaviour labels in these rows, are then ignored
                (`labels/ignored` counts them), and the step is faster. None: any row may have
                both.
            reference_model: For `dpo_reference="frozen"`: a trained model that returns `"score"`
                for the same features. It is neither trained nor saved with this one.
            **kwargs: As for `EMER.compile`.

        Raises:
            ValueError: `answered_rows` is no positive integer, or `reference_model` is given
                without `dpo_reference="frozen"` or the other way round.
        """
        if self._needs_reference_model != (reference_model is not None):
            raise ValueError(
                "`reference_model` goes with dpo_reference='frozen' and only with it. Received: "
                f"dpo_reference={self.settings.dpo_reference!r}, "
                f"use_dpo={self.settings.use_dpo}, reference_model={reference_model!r}."
            )
        self.answered_rows = (
            None if answered_rows is None else positive_int("answered_rows", answered_rows)
        )
        # Past Keras's tracking: another model's variables are no state of this one.
        self.__dict__["_reference_model"] = reference_model
        if optimizer is None:
            optimizer = keras.optimizers.Adam(self.settings.learning_rate)
        keras.Model.compile(self, optimizer=optimizer, **kwargs)
        self.optimizer.build(self.behaviour_variables)
        if satisfaction_optimizer is None:
            satisfaction_optimizer = AdamTowardInit(
                self.settings.learning_rate, decay=self.settings.satisfaction_decay
            )
        satisfaction_optimizer = keras.optimizers.get(satisfaction_optimizer)
        scaled = keras.optimizers.LossScaleOptimizer
        if isinstance(self.optimizer, scaled) and not isinstance(satisfaction_optimizer, scaled):
            satisfaction_optimizer = scaled(satisfaction_optimizer)
        self.satisfaction_optimizer = satisfaction_optimizer
        self.satisfaction_optimizer.build(self.satisfaction_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns `compile`'s arguments but the reference model, serialised, or None before it."""
        config = super().get_compile_config()
        if config is None:
            return None
        optimizer = keras.saving.serialize_keras_object(self.satisfaction_optimizer)
        return {
            **config,
            "satisfaction_optimizer": optimizer,
            "answered_rows": self.answered_rows,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Calls `compile` with what `get_compile_config` returned, if that is all it needs."""
        if self._needs_reference_model:
            warnings.warn(
                "The model is not compiled: call `compile(reference_model=…)`, for the reference "
                "model is not saved with it.",
                stacklevel=2,
            )
            return
        super().compile_from_config(config)

    def _scale(self, losses: list[Tensor | None]) -> list[Tensor | None]:
        return [
            self.optimizer.scale_loss(losses[0]),
            self.satisfaction_optimizer.scale_loss(losses[1]),
        ]

    def _minimise(
        self, tape: tf.GradientTape, losses: list[Tensor | None], objective: Objective
    ) -> None:
        behaviour, satisfaction = self.behaviour_variables, self.satisfaction_variables
        gradients = tape.gradient(losses[0], behaviour), tape.gradient(losses[1], satisfaction)
        self.optimizer.apply(gradients[0], behaviour)
        apply_if(objective.has_answers, self.satisfaction_optimizer, gradients[1], satisfaction)

    def _after_step(self, outputs: Mapping[str, Any], objective: Objective) -> None:
        self.answered_steps.assign_add(ops.cast(objective.has_answers, "int32"))
        if self._needs_dense_satisfaction:
            new = ops.stack([objective.values["score/std"], objective.values["satisfaction/std"]])
            known = ops.cast(objective.weights["satisfaction/std"], "bool")
            mixed = SCALE_MOMENTUM * self.score_scale + (1.0 - SCALE_MOMENTUM) * new
            self.score_scale.assign(ops.where(known, mixed, self.score_scale))

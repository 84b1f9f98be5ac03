"""EASQ: the behaviour ranker that listens to questionnaires."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

import keras
import tensorflow as tf
from keras import ops

from easq_keras.layers import FeatureEmbedding, FeatureSpec, LoRALayer
from easq_keras.layers.slate_input import SlateInput
from easq_keras.models import alignment, objectives
from easq_keras.models.emer import EMER, read, score_of, slate_mask
from easq_keras.models.settings import EASQSettings, EMERSettings
from easq_keras.models.training import Objective, Report, apply_if, gradients, on_any_replica
from easq_keras.optimizers import AdamTowardInit
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
        `(batch, slate)`: 1 satisfied, 0 dissatisfied (or a share between them), negative none;
        `labels["pair_group"]` `(batch,)`: rows that share a number of at least 0 form one group of
        answers, a row with a negative number is a group of its own. The last two may be absent. A
        step without answers (for a pairwise L_satis: without a pair) leaves the satisfaction path
        and its optimizer as they were.

    Raises:
        ValueError: As for `EMER`.

    Examples:
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

    def make_satisfaction_tower(self) -> keras.layers.Layer:
        """Returns the layer `(..., d) → (..., 1)` of ŝ (Eqs. 13, 14)."""
        return self.make_tower(self.settings.num_satisfaction_experts, name="satisfaction_tower")

    def make_tower(self, num_experts: int, name: str) -> keras.layers.Layer:
        """Returns a layer `(..., d) → (..., 1)` that scores; override it for towers of your own.

        Args:
            num_experts: K1 for ŷ, K2 for ŝ.
            name: Name of the layer: `"tower"` or `"satisfaction_tower"`.
        """
        if name == "satisfaction_tower" and not self.settings.use_moe:
            # As a logit ŝ has a level to learn; as one side of pairs it has none.
            is_logit = self.settings.satisfaction_loss != "pairwise"
            return self.make_network(name, output_bias=is_logit)
        return super().make_tower(num_experts, name)

    def _make_parts(self) -> None:
        self.satisfaction_tower = self.make_satisfaction_tower()
        self.behaviour_head = (
            self.make_network("behaviour_head") if self.settings.has_behaviour_head else None
        )
        self.lora_embedding = self._make_lora_embedding()
        self._reference_scores: Callable[[Any], Tensor] | None = None

    def _make_lora_embedding(self) -> FeatureEmbedding | None:
        """Returns what the delta reads beside x: rows of the candidates' indices, of its own."""
        of_candidates = [
            spec for spec in self.embedding.features if spec.embedded and spec.level == "candidate"
        ]
        dim = self.settings.lora_embedding_dim
        if dim == 0 or not self.settings.use_lora or not of_candidates:
            return None
        indices = [FeatureSpec(**{**spec.get_config(), "dim": dim}) for spec in of_candidates]
        return FeatureEmbedding(
            indices,
            # What no answer was ever about adds nothing.
            embeddings_initializer="zeros",
            name="lora_embedding",
            dtype=self.dtype_policy,
        )

    def _build_heads(self, x_shape: tuple[Any, ...], h_shape: tuple[Any, ...]) -> None:
        super()._build_heads(x_shape, h_shape)
        self.lora = self.make_lora(h_shape[-1]) if self.settings.use_lora else None
        if self.lora_embedding is not None:
            self.lora_embedding.build(self.lora_embedding.symbolic_shapes())
            x_shape = (*x_shape[:-1], x_shape[-1] + self.lora_embedding.output_dim)
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
        parts = (self.lora_embedding, self.lora, self.satisfaction_tower)
        layers = [layer for layer in parts if layer is not None]
        return [variable for layer in layers for variable in layer.trainable_variables]

    @property
    def behaviour_variables(self) -> list[keras.Variable]:
        """All other trainable variables."""
        satisfaction = {id(variable) for variable in self.satisfaction_variables}
        return [v for v in self.trainable_variables if id(v) not in satisfaction]

    def routes(self) -> dict[str, set[str]]:
        """Returns the parts of the model that each of its losses has a gradient for."""
        return alignment.routes(self.settings)

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
            return self._learn(features)
        x = self.embedding.parts(features)
        mask = slate_mask(features, x.own)
        h = read(self.backbone, x, mask)
        delta = self.delta(features, x, mask)
        return {
            "score": score_of(self.tower, self._main_input(h, delta), mask),
            "satisfaction": score_of(self.satisfaction_tower, self._isolated(h) + delta, mask),
        }

    def _isolated(self, tensor: Tensor) -> Tensor:
        """Returns what the satisfaction path reads of the ranker: answers move only their path."""
        return ops.stop_gradient(tensor)

    def delta(self, features: Mapping[str, Tensor], x: SlateInput, mask: Tensor) -> Tensor:
        """Returns h_LoRA (Eq. 7), `(batch, slate, d)`, or 0 without LoRA.

        Embeddings belong to the main model: x gets no gradient.

        Args:
            features: The batch.
            x: What the embedding makes of it.
            mask: `(batch, slate)` booleans.
        """
        if self.lora is None:
            return ops.zeros((), x.own.dtype)
        x = x.map(ops.stop_gradient)
        if self.lora_embedding is not None:
            x = x.beside(self.lora_embedding.parts(features))
        return read(self.lora, x, mask)

    def _main_input(self, h: Tensor, delta: Tensor) -> Tensor:
        """Returns h_main (Eq. 8). With a behaviour head, that alone trains the backbone."""
        if self.behaviour_head is not None:
            h = ops.stop_gradient(h)
        return h + ops.stop_gradient(delta)

    def _learn(self, features: Mapping[str, Tensor]) -> dict[str, Any]:
        """One forward pass over dense and answered rows.

        Only what a loss will ask for is computed, and only where a gradient is wanted may one
        flow: with a batch of which `answered_rows` are answered, the dense rows pass the
        satisfaction path forwards only, and the answered rows the backbone.
        """
        settings = self.settings
        answer_pairs = settings.use_dpo and settings.dpo_pairs == "answers"
        last = self.answered_rows
        tail = slice(None) if last is None else slice(-last, None)
        apart = last is not None and not answer_pairs
        dense = self._dense_rows(features) if apart else features
        x = self.embedding.parts(dense)
        dense_mask = slate_mask(dense, x.own)
        h = read(self.backbone, x, dense_mask)
        answered = {name: value[tail] for name, value in features.items()}
        if apart:
            answered_x = self.embedding.parts(answered).map(self._isolated)
            answered_mask = slate_mask(answered, answered_x.own)
            answered_h = read(self.backbone, answered_x, answered_mask)
        else:
            self._check_answered_rows(x.own)
            answered_x = x.map(lambda part: part[tail])
            answered_mask, answered_h = dense_mask[tail], h[tail]
        delta = self.delta(dense, x, dense_mask)
        main_input = self._main_input(h, delta)
        outputs: dict[str, Any] = {
            "score": score_of(self.tower, main_input, dense_mask),
            "h_main": main_input,
            "mask": dense_mask,
            "answered_mask": answered_mask,
            "router": self._router_activity(self.tower, main_input, dense_mask),
        }
        if answer_pairs and last is not None:
            # Behaviour is learnt from the dense rows, although all rows have a score.
            behaviour_rows = [dense_mask[:-last], ops.zeros_like(answered_mask)]
            outputs["mask"] = ops.concatenate(behaviour_rows)
        answered_input = self._isolated(answered_h) + (
            delta if last is None else self.delta(answered, answered_x, answered_mask)
        )
        satisfaction = score_of(self.satisfaction_tower, answered_input, answered_mask)
        outputs["answered_satisfaction"] = satisfaction
        outputs["satisfaction_router"] = self._router_activity(
            self.satisfaction_tower, answered_input, answered_mask
        )
        if self._needs_dense_satisfaction:
            if last is not None:
                fused = self._isolated(h) + delta
                # The dense rows move the satisfaction path only where silence tells something.
                fused = fused if self._learns_silence else ops.stop_gradient(fused)
                satisfaction = score_of(self.satisfaction_tower, fused, dense_mask)
            outputs["satisfaction"] = ops.stop_gradient(satisfaction)
            if self._learns_silence:
                outputs["exposed_satisfaction"] = satisfaction
        if self.behaviour_head is not None:
            outputs["behaviour"] = score_of(self.behaviour_head, h, dense_mask)
        if self._needs_reference_model:
            outputs["frozen"] = ops.stop_gradient(self._frozen_scores(dense, dense_mask))
        return outputs

    def _frozen_scores(self, features: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        if self._reference_scores is None:
            raise ValueError("dpo_reference='frozen' needs `compile(reference_model=…)` first.")
        scores = ops.cast(self._reference_scores(features), "float32")
        return ops.where(mask, scores, ops.zeros_like(scores))

    @property
    def _needs_reference_model(self) -> bool:
        return self.settings.use_dpo and self.settings.dpo_reference == "frozen"

    @property
    def _needs_dense_satisfaction(self) -> bool:
        settings = self.settings
        transfers = settings.shaping > 0 or (settings.use_dpo and settings.dpo_pairs == "slate")
        return transfers or self._learns_silence

    @property
    def _learns_silence(self) -> bool:
        return self.settings.satisfaction_loss == "silence"

    def objective(self, outputs: Mapping[str, Any], labels: Mapping[str, Tensor]) -> Objective:
        """Returns L_total of Eq. 17 and what to report.

        Args:
            outputs: What `call` returned with `learning=True`.
            labels: The labels of the batch.
        """
        settings, score = self.settings, outputs["score"]
        slates = alignment.read_slates(labels, outputs["mask"])
        answers = alignment.read_answers(labels, outputs["answered_mask"])
        report = Report()
        report.add("labels/ignored", slates.ignored + answers.ignored)

        preference = standardised = None
        if self._needs_dense_satisfaction:
            standardised = self.standardised(outputs["satisfaction"], slates.shown)
            preference = self.satisfaction_preference(standardised, slates.shown)
        wanted = slates.preference
        if settings.shaping > 0:
            shaping = self._strength("shaping") * self.ramp()
            wanted = objectives.shaped_preference(wanted, preference, shaping)
        terms = {"main": objectives.pair_loss(wanted, score) * slates.per_pair}
        strengths: dict[str, Any] = {"main": 1.0}
        report.add("loss/main", terms["main"], slates.has_pairs)
        if self.behaviour_head is not None:
            head = objectives.pair_loss(slates.preference, outputs["behaviour"])
            terms["behaviour"], strengths["behaviour"] = head * slates.per_pair, 1.0
            report.add("loss/behaviour", terms["behaviour"], slates.has_pairs)

        terms["satisfaction"], used = alignment.satisfaction_loss(
            settings, answers, outputs["answered_satisfaction"]
        )
        if self._learns_silence:
            terms["satisfaction"] = terms["satisfaction"] + alignment.silence_loss(
                outputs["exposed_satisfaction"], slates.shown
            )
        strengths["satisfaction"] = settings.lambda_satisfaction
        has_answers = used > 0
        report.add("loss/satisfaction", terms["satisfaction"], has_answers)
        report.add("answers/coverage", has_answers)
        report.add("answers/used", used)

        if settings.use_dpo:
            terms["dpo"], found, rewards = alignment.transfer_loss(
                settings,
                outputs,
                slates,
                answers,
                preference=preference,
                standardised=standardised,
                beta=self.current_beta(),
            )
            strengths["dpo"] = self._strength("lambda_dpo") * self.ramp()
            report.add("dpo/weight", strengths["dpo"])
            for name, value in {"loss/dpo": terms["dpo"], **rewards}.items():
                report.add(name, value, found)

        weighted = {name: strengths[name] * term for name, term in terms.items()}
        satisfaction = weighted.pop("satisfaction")
        behaviour = sum(weighted.values())
        report.add("loss", behaviour + satisfaction)
        self._report_scores(report, outputs, slates.shown)
        return Objective(behaviour, satisfaction, has_answers, terms, report)

    def standardised(self, satisfaction: Tensor, shown: Tensor) -> Tensor:
        """Returns s̃: ŝ centred over the exposed candidates and brought to the spread of ŷ.

        Both spreads are running standard deviations within slates. As long as ŝ hardly varies it
        is not blown up.

        Args:
            satisfaction: ŝ, `(rows, slate)`, without gradient.
            shown: `(rows, slate)` booleans: the exposed candidates.
        """
        of_score, of_satisfaction = ops.unstack(ops.convert_to_tensor(self.score_scale), 2)
        scale = of_score / ops.maximum(of_satisfaction, COLLAPSED_STD)
        return scale * objectives.centred(satisfaction, shown)

    def satisfaction_preference(self, standardised: Tensor, shown: Tensor) -> Tensor:
        """Returns how far satisfaction prefers i to j, `2σ(s̃ᵢ) − 2σ(s̃ⱼ)`.

        Override it for a reward of your own.

        Args:
            standardised: s̃, `(rows, slate)`, without gradient.
            shown: `(rows, slate)` booleans: the exposed candidates.

        Returns:
            `(rows, slate, slate)`, antisymmetric, 0 for pairs that shall not count.
        """
        return objectives.probability_difference(standardised, shown)

    def _strength(self, setting: str) -> Tensor | float:
        """Returns the value of a weight that may be the one to trade off by."""
        traded = setting == self.settings.trade_off_setting
        return ops.convert_to_tensor(self.trade_off) if traded else getattr(self.settings, setting)

    def ramp(self) -> Tensor:
        """Returns how far the ramp has come, from 0 to 1."""
        steps = self.settings.dpo_ramp_steps
        if steps == 0:
            return ops.ones(())
        return ops.minimum(ops.cast(self.answered_steps, "float32") / steps, 1.0)

    def current_beta(self) -> Tensor:
        """Returns β of this step."""
        end, start = self.settings.beta, self.settings.beta_start
        return end if start is None else start + (end - start) * self.ramp()

    def _report_scores(self, report: Report, outputs: Mapping[str, Any], shown: Tensor) -> None:
        report.add("score/std", objectives.spread(outputs["score"], shown))
        if self._needs_dense_satisfaction:
            satisfaction, within = outputs["satisfaction"], shown
        else:
            satisfaction, within = outputs["answered_satisfaction"], outputs["answered_mask"]
        spread, known = objectives.spread(satisfaction, within), on_any_replica(ops.any(within))
        report.add("satisfaction/std", spread, known)
        report.add("satisfaction/collapsed", spread < COLLAPSED_STD, known)
        report.add_router("router", outputs["router"], outputs["mask"])
        report.add_router(
            "satisfaction_router", outputs["satisfaction_router"], outputs["answered_mask"]
        )

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
                steps that have answers, and it decays all but `lora_embedding`. Defaults to
                `AdamTowardInit` with `settings.learning_rate` and `settings.satisfaction_decay`.
            answered_rows: If answers are found in the last so many rows of each batch only: that
                number. Answers elsewhere, and behaviour labels in these rows, are then ignored
                (`labels/ignored` counts them), and the step is faster. None: any row may have
                both.
            reference_model: For `dpo_reference="frozen"`: a trained model that returns `"score"`
                for the same features. It is neither trained nor saved with this one: a model that
                comes from a file is to be compiled anew.
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
        # A function, which Keras does not track: another model's variables are no state of this.
        self._reference_scores = (
            None
            if reference_model is None
            else lambda features: reference_model(features, training=False)["score"]
        )
        self._compile(optimizer, answered_rows, **kwargs)
        self.optimizer.build(self.behaviour_variables)
        if satisfaction_optimizer is None:
            satisfaction_optimizer = AdamTowardInit(
                self.settings.learning_rate, decay=self.settings.satisfaction_decay
            )
        satisfaction_optimizer = keras.optimizers.get(satisfaction_optimizer)
        if self.lora_embedding is not None:
            _leave_out_of_decay(self.lora_embedding.trainable_variables, satisfaction_optimizer)
        scaled = keras.optimizers.LossScaleOptimizer
        if isinstance(self.optimizer, scaled) and not isinstance(satisfaction_optimizer, scaled):
            satisfaction_optimizer = scaled(satisfaction_optimizer)
        self.satisfaction_optimizer = satisfaction_optimizer
        self.satisfaction_optimizer.build(self.satisfaction_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns `compile`'s arguments, serialised; None before it, or with a reference model."""
        config = super().get_compile_config()
        if not config or self._needs_reference_model:
            return None
        optimizer = keras.saving.serialize_keras_object(self.satisfaction_optimizer)
        return {**config, "satisfaction_optimizer": optimizer}

    def _scale(self, losses: list[Tensor | None]) -> list[Tensor | None]:
        return [
            self.optimizer.scale_loss(losses[0]),
            self.satisfaction_optimizer.scale_loss(losses[1]),
        ]

    def _minimise(
        self, tape: tf.GradientTape, losses: list[Tensor | None], objective: Objective
    ) -> None:
        behaviour, satisfaction = self.behaviour_variables, self.satisfaction_variables
        of_behaviour = gradients(tape, losses[0], behaviour)
        of_satisfaction = gradients(tape, losses[1], satisfaction)
        self.optimizer.apply(of_behaviour, behaviour)
        answered = on_any_replica(objective.has_answers)
        apply_if(answered, self.satisfaction_optimizer, of_satisfaction, satisfaction)
        self.answered_steps.assign_add(ops.cast(answered, "int32"))

    def _after_step(self, outputs: Mapping[str, Any], objective: Objective) -> None:
        if self._needs_dense_satisfaction:
            values, weights = objective.report.values, objective.report.weights
            new = ops.stack([values["score/std"], values["satisfaction/std"]])
            known = weights["satisfaction/std"] > 0
            mixed = SCALE_MOMENTUM * self.score_scale + (1.0 - SCALE_MOMENTUM) * new
            self.score_scale.assign(ops.where(known, mixed, self.score_scale))


def _leave_out_of_decay(variables: list[keras.Variable], optimizer: keras.Optimizer) -> None:
    """An item is met too seldom for its row to hold against a decay at every step."""
    decays = getattr(optimizer, "inner_optimizer", optimizer)
    if not decays.built:
        decays.exclude_from_weight_decay(variables)

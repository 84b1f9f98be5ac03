"""EMER_s: the behaviour ranker that learns answers as further pairs."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from easq_keras.arguments import at_least, one_of
from easq_keras.losses import count_pairs, pairwise_logistic_loss
from easq_keras.models import objectives
from easq_keras.models.alignment import read_answers, read_slates
from easq_keras.models.emer import EMER, score_of
from easq_keras.models.objectives import Answers
from easq_keras.models.settings import EMERSettings
from easq_keras.models.training import (
    Objective,
    Report,
    at_least_one,
    mean_over_replicas,
    shared_mean,
)
from easq_keras.types import Tensor

ANSWER_PAIRS = ("pair", "level")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EMERSSettings(EMERSettings):
    """Settings of `EMERS`.

    Attributes:
        answer_pairs: `"pair"`: Satisfied above Dissatisfied within a pair group. `"level"`:
            Satisfied above, Dissatisfied below the other exposed candidates of its slate, which
            needs no second answer.
        lambda_satisfaction: Weight λ of the pairs of answers against those of behaviour.

    Raises:
        ValueError: A setting is out of range; the message names it.

    Examples:
        >>> EMERSSettings(answer_pairs="level").trade_off_setting
        'lambda_satisfaction'
    """

    answer_pairs: str = "pair"
    lambda_satisfaction: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("answer_pairs", self.answer_pairs, ANSWER_PAIRS)
        at_least("lambda_satisfaction", self.lambda_satisfaction, 0)

    @property
    def trade_off_setting(self) -> str:
        """Name of the setting that trades behaviour for satisfaction."""
        return "lambda_satisfaction"


@keras.saving.register_keras_serializable(package="easq_keras")
class EMERS(EMER):
    """EMER with answers as further training pairs of ŷ, the baseline EMER_s of the EASQ paper.

    `L = L_main + λ · mean over pairs of −log σ(ŷᵢ − ŷⱼ)`, all of it into all of the model
    (section 5.1.3 of the paper, which does not say how the pairs are formed; both ways are here).

    Args:
        features: As for `EMER`.
        backbone: As for `EMER`.
        settings: Defaults to `EMERSSettings()`.
        **kwargs: As for `EMER`.

    Batches of `fit` and `evaluate`:
        As for `EASQ`. With `answer_pairs="level"` `labels["exposed"]` `(batch, slate)` says by a
        number above 0 which candidates of a row were exposed; a candidate with a behaviour level
        of at least 0 was exposed in any case.

    Examples:
        >>> from easq_keras.layers import FeatureSpec
        >>> model = EMERS(
        ...     [FeatureSpec("item", "categorical", num_buckets=50)], answer_pairs="level"
        ... )
        >>> model.compile(answered_rows=1)
        >>> x = {"item": np.arange(8).reshape(2, 4)}
        >>> y = {"behaviour": np.array([[2, 1, 0, -1], [-1, -1, -1, -1]], "float32"),
        ...      "answer": np.array([[-1, -1, -1, -1], [1, -1, -1, -1]], "float32"),
        ...      "exposed": np.array([[1, 1, 1, 0], [1, 1, 1, 0]], "float32")}
        >>> logs = model.train_on_batch(x, y, return_dict=True)
        >>> float(logs["answers/used"])  # pairs of the satisfied with the two others
        2.0
    """

    settings_class: ClassVar[type[EMERSettings]] = EMERSSettings
    settings: EMERSSettings

    def routes(self) -> dict[str, set[str]]:
        """Returns the parts of the model that each of its losses has a gradient for."""
        everything = super().routes()["main"]
        return {"main": everything, "satisfaction": everything}

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
        mask, h = self._encoded(features)
        score = score_of(self.tower, h, mask)
        if not learning:
            return {"score": score}
        self._check_answered_rows(h)
        last = self.answered_rows
        dense = slice(None) if last is None else slice(None, -last)
        tail = slice(None) if last is None else slice(-last, None)
        return {
            "score": score[dense],
            "mask": mask[dense],
            "answered_score": score[tail],
            "answered_mask": mask[tail],
            "router": self._router_activity(self.tower, h, mask),
            "router_mask": mask,
        }

    def objective(self, outputs: Mapping[str, Any], labels: Mapping[str, Tensor]) -> Objective:
        """Returns the loss of a batch and what to report of it.

        Args:
            outputs: What `call` returned with `learning=True`.
            labels: The labels of the batch.
        """
        slates = read_slates(labels, outputs["mask"])
        answers = read_answers(labels, outputs["answered_mask"])
        main = objectives.pair_loss(slates.preference, outputs["score"]) * slates.per_pair
        if self.settings.answer_pairs == "pair":
            pairing = {"mask": answers.valid, "groups": answers.groups}
            mean = pairwise_logistic_loss(answers.labels, outputs["answered_score"], **pairing)
            count = count_pairs(answers.labels, **pairing)
            asked, used = shared_mean(mean, count), mean_over_replicas(count)
        else:
            preference = self.level_preference(labels, answers, outputs["answered_mask"])
            used = mean_over_replicas(ops.sum(preference))
            asked = objectives.pair_loss(preference, outputs["answered_score"])
            asked = asked / at_least_one(used)
        loss = main + self.trade_off * asked
        report = Report()
        report.add("loss", loss)
        report.add("loss/main", main, slates.has_pairs)
        report.add("loss/satisfaction", asked, used > 0)
        report.add("answers/coverage", used > 0)
        report.add("answers/used", used)
        report.add("labels/ignored", slates.ignored + answers.ignored)
        report.add("score/std", objectives.spread(outputs["score"], slates.shown))
        report.add_router("router", outputs["router"], outputs["router_mask"])
        return Objective(loss, None, None, {"main": main, "satisfaction": asked}, report)

    @staticmethod
    def level_preference(labels: Mapping[str, Tensor], answers: Answers, mask: Tensor) -> Tensor:
        """Returns the pairs of "level" as weights: Satisfied over unanswered over Dissatisfied.

        Args:
            labels: The labels of the batch.
            answers: What its answered rows say.
            mask: `(answered rows, slate)` booleans.

        Returns:
            `(answered rows, slate, slate)`. Pairs of two unanswered candidates have weight 0.
        """
        rows = ops.shape(mask)[0]
        shown = ops.cast(labels["behaviour"], "float32")[-rows:] >= 0
        if "exposed" in labels:
            shown = ops.logical_or(shown, ops.cast(labels["exposed"], "float32")[-rows:] > 0)
        shown = ops.logical_or(ops.logical_and(shown, mask), answers.valid)
        levels = ops.where(answers.valid, answers.labels, 0.5 * ops.ones_like(answers.labels))
        return objectives.behaviour_preference(levels, shown)

    def diagnostic_names(self) -> tuple[str, ...]:
        """Returns the names of what `fit` reports."""
        loss, main, *rest = super().diagnostic_names()
        answers = ("loss/satisfaction", "answers/coverage", "answers/used", "labels/ignored")
        return (loss, main, *answers, *rest)

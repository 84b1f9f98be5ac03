"""The parts of EASQ's objective, Eq. 17, each a function of the scores and labels of a batch."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from easq_keras.losses import count_pairs, dpo_loss, pairwise_logistic_loss
from easq_keras.models import objectives
from easq_keras.models.objectives import Answers, Slates
from easq_keras.models.settings import EASQSettings
from easq_keras.models.training import at_least_one, mean_over_replicas, shared_mean
from easq_keras.types import Tensor

# The parts of the model that have variables to train, by their attribute.
PARTS = (
    "embedding",
    "backbone",
    "lora_embedding",
    "lora",
    "tower",
    "satisfaction_tower",
    "behaviour_head",
    "auxiliary_tower",
)


def routes(settings: EASQSettings) -> dict[str, set[str]]:
    """Returns the parts that each loss of a model with these settings has a gradient for."""
    trunk = {"embedding", "backbone"}
    moved = {"main": {"tower", *trunk}}
    if settings.has_behaviour_head:
        moved = {"main": {"tower"}, "behaviour": {"behaviour_head", *trunk}}
    moved["satisfaction"] = {"lora_embedding", "lora", "satisfaction_tower"}
    if settings.use_dpo:
        moved["dpo"] = moved["main"]
    return moved


def read_slates(labels: Mapping[str, Tensor], mask: Tensor) -> Slates:
    """Returns what the dense rows say, the first of the batch.

    Args:
        labels: The labels of the batch.
        mask: `(dense rows, slate)` booleans.
    """
    levels = ops.cast(labels["behaviour"], "float32")
    dense = levels[: ops.shape(mask)[0]]
    shown = objectives.exposed(dense, mask)
    preference = objectives.behaviour_preference(dense, shown)
    pairs = mean_over_replicas(ops.sum(preference))
    has_pairs = pairs > 0
    return Slates(
        shown=shown,
        preference=preference,
        has_pairs=has_pairs,
        per_pair=ops.where(has_pairs, 1.0 / at_least_one(pairs), 0.0),
        ignored=objectives.number(levels >= 0) - objectives.number(shown),
    )


def read_answers(labels: Mapping[str, Tensor], mask: Tensor) -> Answers:
    """Returns what the answered rows say, the last of the batch.

    Args:
        labels: The labels of the batch; without `"answer"` there is none.
        mask: `(answered rows, slate)` booleans.
    """
    rows = ops.shape(mask)[0]
    given = labels.get("answer")
    every = -ops.ones_like(ops.cast(labels["behaviour"], "float32")) if given is None else given
    every = ops.cast(every, "float32")
    answer = every[-rows:]
    valid = objectives.is_answer(answer, mask)
    groups = labels.get("pair_group")
    return Answers(
        labels=answer,
        valid=valid,
        groups=-ops.ones((rows,), dtype="int32") if groups is None else groups[-rows:],
        ignored=objectives.number(every >= 0) - objectives.number(valid),
    )


def satisfaction_loss(
    settings: EASQSettings, answers: Answers, score: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns L_satis, a mean, and the number of answers or pairs it was taken over.

    Args:
        settings: Says whether Eq. 15 or the cross entropy of single answers.
        answers: The answers.
        score: ŝ of the answered rows.
    """
    if settings.satisfaction_loss == "pairwise":
        pairing = {"mask": answers.valid, "groups": answers.groups}
        loss = pairwise_logistic_loss(answers.labels, score, **pairing)
        count = count_pairs(answers.labels, **pairing)
        return shared_mean(loss, count), mean_over_replicas(count)
    valid = answers.valid
    if settings.satisfaction_loss == "silence":
        # ½ stands for silence, which `silence_loss` reads off all that was exposed.
        valid = ops.logical_and(valid, answers.labels != 0.5)
    count = mean_over_replicas(objectives.number(valid))
    total = objectives.answer_loss(answers.labels, score, valid)
    return total / at_least_one(count), count


def silence_loss(score: Tensor, shown: Tensor) -> Tensor:
    """Returns the mean cross entropy of "not satisfied" over all exposed candidates.

    Beside the mean over the answers it makes of ŝ how much likelier a candidate is among what
    satisfied than among what was shown, as a logarithm (up to a constant): those who were silent
    are not known to be dissatisfied, and neither are the satisfied ones taken out of them.

    Args:
        score: ŝ of the dense rows, `(rows, slate)`.
        shown: `(rows, slate)` booleans: the exposed candidates.
    """
    count = at_least_one(mean_over_replicas(objectives.number(shown)))
    return objectives.answer_loss(ops.zeros_like(score), score, shown) / count


def transfer_loss(
    settings: EASQSettings,
    outputs: Mapping[str, Any],
    slates: Slates,
    answers: Answers,
    *,
    preference: Tensor | None,
    standardised: Tensor | None,
    beta: Tensor | float,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Returns L_DPO (Eq. 16), whether there is any pair for it, and the rewards to report.

    Args:
        settings: Say which pairs and which reference.
        outputs: What the model returned for the training step.
        slates: The dense rows.
        answers: The answered rows.
        preference: `(rows, slate, slate)`: how far satisfaction prefers i to j, for pairs of
            slates.
        standardised: s̃ of the dense rows, the reference "satisfaction" of pairs of slates.
        beta: β of this step.
    """
    kind = settings.dpo_reference
    if settings.dpo_pairs == "slate":
        score = outputs["score"]
        known = {"satisfaction": standardised, "none": ops.zeros_like(score)}
        reference = ops.stop_gradient(known[kind] if kind in known else outputs[kind])
        preferred = ops.relu(preference)
        loss = objectives.pair_loss(preferred, score, beta=beta, reference=reference)
        rewards = objectives.slate_rewards(preferred, beta * (score - reference))
        return loss * slates.per_pair, slates.has_pairs, rewards
    score = _last_rows(outputs["score"], answers)
    known = {"satisfaction": outputs["answered_satisfaction"], "none": ops.zeros_like(score)}
    reference = known[kind] if kind in known else _last_rows(outputs[kind], answers)
    # The loss takes β as a number: while a ramp moves it, the scores carry what is missing.
    rise = beta / settings.beta
    score, reference = rise * score, rise * ops.stop_gradient(reference)
    pairing = {"mask": answers.valid, "groups": answers.groups}
    loss = dpo_loss(answers.labels, score, reference, beta=settings.beta, **pairing)
    reward = ops.stop_gradient(settings.beta * (score - reference))
    rewards = objectives.answer_rewards(answers.labels, answers.valid, reward, answers.groups)
    count = count_pairs(answers.labels, **pairing)
    return shared_mean(loss, count), mean_over_replicas(count) > 0, rewards


def _last_rows(scores: Tensor, answers: Answers) -> Tensor:
    return scores[-ops.shape(answers.valid)[0] :]

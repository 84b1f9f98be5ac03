"""What a model card says in words, with the model's figures where they matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.evaluation.eval_config import is_simulated
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.report.text import count, share

INTENDED_USE = (
    "Ranks the candidates of one request for one person by the behaviour that is expected, aligned "
    "with what people said satisfied them.",
    "A score orders the candidates of its own request. It is no probability, and scores of two "
    "requests or two versions are not on one scale.",
    "Not for decisions about people, for what is unlike the logs it learnt from, or as a measure "
    "of how satisfied anybody is.",
)


def limits(dataset: DatasetConfig, learnt_from: str) -> list[str]:
    """What the model has not seen, and what its figures do not say.

    Args:
        dataset: What the logs are.
        learnt_from: Which answers it learnt satisfaction from.
    """
    trigger = dataset.trigger
    found = [
        f"Satisfaction was learnt from {learnt_from}; what so few cannot tell, it does not know.",
        "All figures are from logged requests. What people would do with this ranking is known "
        "only once it is served to some of them and compared.",
        "Ids and categories are hashed: those it never met share the vectors of others.",
    ]
    if trigger.min_played_seconds > 0 or trigger.min_played_fraction > 0:
        found.append(
            f"People are asked about videos they watched for {trigger.min_played_seconds:g} s or "
            f"{share(trigger.min_played_fraction)} of their length. What they skipped, they were "
            "not asked about."
        )
    if is_simulated(dataset):
        found.append("The logs are simulated: they are no evidence of what people do.")
    return found


def ethics(dataset: DatasetConfig, counts: Mapping[str, Any]) -> list[str]:
    """What to mind about people who are asked, and those who do not answer."""
    answers = counts["answers"]
    notes = []
    if dataset.questionnaire.from_behaviours is not None:
        notes.append(
            "Nobody was asked: reactions stand in for answers. Who reacts, and to what, is not who "
            "would answer a question."
        )
    elif answers["read"]:
        silent = answers["not_answered"]
        notes.append(
            f"{count(silent)} of {count(answers['read'])} questionnaires "
            f"({share(silent / answers['read'])}) were not answered. Those who answer may want "
            "other things than those who do not, and the model follows those who answer."
        )
    return [
        *notes,
        "A questionnaire interrupts. Ask seldom, cap how often one person is asked, and let people "
        "turn it off.",
        "Behaviour and answers are personal data, and a vector that was learnt for a user id is "
        "made of them: whoever asks to be forgotten is so only in a model trained without them.",
        "A mean over all people hides groups that are served worse: read the slices, and choose "
        "slice_by so that the groups you answer for are among them.",
    ]

"""A burst of answers: a few accounts can give it, few people do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.example_gen.answers import OVER_DAILY_LIMIT

# Of all answers. So many people answer more than a day's answers by themselves.
_SHARE = 0.02


def answer_burst(answers: Mapping[str, Any]) -> str | None:
    """What an alarm says of answers beyond the daily limit of a user, where they are many.

    Args:
        answers: of `counts.json`.
    """
    over = answers.get("rejected", {}).get(OVER_DAILY_LIMIT, 0)
    given = answers.get("read", 0) - answers.get("not_answered", 0)
    if not given or over / given < _SHARE:
        return None
    return (
        f"{over:,} of {given:,} answers were more than a user may give in a day, and were not "
        "used: fake accounts? Their ids are in the dead letters (over_daily_limit); the limit is "
        "questionnaire.max_daily_answers"
    )

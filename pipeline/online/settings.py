"""Settings of online learning beside those of the trainer and the dataset."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.logs.checked import require


@dataclass(frozen=True)
class OnlineGateSettings:
    """When a model that learnt one more span may be pushed; see `pipeline.online.gate`.

    Attributes:
        window_spans: the candidate and the last blessed model are compared on the slates of
            held-out users of so many of the newest spans.
        satisfaction_loss: how far the primary satisfaction metric may fall below the last blessed
            model's: refused once even the upper end of the 95 % interval of the paired
            difference lies below minus this.
        min_pairs: with fewer pairs of answers in the window the satisfaction side is not judged
            and behaviour decides alone.
        behaviour_loss: how far behaviour NDCG@10 may fall below the last blessed model's.
        behaviour_slide: how far it may fall below the best model's so far: losses of single spans
            must not add up to more. (Satisfaction is judged against that model as against the last
            blessed one.)
    """

    window_spans: int = 8
    satisfaction_loss: float = 0.0
    min_pairs: int = 30
    behaviour_loss: float = 0.02
    behaviour_slide: float = 0.04

    def __post_init__(self) -> None:
        require(self.window_spans >= 1, "window_spans", self.window_spans, "1 or more")
        require(self.min_pairs >= 1, "min_pairs", self.min_pairs, "1 or more")
        for name in ("satisfaction_loss", "behaviour_loss", "behaviour_slide"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "between 0 and 1")


@dataclass(frozen=True)
class OnlineSettings:
    """How spans are learnt and how much of the past is kept.

    Attributes:
        gate: when a model is pushed.
        holdout: share of the users who are never trained on, so that the gate can ask them.
        landing_delay_hours: how late a row may land. Answers wait so long for an impression that
            has not landed yet. (An answer is late `pair_window.hours` of the dataset config after
            its impression, as in a full run.)
        store_bytes: so much room the impressions may take that wait for answers; the oldest go.
        keep_spans: artifacts of so many of the newest spans stay on disk (at least those of the
            gate's window).
        keep_versions: so many of the newest pushed versions stay in the serving folder, with
            their checkpoints: how far `easq online rollback` can go back.
        served_check_slates: slates scored by the exported model and by the trained one before a
            push; their scores must agree.
    """

    gate: OnlineGateSettings = field(default_factory=OnlineGateSettings)
    holdout: float = 0.1
    landing_delay_hours: float = 24.0
    store_bytes: int = 2 * 1024**3
    keep_spans: int = 8
    keep_versions: int = 4
    served_check_slates: int = 16

    def __post_init__(self) -> None:
        require(0 < self.holdout < 1, "holdout", self.holdout, "more than 0 and less than 1")
        hours, size = self.landing_delay_hours, self.store_bytes
        require(hours > 0, "landing_delay_hours", hours, "more than 0")
        require(size >= 1024**2, "store_bytes", size, "1048576 (1 MiB) or more")
        window = self.gate.window_spans
        require(
            self.keep_spans >= window,
            "keep_spans",
            self.keep_spans,
            f"{window} or more, the gate's window",
        )
        require(self.keep_versions >= 2, "keep_versions", self.keep_versions, "2 or more")
        slates = self.served_check_slates
        require(slates >= 1, "served_check_slates", slates, "1 or more")

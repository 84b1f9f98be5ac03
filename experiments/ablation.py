"""`ablation` (Fig. 5 of the paper): what each part of EASQ is worth, in both presets.

Beside the paper's ablations stand variants that keep the comparison with the baselines fair: they
are given what `recommended` has, replay above all, or EASQ is denied it.
"""

from __future__ import annotations

from experiments.frontier import Frontier
from experiments.options import MIDDLE, Entry, Options
from experiments.runs import settings_of

_SHAPING = (0.1, 0.2, 0.4, 0.8, 1.6)


def entries(options: Options) -> list[Entry]:
    """The rows; in a quick run only methods as they are."""
    rows = [entry for entry in _entries() if not (options.quick and entry.settings)]
    return options.chosen_entries(rows)


def _entries() -> list[Entry]:
    paper = [
        Entry("EASQ-paper", "EASQ-paper"),
        *(
            Entry(f"EASQ-paper, {label}", "EASQ-paper", settings_of(**settings))
            for label, settings in (
                ("w/o LoRA", {"use_lora": False}),
                ("w/o MoE", {"use_moe": False}),
                ("Top-K", {"router": "top_k"}),
                ("no reference", {"dpo_reference": "none"}),
            )
        ),
    ]
    experts = settings_of(use_moe=True)
    names = ("EASQ", "EASQ-w/o-LoRA", "EASQ-w/o-DPO", "EASQ-TopK", "Blend")
    return [
        *(Entry.of(name) for name in names),
        Entry("EASQ, experts", "EASQ", experts),
        Entry("Blend, experts", "Blend", experts),
        Entry("EASQ, no replay", "EASQ", replay=False),
        Entry("EASQ, no decay", "EASQ", settings_of(satisfaction_decay=0.0)),
        Entry("EASQ, no reference", "EASQ", settings_of(dpo_reference="none")),
        Entry("EASQ, shaping", "EASQ", settings_of(use_dpo=False, shaping=0.5), grid=_SHAPING),
        Entry.of("Imputation"),
        Entry("Imputation, w/o MoE", "Imputation", settings_of(use_moe=False)),
        Entry("Imputation, detached head", "Imputation", settings_of(joint=False)),
        Entry("Imputation, no replay", "Imputation", replay=False),
        Entry.of("EMER_s-level"),
        Entry("EMER_s-level, w/o MoE", "EMER_s-level", settings_of(use_moe=False)),
        Entry("EMER_s-level, replay", "EMER_s-level", replay=True),
        *paper,
    ]


EXPERIMENT = Frontier(
    "what each part is worth, in both presets; baselines given the same means", entries, (MIDDLE,)
)

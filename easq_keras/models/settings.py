"""Every setting of the models, documented and checked in one place."""

import dataclasses
from typing import Any, Self

from easq_keras.arguments import at_least, one_of, positive_int

PRESETS = ("recommended", "paper")
SATISFACTION_LOSSES = ("bce", "pairwise", "silence")
DPO_PAIRS = ("slate", "answers")
ROUTERS = ("relu", "top_k")
DPO_REFERENCES = ("behaviour", "satisfaction", "frozen", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EMERSettings:
    """Settings of the behaviour ranker.

    Attributes:
        units: Width d of the candidates' representation h (Eq. 6).
        num_layers: Attention layers of the default backbone; of no effect with a backbone of your
            own.
        num_heads: Attention heads of the default backbone.
        use_moe: Score with a mixture of experts (Eq. 9). False: with one feed-forward network, the
            paper's ablation "w/o MoE".
        num_experts: Experts K1 of the score ŷ.
        expert_hidden_dim: Width of an expert's hidden layer.
        router: `"relu"`: every candidate opens as many experts as it likes (Eq. 10). `"top_k"`: the
            softmax of the gate logits, cut to the `top_k` largest, which the paper compares with.
        top_k: Experts that a candidate opens with the router "top_k"; all of a tower that has
            fewer.
        router_norm: Standardise the routers' input, so that the candidates of a slate do not open
            and close an expert all together. The paper has no such step.
        gate_bias: Initial value of the routers' bias; None: no bias, as in Eq. 10. At 1 most
            experts are open at the start, and no candidate was seen to lose all of them.
        learning_rate: Step size of the optimizers that `compile` makes when it is given none.

    Raises:
        ValueError: A setting is out of range; the message names it.

    Examples:
        >>> EMERSettings(num_experts=4).replace(units=32).units
        32
    """

    units: int = 64
    num_layers: int = 1
    num_heads: int = 4
    use_moe: bool = True
    num_experts: int = 6
    expert_hidden_dim: int = 32
    router: str = "relu"
    top_k: int = 2
    router_norm: bool = True
    gate_bias: float | None = 1.0
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("units", "num_layers", "num_heads", "num_experts", "expert_hidden_dim"):
            positive_int(name, getattr(self, name))
        positive_int("top_k", self.top_k)
        one_of("router", self.router, ROUTERS)
        for name, kind in _flags(type(self)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(
                    f"`{name}` must be True or False. Received: {name}={getattr(self, name)!r}."
                )
        if self.gate_bias is not None:
            at_least("gate_bias", self.gate_bias, float("-1e6"))
        at_least("learning_rate", self.learning_rate, 0, strictly=True)

    @property
    def trade_off_setting(self) -> str | None:
        """Name of the setting that trades behaviour for satisfaction, or None."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as a dictionary that JSON can hold."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with some settings changed.

        Raises:
            ValueError: There is no setting of that name, or its new value is out of range.
        """
        known = {field.name for field in dataclasses.fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has no setting {unknown}. Known: {sorted(known)}."
            )
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EASQSettings(EMERSettings):
    """Settings of EASQ; the defaults are the preset `recommended`.

    The two presets differ in how answers are learnt and how what was learnt reaches ŷ. `paper` is
    the paper's section 4 with its contradictions read as `docs/library/routing.md` says.
    `recommended` keeps the paper's path for satisfaction (LoRA, own tower, stopped gradients) and
    changes the two losses, because under the paper's rate of answers, about one in 10,000 views,
    two answers of one user hardly ever meet and Eq. 16 has nothing to work on. It does without
    experts: where answers are few, one network learns more from them (`experiments/README.md`).

    Attributes:
        use_moe: As for `EMERSettings`, of both scores; here False.
        use_lora: Learn answers into a LoRA delta of h besides the tower (Eq. 7). False: the
            paper's ablation "w/o LoRA", h_satis = stop_grad(h).
        use_dpo: Transfer satisfaction into ŷ (Eq. 16). False: the ablation "w/o DPO"; ŷ is then
            the plain behaviour ranker, and only ŝ knows of satisfaction.
        lora_rank: Rank r of the delta.
        lora_alpha: The delta is scaled by `lora_alpha / lora_rank`; None: by 1, as in Eq. 7.
        lora_embedding_dim: The delta reads, beside x, this many numbers of its own for each index
            of a candidate (its id, its author, …), which start at 0 and which answers alone move;
            0: x alone. x has of an item what behaviour has put into it; for what makes this one
            item liked, answers about it must be many. Of no effect without LoRA.
        num_satisfaction_experts: Experts K2 of the satisfaction score ŝ.
        satisfaction_loss: `"bce"`: ŝ is the logit of "satisfied" and learns each answer by itself,
            so that one answer suffices. `"pairwise"`: Eq. 15, over pairs of one pair group.
            `"silence"`: the cross entropy of single answers, and of every exposed candidate of the
            dense rows as if it were "not satisfied"; for answers that need no question, likes say,
            where silence tells something. ŝ is then how much likelier a candidate is among what
            satisfied than among what was shown, as a logarithm; an answer of ½ is silence.
        lambda_satisfaction: Weight λ1 of L_satis (Eq. 17).
        satisfaction_decay: Decay towards the initial values of the satisfaction path, in units of
            the learning rate, of the optimizer that `compile` makes
            (`easq_keras.optimizers.AdamTowardInit`). It is what allows answers to be replayed.
        dpo_pairs: `"slate"`: every pair of exposed candidates of a slate, weighted by how far ŝ
            prefers one (dense). `"answers"`: pairs of answers of one pair group (Eq. 16).
        dpo_reference: What π_ref is. `"behaviour"`: a head that learns from behaviour alone and
            goes on learning; it alone then trains embeddings and backbone, and ŷ's tower reads
            stop_grad(h_main). `"satisfaction"`: ŝ, the paper's. `"frozen"`: the model given to
            `compile(reference_model=…)` (Eq. 5). `"none"`: no reference.
        lambda_dpo: Weight λ2 of L_DPO (Eq. 17): the price in behaviour one is ready to pay. With
            the recommended settings .3, 1 and 3 cost about 1, 7 and 20 % of expected engagement
            where the simulator sets the two strongly against each other.
        beta: Temperature β of Eq. 16.
        beta_start: β at the start of the ramp; None: β throughout.
        dpo_ramp_steps: Steps with answers over which λ2 and η rise from 0, and β from
            `beta_start`; 0: no ramp. Counted in steps that had answers, for it is they that make ŝ
            worth transferring.
        shaping: η: adds η · (2σ(s̃) − 1) to the behaviour levels that L_main orders by (see
            `easq_keras.models.objectives.preference`); 0: Eq. 11 as it is. The other way to
            transfer satisfaction into ŷ; it needs no reference.

    Raises:
        ValueError: A setting is out of range, or two do not go together.

    Examples:
        >>> EASQSettings.preset("paper").beta
        0.1
    """

    use_moe: bool = False
    use_lora: bool = True
    use_dpo: bool = True
    lora_rank: int = 16
    lora_alpha: float | None = None
    lora_embedding_dim: int = 0
    num_satisfaction_experts: int = 4
    satisfaction_loss: str = "bce"
    lambda_satisfaction: float = 1.0
    satisfaction_decay: float = 10.0
    dpo_pairs: str = "slate"
    dpo_reference: str = "behaviour"
    lambda_dpo: float = 0.5
    beta: float = 1.0
    beta_start: float | None = None
    dpo_ramp_steps: int = 100
    shaping: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int("lora_rank", self.lora_rank)
        positive_int("num_satisfaction_experts", self.num_satisfaction_experts)
        if self.lora_embedding_dim != 0:
            positive_int("lora_embedding_dim", self.lora_embedding_dim)
        if self.lora_alpha is not None:
            at_least("lora_alpha", self.lora_alpha, 0, strictly=True)
        one_of("satisfaction_loss", self.satisfaction_loss, SATISFACTION_LOSSES)
        one_of("dpo_pairs", self.dpo_pairs, DPO_PAIRS)
        one_of("dpo_reference", self.dpo_reference, DPO_REFERENCES)
        for name in ("lambda_satisfaction", "satisfaction_decay", "lambda_dpo", "shaping"):
            at_least(name, getattr(self, name), 0)
        at_least("beta", self.beta, 0, strictly=True)
        if self.beta_start is not None:
            at_least("beta_start", self.beta_start, 0, strictly=True)
        if self.dpo_ramp_steps != 0:
            positive_int("dpo_ramp_steps", self.dpo_ramp_steps)
        if self.beta_start is not None and self.dpo_ramp_steps == 0:
            raise ValueError("`beta_start` needs a ramp: set `dpo_ramp_steps` above 0.")

    @property
    def trade_off_setting(self) -> str | None:
        """Name of the setting that trades behaviour for satisfaction, or None."""
        if self.use_dpo:
            return "lambda_dpo"
        return "shaping" if self.shaping > 0 else None

    @property
    def has_behaviour_head(self) -> bool:
        """Whether a head of its own learns from behaviour alone."""
        return self.use_dpo and self.dpo_reference == "behaviour"

    @classmethod
    def preset(cls, name: str) -> Self:
        """Returns the settings of a preset.

        Args:
            name: `"recommended"` or `"paper"`.

        Raises:
            ValueError: There is no preset of that name.
        """
        if one_of("preset", name, PRESETS) == "recommended":
            return cls()
        return cls(
            use_moe=True,
            num_experts=8,
            router_norm=False,
            gate_bias=None,
            lora_rank=8,
            satisfaction_loss="pairwise",
            satisfaction_decay=0.0,
            dpo_pairs="answers",
            dpo_reference="satisfaction",
            lambda_dpo=10.0,
            beta=0.1,
            dpo_ramp_steps=0,
        )


def _flags(settings: type) -> list[tuple[str, type]]:
    return [(field.name, bool) for field in dataclasses.fields(settings) if field.type is bool]

"""The two scenarios: how far what people watch and what satisfies them lie apart.

Every coefficient of the behaviour equations (`simulator.behaviour`) that decides this conflict is
here, everything else is common to both.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """The coefficients of the conflict between engagement and satisfaction.

    Attributes:
        quality_watch: how much watch time falls when quality rises. RecSim NG's
            sigmoid(-quality) is 1.
        lure: how much clickbait raises the log-odds of a click.
        hook: how much clickbait raises the log-odds of the watched share.
        regret: how much clickbait lowers the utility.
        affinity_utility: `user_quality_factor` of RecSim, the weight of the affinity.
        quality_utility: `document_quality_factor` of RecSim, the weight of the quality.
        base_utility: added to every utility, so that most answers are satisfied ones.
    """

    quality_watch: float
    lure: float
    hook: float
    regret: float
    affinity_utility: float
    quality_utility: float
    base_utility: float


SCENARIOS: dict[str, Scenario] = {
    "mild": Scenario(
        quality_watch=0.1,
        lure=0.4,
        hook=0.3,
        regret=0.8,
        affinity_utility=0.8,
        quality_utility=0.25,
        base_utility=0.3,
    ),
    "strong": Scenario(
        quality_watch=1.0,
        lure=1.5,
        hook=1.5,
        regret=1.4,
        affinity_utility=0.5,
        quality_utility=0.3,
        base_utility=0.75,
    ),
}

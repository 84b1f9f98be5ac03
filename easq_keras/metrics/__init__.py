"""Metrics of EASQ: rankings averaged over users, and what training is watched by."""

from easq_keras.metrics.dpo_rewards import DPORewards
from easq_keras.metrics.hit_rate import HitRate
from easq_keras.metrics.mean_reciprocal_rank import MeanReciprocalRank
from easq_keras.metrics.ndcg import NDCG
from easq_keras.metrics.pair_accuracy import PairAccuracy
from easq_keras.metrics.pair_coverage import PairCoverage
from easq_keras.metrics.router_activity import RouterActivity
from easq_keras.metrics.score_scale import ScoreScale
from easq_keras.metrics.user_metric import UserMetric

__all__ = [
    "NDCG",
    "DPORewards",
    "HitRate",
    "MeanReciprocalRank",
    "PairAccuracy",
    "PairCoverage",
    "RouterActivity",
    "ScoreScale",
    "UserMetric",
]

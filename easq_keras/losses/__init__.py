"""Pairwise losses of EASQ, as functions and as `keras.losses.Loss`es."""

from easq_keras.losses.dense_dpo_loss import DenseDPOLoss, dense_dpo_loss
from easq_keras.losses.dpo_loss import DPOLoss, dpo_loss
from easq_keras.losses.pair_loss import PairLoss
from easq_keras.losses.pairs import count_pairs
from easq_keras.losses.pairwise_logistic_loss import PairwiseLogisticLoss, pairwise_logistic_loss

__all__ = [
    "DPOLoss",
    "DenseDPOLoss",
    "PairLoss",
    "PairwiseLogisticLoss",
    "count_pairs",
    "dense_dpo_loss",
    "dpo_loss",
    "pairwise_logistic_loss",
]

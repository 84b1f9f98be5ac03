"""Pairwise losses of EASQ."""

from easq_keras.losses.dense_dpo_loss import dense_dpo_loss
from easq_keras.losses.dpo_loss import dpo_loss
from easq_keras.losses.pairs import count_pairs
from easq_keras.losses.pairwise_logistic_loss import pairwise_logistic_loss

__all__ = ["count_pairs", "dense_dpo_loss", "dpo_loss", "pairwise_logistic_loss"]

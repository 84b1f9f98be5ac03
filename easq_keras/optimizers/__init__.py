"""Optimizers."""

from easq_keras.optimizers.adam_toward_init import AdamTowardInit

__all__ = ["AdamTowardInit"]

"""EASQ as a Keras library: layers, losses, metrics and models for ranking by satisfaction."""

from easq_keras import layers, losses, metrics, models

__all__ = ["layers", "losses", "metrics", "models"]

"""EASQ as a Keras library: layers, losses, metrics and models for ranking by satisfaction."""

from easq_keras import checkpoint, export, layers, losses, metrics, models, optimizers

__all__ = ["checkpoint", "export", "layers", "losses", "metrics", "models", "optimizers"]

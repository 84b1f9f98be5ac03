"""Models: the plain behaviour ranker, and the one that listens to questionnaires."""

from easq_keras.models.easq import EASQ
from easq_keras.models.emer import EMER
from easq_keras.models.score_network import ScoreNetwork
from easq_keras.models.settings import EASQSettings, EMERSettings

__all__ = ["EASQ", "EMER", "EASQSettings", "EMERSettings", "ScoreNetwork"]

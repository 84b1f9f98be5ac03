"""Models: the plain behaviour ranker, those that listen to questionnaires, and all by name."""

from easq_keras.models.blend import Blend, BlendSettings
from easq_keras.models.easq import EASQ
from easq_keras.models.emer import EMER
from easq_keras.models.emer_s import EMERS, EMERSSettings
from easq_keras.models.imputation import ImputationNetwork, ImputationSettings
from easq_keras.models.methods import METHODS, MethodInfo, build_method, method_info
from easq_keras.models.saqrec import SAQRec, SAQRecSettings
from easq_keras.models.score_network import ScoreNetwork
from easq_keras.models.settings import EASQSettings, EMERSettings

__all__ = [
    "EASQ",
    "EMER",
    "EMERS",
    "METHODS",
    "Blend",
    "BlendSettings",
    "EASQSettings",
    "EMERSSettings",
    "EMERSettings",
    "ImputationNetwork",
    "ImputationSettings",
    "MethodInfo",
    "SAQRec",
    "SAQRecSettings",
    "ScoreNetwork",
    "build_method",
    "method_info",
]

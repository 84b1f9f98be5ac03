"""Layers of EASQ: features, backbone, low-rank pathway, routed experts."""

from easq_keras.layers.feature_embedding import FeatureEmbedding
from easq_keras.layers.feature_spec import FeatureSpec
from easq_keras.layers.lora_layer import LoRALayer
from easq_keras.layers.mixture_of_experts import MixtureOfExperts
from easq_keras.layers.relu_moe import ReLUMoE
from easq_keras.layers.slate_encoder import SlateEncoder
from easq_keras.layers.slate_encoder_block import SlateEncoderBlock
from easq_keras.layers.top_k_moe import TopKMoE

__all__ = [
    "FeatureEmbedding",
    "FeatureSpec",
    "LoRALayer",
    "MixtureOfExperts",
    "ReLUMoE",
    "SlateEncoder",
    "SlateEncoderBlock",
    "TopKMoE",
]

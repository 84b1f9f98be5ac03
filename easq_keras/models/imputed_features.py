"""Candidates described by their features and by a satisfaction that was imputed offline."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from easq_keras.arguments import one_of
from easq_keras.layers import FeatureEmbedding, FeatureSpec
from easq_keras.layers.slate_input import SlateInput
from easq_keras.types import Shape, Tensor

# Hidden layers of the networks that learn from answers, by their name.
NETWORKS: dict[str, tuple[int, ...]] = {"mlp": (200, 80), "logistic": ()}


def response_network(kind: str, name: str, dropout: float = 0.0) -> keras.Sequential:
    """Returns an unbuilt network `(..., k) → (..., 1)` with a logit as output.

    Args:
        kind: `"mlp"`: two hidden layers of 200 and 80, as SAQRec's; `"logistic"`: none.
        name: Name of the network.
        dropout: Share of hidden units dropped while it is fitted.

    Examples:
        >>> tuple(response_network("mlp", "imputer")(np.ones((2, 5))).shape)
        (2, 1)
    """
    layers: list[keras.layers.Layer] = []
    for width in NETWORKS[one_of("kind", kind, NETWORKS)]:
        layers.append(keras.layers.Dense(width, activation="relu"))
        if dropout > 0:
            layers.append(keras.layers.Dropout(dropout))
    return keras.Sequential([*layers, keras.layers.Dense(1)], name=name)


@keras.saving.register_keras_serializable(package="easq_keras")
class ImputedFeatures(FeatureEmbedding):
    """`FeatureEmbedding` with one more number a candidate: `2σ(z) − 1`, imputed satisfaction.

    z comes from tables and a network of their own, which no loss of the model moves;
    `SAQRec.pretrain` fills them.

    Args:
        features: As for `FeatureEmbedding`.
        network: Kind of the network, see `response_network`.
        **kwargs: As for `FeatureEmbedding`.

    Output shape:
        `(batch, slate, k + 1)`.

    Examples:
        >>> layer = ImputedFeatures([FeatureSpec("item", "id", num_buckets=9, dim=3)])
        >>> tuple(layer({"item": np.array([[1, 2]])}).shape)
        (1, 2, 4)
    """

    def __init__(
        self,
        features: Iterable[FeatureSpec | Mapping[str, Any]],
        network: str = "mlp",
        **kwargs: Any,
    ) -> None:
        super().__init__(features, **kwargs)
        self.network = one_of("network", network, NETWORKS)
        self.frozen = FeatureEmbedding(self.features, name="frozen", dtype=self.dtype_policy)
        self.imputer = response_network(network, name="imputer")
        self.output_dim += 1

    def build(self, input_shape: Mapping[str, Shape]) -> None:
        """Creates the tables of both kinds and the network."""
        super().build(input_shape)
        self.frozen.build(input_shape)
        self.imputer.build((None, None, self.frozen.output_dim))
        # Only now: what a layer makes later knows nothing of it.
        self.frozen.trainable = self.imputer.trainable = False

    def impute(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns z, the logit of "satisfied", `(batch, slate)`; 0 for padding; no gradient."""
        x = self.frozen(inputs)
        logits = ops.cast(self.imputer(x)[..., 0], "float32")
        mask = self.compute_mask(inputs)
        if mask is not None:
            logits = ops.where(mask, logits, ops.zeros_like(logits))
        return ops.stop_gradient(logits)

    def parts(self, inputs: Mapping[str, Tensor]) -> SlateInput:
        """Returns x in two parts, the imputed number last."""
        imputed = ops.tanh(0.5 * self.impute(inputs))
        own, shared = super().parts(inputs)
        own = ops.concatenate([own, ops.cast(imputed, own.dtype)[..., None]], axis=-1)
        return SlateInput(own, shared)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "network": self.network}

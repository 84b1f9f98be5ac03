"""Satisfaction alignment for models of TensorFlow Recommenders.

TensorFlow Recommenders needs Keras 2: set `TF_USE_LEGACY_KERAS=1` before TensorFlow is imported,
and install `easq-keras[tfrs]`. Nothing else of `easq_keras` imports this module, and nothing of
Keras 3 should be put into a TFRS model: its variables would not be tracked and never train. What
this task takes from the rest of the library are the losses, which are plain tensor functions.
"""

from typing import Any

import tensorflow as tf

from easq_keras.arguments import at_least, one_of
from easq_keras.losses import count_pairs, dpo_loss, pairwise_logistic_loss
from easq_keras.losses.dpo_loss import LOSS_TYPES
from easq_keras.types import Tensor

try:
    import tensorflow_recommenders as recommenders
except ImportError as error:
    raise ImportError(
        "easq_keras.tfrs needs TensorFlow Recommenders (pip install 'easq-keras[tfrs]') and the "
        "environment variable TF_USE_LEGACY_KERAS=1, set before TensorFlow is imported."
    ) from error


class SatisfactionAlignment(tf.keras.layers.Layer, recommenders.tasks.Task):
    """The two questionnaire terms of EASQ as a task: `λ1 · L_satis + λ2 · L_DPO`.

    Eqs. 15 to 17 of the EASQ paper, to be added to the loss of any ranking task. The model brings
    two scores a candidate: ŷ, which ranks, and ŝ, the satisfaction head. Two stop-gradients keep
    their pathways apart and are the model's to place, as below: ŝ reads `stop_gradient(h) + Δh`
    and ŷ reads `h + stop_gradient(Δh)`, Δh being the low-rank update (Eqs. 8 and 12). L_DPO never
    moves ŝ.

    Slates without a pair of answers give exactly 0; see `easq_keras.losses` for masks, groups and
    NaN.

    Args:
        satisfaction_weight: λ1, at least 0.
        alignment_weight: λ2, at least 0.
        beta: β of Eq. 16, above 0.
        loss_type: `"dpo"`, `"ipo"` or `"sdpo"`; see `dpo_loss`.
        reference_floor: See `dpo_loss`.
        name: Name of the layer.

    Call arguments:
        labels: Answers `(batch, slate)`: 1 satisfied, 0 dissatisfied, −1 none.
        predictions: Dictionary with `"score"` ŷ and `"satisfaction"` ŝ, `(batch, slate)` each.
        mask: `(batch, slate)`, 0 for padding.
        groups: `(batch,)` integers; rows that share a number of at least 0 pair their answers.
        compute_metrics: Whether to update the means `satisfaction_loss` and `alignment_loss`,
            over batches that have a pair, and `answer_pairs`, over all batches.

    Returns:
        A scalar.

    Raises:
        ValueError: An option is out of range.

    Examples:
        ```python
        class Ranker(tfrs.Model):
            def __init__(self):
                super().__init__()
                self.backbone = tf.keras.layers.Dense(32, activation="softplus")
                self.lora_a = tf.keras.layers.Dense(4, use_bias=False)
                self.lora_b = tf.keras.layers.Dense(32, use_bias=False, kernel_initializer="zeros")
                self.head, self.satisfaction = tf.keras.layers.Dense(1), tf.keras.layers.Dense(1)
                self.ranking = tfrs.tasks.Ranking(tf.keras.losses.MeanSquaredError())
                self.alignment = SatisfactionAlignment(beta=0.1)

            def call(self, x):
                h, delta = self.backbone(x), self.lora_b(self.lora_a(tf.stop_gradient(x)))
                return {
                    "score": self.head(h + tf.stop_gradient(delta))[..., 0],
                    "satisfaction": self.satisfaction(tf.stop_gradient(h) + delta)[..., 0],
                }

            def compute_loss(self, batch, training=False):
                predictions = self(batch["x"])
                return self.ranking(batch["watched"], predictions["score"]) + self.alignment(
                    batch["answer"], predictions, groups=batch["user_id"]
                )
        ```
    """

    def __init__(
        self,
        satisfaction_weight: float = 1.0,
        alignment_weight: float = 1.0,
        beta: float = 0.1,
        loss_type: str = "dpo",
        reference_floor: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.satisfaction_weight = at_least("satisfaction_weight", satisfaction_weight, 0)
        self.alignment_weight = at_least("alignment_weight", alignment_weight, 0)
        self.beta = at_least("beta", beta, 0, strictly=True)
        self.loss_type = one_of("loss_type", loss_type, LOSS_TYPES)
        self.reference_floor = bool(reference_floor)
        self.satisfaction_loss = tf.keras.metrics.Mean(name="satisfaction_loss")
        self.alignment_loss = tf.keras.metrics.Mean(name="alignment_loss")
        self.answer_pairs = tf.keras.metrics.Mean(name="answer_pairs")

    def call(
        self,
        labels: Tensor,
        predictions: dict[str, Tensor],
        mask: Tensor | None = None,
        groups: Tensor | None = None,
        compute_metrics: bool = True,
    ) -> Tensor:
        """Returns the weighted sum of both losses, a scalar."""
        scores, satisfaction = predictions["score"], predictions["satisfaction"]
        of_satisfaction = pairwise_logistic_loss(labels, satisfaction, mask=mask, groups=groups)
        of_alignment = dpo_loss(
            labels,
            scores,
            satisfaction,
            beta=self.beta,
            mask=mask,
            groups=groups,
            loss_type=self.loss_type,
            reference_floor=self.reference_floor,
        )
        if compute_metrics:
            pairs = count_pairs(labels, mask, groups)
            with_pairs = tf.cast(pairs > 0, tf.float32)
            self.satisfaction_loss.update_state(of_satisfaction, sample_weight=with_pairs)
            self.alignment_loss.update_state(of_alignment, sample_weight=with_pairs)
            self.answer_pairs.update_state(pairs)
        return self.satisfaction_weight * of_satisfaction + self.alignment_weight * of_alignment

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "name": self.name,
            "satisfaction_weight": self.satisfaction_weight,
            "alignment_weight": self.alignment_weight,
            "beta": self.beta,
            "loss_type": self.loss_type,
            "reference_floor": self.reference_floor,
        }

"""Direct preference optimisation on the answers of a questionnaire."""

from typing import Any

import keras

from easq_keras.arguments import at_least, one_of
from easq_keras.losses.log_prob import READINGS
from easq_keras.losses.log_prob import log_prob as log_prob_of
from easq_keras.losses.pair_loss import PairLoss
from easq_keras.losses.pairs import valid_items
from easq_keras.losses.pairwise import (
    Pairs,
    checked_scores,
    logistic,
    reduced,
    softmax_sum,
    squared,
    sum_over_pairs,
)
from easq_keras.types import Tensor

LOSS_TYPES = ("dpo", "ipo", "sdpo")


def dpo_loss(
    labels: Tensor,
    scores: Tensor,
    reference_scores: Tensor | None = None,
    *,
    beta: float = 0.1,
    mask: Tensor | None = None,
    groups: Tensor | None = None,
    weights: Tensor | None = None,
    loss_type: str = "dpo",
    label_smoothing: float = 0.0,
    log_prob: str = "score",
    reference_floor: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """DPO between answered items: `−log σ(beta · u)`, `u = log π/π_ref(i) − log π/π_ref(j)`.

    Eq. 16 of the EASQ paper, mean over the pairs with label i above label j. By default a score
    is read as a log-probability up to a constant, which is how Eqs. 11 and 15 read it; then
    `u = (ŷ_i − ŷ_j) − (ŝ_i − ŝ_j)`, and the loss is the pairwise logistic loss of ŷ − ŝ at
    temperature 1/beta. The direction comes from the labels; the reference only sets a margin.

    The reference never gets a gradient. No pair gives 0 and a gradient of exactly 0. Stability
    and NaN as for `pairwise_logistic_loss`.

    Args:
        labels: `(batch, slate)`; items with a label below 0 (or NaN) are ignored.
        scores: `(batch, slate)`, of the policy.
        reference_scores: `(batch, slate)`, of the reference policy: ŝ (the paper), a frozen or a
            behaviour head, or the scores themselves (Eq. 16 as printed). None: no reference, a
            margin of 0.
        beta: How sharply the margin counts, above 0. Defaults to the paper's 0.1.
        mask: `(batch, slate)`, 0 for items that are ignored.
        groups: `(batch,)`; see `pairwise_logistic_loss`.
        weights: `(batch, slate)`; see `pairwise_logistic_loss`. In `"sdpo"` the loser's weight
            multiplies its odds and the winner's the loss.
        loss_type: `"dpo"`; `"ipo"`, `(u − 1/(2·beta))²`, which has a finite optimum where labels
            never contradict each other; `"sdpo"`, `log(1 + Σ_j exp(−beta · u_ij))` with all
            losers j of a winner i at once, mean over the winners.
        label_smoothing: Share of answers taken to be wrong, in `[0, 0.5)`: conservative DPO. For
            `"dpo"` only.
        log_prob: How a score becomes a log-probability: `"score"`; `"log_softmax"` over the real
            candidates of the slate (the same as `"score"` for pairs within a slate);
            `"log_sigmoid"`, which makes the absolute level of the scores count;
            `"log_softplus"`, for probabilities proportional to softplus(score).
        reference_floor: Take `max(0, ·)` of the reference's margin, so that a reference that
            disagrees with the answer cannot end the pull early.
        reduction: `"mean"` or `"sum"`.

    Returns:
        A float32 scalar (float64 for float64 scores).

    Raises:
        ValueError: A shape differs, or an option is out of range.

    Examples:
        >>> answers = np.array([[1.0, 0.0, -1.0]])
        >>> scores, satisfaction = np.array([[1.0, 0.0, 5.0]]), np.array([[1.0, 0.0, 7.0]])
        >>> round(float(dpo_loss(answers, scores, satisfaction)), 4)  # equal margins: log 2
        0.6931
        >>> round(float(dpo_loss(answers, scores, beta=1.0)), 4)  # no reference
        0.3133
    """
    beta = _checked(beta, loss_type, label_smoothing)
    scores = checked_scores(
        scores, labels=labels, reference_scores=reference_scores, mask=mask, weights=weights
    )
    policy = log_prob_of(scores, log_prob, mask)
    reference = None if reference_scores is None else log_prob_of(reference_scores, log_prob, mask)
    pairs = Pairs(labels, valid_items(labels, mask), weights, groups)
    if loss_type == "sdpo":
        sums = softmax_sum(pairs, policy, reference, beta, reference_floor=reference_floor)
    else:
        loss = squared(0.5 / beta) if loss_type == "ipo" else logistic(beta, label_smoothing)
        sums = sum_over_pairs(pairs, policy, reference, loss, reference_floor=reference_floor)
    return reduced(*sums, reduction)


def _checked(beta: float, loss_type: str, label_smoothing: float) -> float:
    one_of("loss_type", loss_type, LOSS_TYPES)
    at_least("label_smoothing", label_smoothing, 0)
    if label_smoothing >= 0.5 or (label_smoothing > 0 and loss_type != "dpo"):
        raise ValueError(
            "`label_smoothing` must lie in [0, 0.5) and goes with loss_type='dpo' only. "
            f"Received: label_smoothing={label_smoothing}, loss_type={loss_type!r}."
        )
    return at_least("beta", beta, 0, strictly=True)


@keras.saving.register_keras_serializable(package="easq_keras")
class DPOLoss(PairLoss):
    """`dpo_loss` as a `keras.losses.Loss`.

    Args:
        beta: See `dpo_loss`, as for all up to `reduction`.
        loss_type: `"dpo"`, `"ipo"` or `"sdpo"`.
        label_smoothing: Share of answers taken to be wrong.
        log_prob: How a score becomes a log-probability.
        reference_floor: Whether a reference that disagrees with the answer is ignored.
        reduction: `"mean"` or `"sum"`.
        **kwargs: `name`, `dtype` of `keras.losses.Loss`.

    Call arguments:
        y_true: Labels `(batch, slate)`, or a dictionary with `"labels"` and any of
            `"reference_scores"`, `"mask"`, `"groups"`, `"weights"`.
        y_pred: Scores of the policy, `(batch, slate)`.
        sample_weight: See `PairLoss`.

    Examples:
        >>> loss = DPOLoss(beta=1.0)
        >>> targets = {"labels": np.array([[1.0, 0.0]]), "reference_scores": np.array([[1.0, 0.0]])}
        >>> round(float(loss(targets, np.array([[1.0, 0.0]]))), 4)
        0.6931
    """

    TARGETS = ("labels", "reference_scores", "mask", "groups", "weights")

    def __init__(
        self,
        beta: float = 0.1,
        loss_type: str = "dpo",
        label_smoothing: float = 0.0,
        log_prob: str = "score",
        reference_floor: bool = False,
        reduction: str = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, **kwargs)
        self.beta = _checked(beta, loss_type, label_smoothing)
        self.loss_type = loss_type
        self.label_smoothing = float(label_smoothing)
        self.log_prob = one_of("log_prob", log_prob, READINGS)
        self.reference_floor = bool(reference_floor)

    def call(self, y_true: dict[str, Tensor], y_pred: Tensor) -> Tensor:
        """Returns the loss, a scalar."""
        return dpo_loss(scores=y_pred, reduction=self.reduction, **self._options(), **y_true)

    def _options(self) -> dict[str, Any]:
        return {
            "beta": self.beta,
            "loss_type": self.loss_type,
            "label_smoothing": self.label_smoothing,
            "log_prob": self.log_prob,
            "reference_floor": self.reference_floor,
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._options()}

"""How a score is read as a log-probability."""

from keras import ops

from easq_keras.arguments import one_of
from easq_keras.precision import accumulated
from easq_keras.types import Tensor

READINGS = ("score", "log_softmax", "log_sigmoid", "log_softplus")
# Below it log(softplus(x)) is x to float32's precision, and soon after softplus underflows.
SOFTPLUS_TAIL = -20.0
# Score of a masked candidate in a softmax.
CLOSED = -1e30


def log_prob(scores: Tensor, reading: str, mask: Tensor | None = None) -> Tensor:
    """Returns the log-probability of each candidate, up to a constant, under a reading.

    Args:
        scores: `(batch, slate)`.
        reading: One of `READINGS`; see `dpo_loss`.
        mask: `(batch, slate)`, 0 for padding, which takes no part in a softmax.

    Raises:
        ValueError: `reading` is another one.
    """
    scores = accumulated(scores)
    if one_of("log_prob", reading, READINGS) == "score":
        return scores
    if reading == "log_sigmoid":
        return ops.log_sigmoid(scores)
    if reading == "log_softplus":
        tail = scores < SOFTPLUS_TAIL
        body = ops.where(tail, ops.full_like(scores, SOFTPLUS_TAIL), scores)
        return ops.where(tail, scores, ops.log(ops.softplus(body)))
    if mask is not None:
        closed = ops.full_like(scores, CLOSED)
        scores = ops.where(ops.cast(mask, "bool"), scores, closed)
    return scores - ops.logsumexp(scores, axis=-1, keepdims=True)

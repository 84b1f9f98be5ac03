"""EASQ's equations read once more: float64, one slate and one pair after the other.

Everything that a stopped gradient stands before is computed from a second set of parameters, the
*held* ones, so that a finite difference of the live ones is what the equations call a gradient.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Weights = dict[str, Array]
NORM_EPSILON = 1e-6
COLLAPSED_STD = 0.1


class Batch(NamedTuple):
    """A batch, its answers in the last `answered` rows."""

    features: dict[str, Array]
    labels: dict[str, Array]
    answered: int

    @property
    def dense(self) -> range:
        return range(len(self.features["mask"]) - self.answered)

    @property
    def tail(self) -> range:
        rows = len(self.features["mask"])
        return range(rows - self.answered, rows)


class Reading:
    """The objective of a model with these settings.

    Args:
        settings: `EASQSettings` of a preset.
        specs: The features, those of the user first.
        score_scale: Running standard deviations of ŷ and ŝ.
    """

    def __init__(self, settings: Any, specs: list[Any], score_scale: tuple[float, float]) -> None:
        self.settings = settings
        self.specs = specs
        self.score_scale = score_scale

    def objective(self, live: Weights, held: Weights, batch: Batch) -> float:
        """Eq. 17: L_main + λ1 L_satis + λ2 L_DPO (+ the loss of the behaviour head)."""
        settings, paper = self.settings, self.settings.satisfaction_loss == "pairwise"
        score = {
            row: self._score(live, held, batch, row) for row in range(len(batch.features["mask"]))
        }
        pairs = [pair for row in batch.dense for pair in self._behaviour_pairs(batch, row)]
        # Eq. 11
        total = sum(log_loss(score[r][i] - score[r][j]) for r, i, j in pairs) / len(pairs)

        liking = {row: self._satisfaction(live, held, batch, row) for row in batch.tail}
        answers = list(self._answers(batch))
        if paper:  # Eq. 15
            asked = list(self._answer_pairs(batch))
            lost = [log_loss(liking[r][i] - liking[q][j]) for r, i, q, j in asked]
        else:
            lost = [
                log_loss(liking[row][i] if answer == 1 else -liking[row][i])
                for row, i, answer in answers
            ]
        total += settings.lambda_satisfaction * sum(lost) / len(lost)
        if settings.satisfaction_loss == "silence":  # all that was exposed against the answers
            silent = [
                log_loss(-self._satisfaction(live, held, batch, row)[i])
                for row in batch.dense
                for i in self._shown(batch, row)
            ]
            total += settings.lambda_satisfaction * sum(silent) / len(silent)

        if paper:  # Eq. 16 on answers, ŝ the reference
            reference = {row: self._satisfaction(held, held, batch, row) for row in batch.tail}
            ratio = {row: score[row] - reference[row] for row in batch.tail}
            moved = [log_loss(settings.beta * (ratio[r][i] - ratio[q][j])) for r, i, q, j in asked]
            return total + settings.lambda_dpo * sum(moved) / len(moved)

        head = {row: self._behaviour(live, batch, row) for row in batch.dense}
        total += sum(log_loss(head[r][i] - head[r][j]) for r, i, j in pairs) / len(pairs)
        transfer = 0.0
        for row in batch.dense:  # Eq. 16 on slates, the behaviour head the reference
            satisfied = self._probability(held, batch, row)
            ratio_of_row = score[row] - self._behaviour(held, batch, row)
            for i, j in ordered_pairs(self._shown(batch, row)):
                preferred = max(2 * satisfied[i] - 2 * satisfied[j], 0.0)
                transfer += preferred * log_loss(
                    settings.beta * (ratio_of_row[i] - ratio_of_row[j])
                )
        return total + settings.lambda_dpo * transfer / len(pairs)

    # The scores of one slate.

    def _score(self, live: Weights, held: Weights, batch: Batch, row: int) -> Array:
        """ŷ: Eqs. 8 to 10. With a behaviour head h is held too."""
        of_h = held if self.settings.has_behaviour_head else live
        h = self._h(of_h, batch, row) + self._delta(held, held, batch, row)
        return self._tower(live, "tower", h)

    def _satisfaction(self, live: Weights, held: Weights, batch: Batch, row: int) -> Array:
        """ŝ: Eqs. 12 to 14."""
        h = self._h(held, batch, row) + self._delta(live, held, batch, row)
        return self._tower(live, "satisfaction_tower", h)

    def _tower(self, weights: Weights, name: str, h: Array) -> Array:
        if self.settings.use_moe:
            return routed(weights, name, h, self.settings.router_norm)
        return network(weights, name, h)

    def _behaviour(self, weights: Weights, batch: Batch, row: int) -> Array:
        return network(weights, "behaviour_head", self._h(weights, batch, row))

    def _probability(self, held: Weights, batch: Batch, row: int) -> Array:
        """σ(s̃): ŝ less its mean over the exposed candidates, at the spread of ŷ."""
        satisfaction = self._satisfaction(held, held, batch, row)
        of_score, of_satisfaction = self.score_scale
        scale = of_score / max(of_satisfaction, COLLAPSED_STD)
        mean = satisfaction[self._shown(batch, row)].mean()
        return 1 / (1 + np.exp(-scale * (satisfaction - mean)))

    def _delta(self, live: Weights, held: Weights, batch: Batch, row: int) -> Array:
        """Eq. 7, the embeddings held."""
        x = self._x(held, batch, row)
        if self.settings.lora_embedding_dim:
            x = np.concatenate([x, self._own(live, batch, row)], -1)
        return x @ live["lora/lora_kernel_a"] @ live["lora/lora_kernel_b"]

    def _h(self, weights: Weights, batch: Batch, row: int) -> Array:
        """Eq. 6 for the real candidates of a slate; 0 for the others, which nobody looks at."""
        real = batch.features["mask"][row] == 1
        h = dense(weights, "backbone/projection", self._x(weights, batch, row)[real])
        block = "backbone/block_0"
        h = h + dense(weights, f"{block}/attention_out", self._attended(weights, block, h))
        hidden = softplus(dense(weights, f"{block}/network_in", unit_scale(h)))
        h = h + dense(weights, f"{block}/network_out", hidden)
        everyone = np.zeros((len(real), h.shape[-1]))
        everyone[real] = unit_scale(h)
        return everyone

    def _attended(self, weights: Weights, block: str, h: Array) -> Array:
        heads, width = self.settings.num_heads, h.shape[-1] // self.settings.num_heads
        query, key, value = np.split(dense(weights, f"{block}/attention_in", unit_scale(h)), 3, -1)
        mixed = []
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            logits = query[:, own] @ key[:, own].T / np.sqrt(width)
            odds = np.exp(logits - logits.max(-1, keepdims=True))
            mixed.append(odds / odds.sum(-1, keepdims=True) @ value[:, own])
        return np.concatenate(mixed, -1)

    def _x(self, weights: Weights, batch: Batch, row: int) -> Array:
        """The candidates' features; zeros for padding."""
        columns = []
        slate = batch.features["mask"].shape[1]
        for spec in self.specs:
            value = batch.features[spec.name][row]
            if spec.level == "user":
                value = np.repeat(value, slate)
            table = weights.get(f"embedding/{spec.name}/embeddings")
            columns.append(value[:, None] if table is None else table[value])
        return np.concatenate(columns, -1) * (batch.features["mask"][row] == 1)[:, None]

    def _own(self, weights: Weights, batch: Batch, row: int) -> Array:
        """The delta's own rows of the candidates' indices; zeros for padding."""
        real = batch.features["mask"][row] == 1
        of_candidates = [s for s in self.specs if s.embedded and s.level == "candidate"]
        columns = [
            weights[f"lora_embedding/{spec.name}/embeddings"][batch.features[spec.name][row]]
            for spec in of_candidates
        ]
        return np.concatenate(columns, -1) * real[:, None]

    # Who forms a pair.

    def _shown(self, batch: Batch, row: int) -> list[int]:
        there = (batch.labels["behaviour"][row] >= 0) & (batch.features["mask"][row] == 1)
        return [int(i) for i in np.flatnonzero(there)]

    def _behaviour_pairs(self, batch: Batch, row: int) -> Iterator[tuple[int, int, int]]:
        level = batch.labels["behaviour"][row]
        for i, j in ordered_pairs(self._shown(batch, row)):
            if level[i] > level[j]:
                yield row, i, j

    def _answers(self, batch: Batch) -> Iterator[tuple[int, int, float]]:
        for row in batch.tail:
            for i, answer in enumerate(batch.labels["answer"][row]):
                if answer >= 0 and batch.features["mask"][row, i] == 1:
                    yield row, i, float(answer)

    def _answer_pairs(self, batch: Batch) -> Iterator[tuple[int, int, int, int]]:
        """D+: satisfied over dissatisfied of one pair group."""
        group = batch.labels["pair_group"]
        for r, i, satisfied in self._answers(batch):
            for q, j, other in self._answers(batch):
                together = r == q or (group[r] == group[q] and group[r] >= 0)
                if together and satisfied > other:
                    yield r, i, q, j


def ordered_pairs(items: list[int]) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in items for j in items if i != j)


def log_loss(margin: float) -> float:
    """−log σ(margin)."""
    return float(np.logaddexp(0.0, -margin))


def softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def unit_scale(h: Array) -> Array:
    return h / np.sqrt((h**2).mean(-1, keepdims=True) + NORM_EPSILON)


def dense(weights: Weights, name: str, h: Array) -> Array:
    return h @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def network(weights: Weights, name: str, h: Array) -> Array:
    hidden = softplus(dense(weights, f"{name}/hidden", h))
    return (hidden @ weights[f"{name}/output/kernel"])[:, 0] + weights.get(f"{name}/output/bias", 0)


def routed(weights: Weights, name: str, h: Array, router_norm: bool) -> Array:
    """Eqs. 9 and 10: Σ_e ReLU(W_gate h)_e · FFN_e(h)."""
    seen = h
    if router_norm:
        seen = h - h.mean(-1, keepdims=True)
        seen = seen / np.sqrt((seen**2).mean(-1, keepdims=True) + NORM_EPSILON)
    gates = seen @ weights[f"{name}/gate_kernel"] + weights.get(f"{name}/gate_bias", 0.0)
    score = np.zeros(len(h))
    for expert in range(gates.shape[-1]):
        of_expert = {
            part: weights[f"{name}/{part}"][expert]
            for part in ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
        }
        hidden = softplus(h @ of_expert["hidden_kernel"] + of_expert["hidden_bias"])
        output = hidden @ of_expert["output_kernel"] + of_expert["output_bias"]
        score += np.maximum(gates[:, expert], 0.0) * output[:, 0]
    return score

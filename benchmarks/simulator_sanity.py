"""Is the simulated world worth learning from? In-request value of simple rankings, per scenario.

    python benchmarks/simulator_sanity.py [--requests 20000] [--seed 0]

For each scenario: the mean true satisfaction and the expected engagement of the top 4 candidates
under several rankings (last quarter of the requests), the lift of behaviours given an answer
(EASQ, Fig. 3), and how well a ridge logistic regression fitted on the first three quarters of the
answers tells the answers of the last quarter apart. Prints lines, then one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simulator import SimulatorConfig, World
from simulator.audience import AGE_GROUPS
from simulator.catalogue import STYLES, TOPICS
from simulator.logs import BEHAVIOURS
from simulator.questionnaire import ANSWERS, NO_ANSWER
from simulator.scenario import SCENARIOS

TOP = 4
LEARNERS = (
    ("affinity", "style", "author"),  # knows the hidden affinity
    ("style", "author", "topic", "profile", "age x topic"),  # visible features only
)


def in_request_value(scores: np.ndarray, values: np.ndarray) -> float:
    """Mean of `values` over the `TOP` candidates of each request by `scores`."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    return float(np.take_along_axis(values, best, axis=1).mean())


def ndcg5(scores: np.ndarray, values: np.ndarray) -> float:
    """NDCG@5 with the gain (1 + true satisfaction) / 2."""
    discount = 1 / np.log2(np.arange(2, 7))
    gain = (1 + values) / 2
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    ideal = -np.sort(-gain, axis=1)[:, :5]
    return float(np.mean(np.take_along_axis(gain, best, axis=1) @ discount / (ideal @ discount)))


def fit_logistic(x: np.ndarray, y: np.ndarray, ridge: float = 2.0) -> np.ndarray:
    """Newton's method; x has a column of ones in front, which is not shrunk."""
    weights = np.zeros(x.shape[1])
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 1e-6
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        weights += np.linalg.solve(hessian, x.T @ (y - p) - penalty * weights)
    return weights


def pair_accuracy(score: np.ndarray, label: np.ndarray, user: np.ndarray) -> tuple[float, int]:
    """Share of (satisfied, dissatisfied) pairs in the right order, within a user; pairs."""
    right, pairs = 0.0, 0
    for one in np.unique(user[label == 0]):
        good = score[(user == one) & (label == 1)]
        bad = score[(user == one) & (label == 0)]
        difference = good[:, None] - bad[None, :]
        right += (difference > 0).sum() + 0.5 * (difference == 0).sum()
        pairs += difference.size
    return (right / pairs if pairs else float("nan")), pairs


def examine(config: SimulatorConfig) -> dict:
    world = World(config)
    catalogue = world.catalogue
    shown: dict[str, list[np.ndarray]] = {name: [] for name in [*BEHAVIOURS, "satisfaction"]}
    answers: dict[str, list[np.ndarray]] = {
        name: [] for name in ("user", "item", "affinity", "answer", *BEHAVIOURS)
    }
    late: list[dict[str, np.ndarray]] = []
    engaged_with = np.zeros(config.items, np.float32)
    issued = triggered = 0
    while world.remaining:
        requests = world.requests(config.requests_per_step)
        popularity = engaged_with.take(requests.item)
        order = world.logging_order(requests)
        reactions = world.react(requests, order)
        prospects = requests.prospects
        for name in BEHAVIOURS:
            shown[name].append(reactions.behaviours[name].ravel())
        shown["satisfaction"].append(
            np.take_along_axis(prospects.satisfaction, reactions.shown, 1).ravel()
        )
        engaged = np.any([reactions.behaviours[name] for name in BEHAVIOURS[1:]], axis=0)
        item = np.take_along_axis(requests.item, reactions.shown, 1)[engaged]
        if world.remaining >= config.requests / 4:
            engaged_with += np.bincount(item, minlength=config.items)
        asked = reactions.questionnaires
        issued += len(asked.row)
        duration = np.take_along_axis(requests.duration_ms, reactions.shown, 1)
        triggered += int(
            ((reactions.played_ms >= 7000) | (2 * reactions.played_ms >= duration)).sum()
        )
        said = asked.answer != NO_ANSWER
        row, position = asked.row[said], asked.position[said]
        candidate = reactions.shown[row, position]
        answers["user"].append(requests.user[row])
        answers["item"].append(requests.item[row, candidate])
        answers["affinity"].append(prospects.affinity[row, candidate])
        answers["answer"].append(asked.answer[said])
        for name in BEHAVIOURS:
            answers[name].append(reactions.behaviours[name][row, position])
        if world.remaining < config.requests / 4:
            late.append(
                {
                    "user": np.repeat(requests.user[:, None], config.candidates, axis=1),
                    "item": requests.item,
                    "affinity": prospects.affinity,
                    "satisfaction": prospects.satisfaction,
                    "engagement": world.expected_engagement(requests),
                    "popularity": popularity,
                    "p_click": requests.p_click,
                    "p_watch": requests.p_watch,
                    "p_like": requests.p_like,
                    "logging policy": -np.argsort(order, axis=1).astype(np.float32),
                }
            )
    views = {name: np.concatenate(parts) for name, parts in shown.items()}
    given = {name: np.concatenate(parts) for name, parts in answers.items()}
    test = {name: np.concatenate([part[name] for part in late]) for name in late[0]}

    usable = given["answer"] != 1
    label = (given["answer"][usable] == 2).astype(float)
    early = np.arange(usable.sum()) < 0.75 * usable.sum()

    people = world.audience

    def features(given: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
        user, item = given["user"].ravel(), given["item"].ravel()
        topic = catalogue.topic[item]
        known = {
            "affinity": given["affinity"].reshape(-1, 1),
            "style": np.eye(len(STYLES))[catalogue.style[item]],
            "author": np.eye(catalogue.author.max() + 1)[catalogue.author[item]],
            "topic": np.eye(TOPICS)[topic],
            "profile": (people.favourite[user] == topic)[:, None].astype(float),
            "age x topic": np.eye(len(AGE_GROUPS) * TOPICS)[
                people.age_group[user] * TOPICS + topic
            ],
        }
        return np.hstack([np.ones((len(item), 1)), *(known[name] for name in names)])

    learned = {}
    answered = {name: given[name][usable] for name in ("user", "item", "affinity")}
    for names in LEARNERS:
        name = ", ".join(names)
        x = features(answered, names)
        weights = fit_logistic(x[early], label[early])
        score, truth = x[~early] @ weights, label[~early]
        better = score[truth == 1][:, None] - score[truth == 0][None, :]
        within, pairs = pair_accuracy(score, truth, given["user"][usable][~early])
        learned[name] = {
            "held-out AUC": float((better > 0).mean()),
            "within-user pair accuracy": within,
            "pairs": pairs,
        }
        size = config.candidates
        test[f"logistic ({name})"] = (features(test, names) @ weights).reshape(-1, size)

    noise = np.random.default_rng(0).random(test["satisfaction"].shape)
    rankings = {
        "random": noise,
        **{
            name: test[name]
            for name in ("popularity", "logging policy", "p_click", "p_watch", "p_like")
        },
        "engagement oracle": test["engagement"],
        "satisfaction oracle": test["satisfaction"],
        **{name: score for name, score in test.items() if name.startswith("logistic")},
    }
    ranks = [np.argsort(np.argsort(test[name], 1), 1) for name in ("engagement", "satisfaction")]
    return {
        "rates": {name: float(views[name].mean()) for name in [*BEHAVIOURS, "satisfaction"]},
        "triggered": triggered / len(views["click"]),
        "issued of views": issued / len(views["click"]),
        "answers of issued": len(given["answer"]) / max(issued, 1),
        "answers": {word: int((given["answer"] == k).sum()) for k, word in enumerate(ANSWERS)},
        "lift": {
            word: {
                name: float(given[name][given["answer"] == k].mean() / views[name].mean() - 1)
                for name in BEHAVIOURS
            }
            for k, word in enumerate(ANSWERS)
        },
        "learned": learned,
        "in-request rank correlation of engagement and satisfaction": float(
            np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)])
        ),
        "rankings": {
            name: {
                "top-4 satisfaction": in_request_value(score, test["satisfaction"]),
                "NDCG@5": ndcg5(score, test["satisfaction"]),
                "top-4 engagement": in_request_value(score, test["engagement"]),
            }
            for name, score in rankings.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=SimulatorConfig.requests)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = {
        name: examine(
            SimulatorConfig(seed=arguments.seed, scenario=name, requests=arguments.requests)
        )
        for name in SCENARIOS
    }
    for scenario, found in result.items():
        print(f"{scenario}: answers {found['answers']}, {found['learned']}")
        for word, lifts in found["lift"].items():
            shown = ", ".join(f"{name} {lift:+.0%}" for name, lift in lifts.items())
            print(f"  lift given {word}: {shown}")
        for name, values in found["rankings"].items():
            shown = ", ".join(f"{measure} {value:.3f}" for measure, value in values.items())
            print(f"  {name}: {shown}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""A TFRS model that learns from a toy questionnaire, in a process with Keras 2.

Prints as JSON what `test_tfrs.py` looks at. Behaviour follows feature 0 and satisfaction feature 1.
"""

import json

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as recommenders

from easq_keras.tfrs import SatisfactionAlignment


class Ranker(recommenders.Model):
    """The example of the docstring."""

    def __init__(self, alignment: SatisfactionAlignment) -> None:
        super().__init__()
        self.backbone = tf.keras.layers.Dense(8, activation="softplus", name="backbone")
        self.lora_a = tf.keras.layers.Dense(2, use_bias=False, name="lora_a")
        self.lora_b = tf.keras.layers.Dense(
            8, use_bias=False, kernel_initializer="zeros", name="lora_b"
        )
        self.head = tf.keras.layers.Dense(1, name="head")
        self.satisfaction = tf.keras.layers.Dense(1, name="satisfaction")
        self.ranking = recommenders.tasks.Ranking(tf.keras.losses.MeanSquaredError())
        self.alignment = alignment

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        h, delta = self.backbone(x), self.lora_b(self.lora_a(tf.stop_gradient(x)))
        return {
            "score": self.head(h + tf.stop_gradient(delta))[..., 0],
            "satisfaction": self.satisfaction(tf.stop_gradient(h) + delta)[..., 0],
        }

    def compute_loss(self, batch: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        predictions = self(batch["x"])
        return self.ranking(batch["watched"], predictions["score"]) + self.alignment(
            batch["answer"], predictions, groups=batch["user_id"]
        )


def slates(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4, 3)).astype("float32")
    answer = np.full((rows, 4), -1.0, "float32")
    # One answer a slate: only a user's several slates together make pairs.
    answer[:, 0] = x[:, 0, 1] > 0
    user_id = np.arange(rows, dtype=np.int64) // 4
    return {"x": x, "watched": x[..., 0], "answer": answer, "user_id": user_id}


def trained(alignment_weight: float) -> tuple[Ranker, list[dict[str, float]], float]:
    """Returns the model, its metrics by epoch, and how ŷ goes with what satisfies."""
    tf.keras.utils.set_random_seed(0)
    data = slates(256)
    model = Ranker(SatisfactionAlignment(1.0, alignment_weight, beta=1.0))
    model.compile(optimizer=tf.keras.optimizers.Adam(0.02))
    history = model.fit(tf.data.Dataset.from_tensor_slices(data).batch(64), epochs=8, verbose=0)
    last = len(history.epoch) - 1
    epochs = [{name: row[i] for name, row in history.history.items()} for i in (0, last)]
    score = model(data["x"])["score"].numpy().ravel()
    return model, epochs, float(np.corrcoef(score, data["x"][..., 1].ravel())[0, 1])


def moved_by(model: Ranker, which: str) -> list[str]:
    """Names of the layers that a loss alone has a gradient for."""
    data = slates(32)
    alone = SatisfactionAlignment(float(which == "satisfaction"), float(which == "alignment"))
    with tf.GradientTape() as tape:
        loss = alone(data["answer"], model(data["x"]), groups=data["user_id"])
    gradients = tape.gradient(loss, model.trainable_variables)
    return sorted(
        {
            variable.name.split("/")[-2]
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
            if gradient is not None and np.any(gradient)
        }
    )


def refusals() -> list[str]:
    """What the constructor says to wrong options."""
    messages = []
    for options in (
        {"beta": 0},
        {"alignment_weight": -1},
        {"satisfaction_weight": "x"},
        {"loss_type": "x"},
    ):
        try:
            SatisfactionAlignment(**options)
        except ValueError as error:
            messages.append(str(error))
    return messages


def main() -> None:
    model, epochs, aligned = trained(alignment_weight=5.0)
    _, _, plain = trained(alignment_weight=0.0)
    none = {"score": tf.ones((2, 3)), "satisfaction": tf.ones((2, 3))}
    config = model.alignment.get_config()
    print(
        json.dumps(
            {
                "first": epochs[0],
                "last": epochs[-1],
                "aligned": aligned,
                "plain": plain,
                "moved_by_satisfaction": moved_by(model, "satisfaction"),
                "moved_by_alignment": moved_by(model, "alignment"),
                "without_answers": float(model.alignment(-tf.ones((2, 3)), none)),
                "config_kept": SatisfactionAlignment.from_config(config).get_config() == config,
                "silent": float(
                    SatisfactionAlignment()(
                        tf.constant([[1.0, 0.0, -1.0]] * 2), none, compute_metrics=False
                    )
                ),
                "refusals": refusals(),
                "keras": tf.keras.Model.__module__,
            }
        )
    )


if __name__ == "__main__":
    main()

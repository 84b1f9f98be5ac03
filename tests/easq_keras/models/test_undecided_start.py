"""As a logit ŝ starts at 0: nothing random is transferred before answers have taught it."""

import keras
import numpy as np
import pytest

from tests.easq_keras.models.small import ANSWERED, batch, easq


@pytest.mark.parametrize("use_moe", [True, False])
def test_nothing_is_transferred_at_the_start(use_moe: bool) -> None:
    model = easq("recommended", use_moe=use_moe)
    model.compile(answered_rows=ANSWERED, run_eagerly=True)
    assert not np.any(model(batch()[0])["satisfaction"])
    logs = model.train_on_batch(*batch(), return_dict=True)
    assert float(logs["loss/dpo"]) == 0
    assert float(logs["loss/satisfaction"]) == pytest.approx(np.log(2))


def test_answers_move_it_and_the_decay_does_not_pull_it_back_to_nothing() -> None:
    keras.utils.set_random_seed(0)
    model = easq("recommended", learning_rate=0.01)
    model.compile(answered_rows=ANSWERED)
    for _ in range(60):
        logs = model.train_on_batch(*batch(), return_dict=True)
        model.reset_metrics()
    assert float(logs["loss/satisfaction"]) < 0.6
    assert float(logs["loss/dpo"]) > 0
    assert float(logs["satisfaction/collapsed"]) == 0


def test_as_one_side_of_pairs_it_starts_as_any_other_score() -> None:
    assert np.any(easq("paper")(batch()[0])["satisfaction"])

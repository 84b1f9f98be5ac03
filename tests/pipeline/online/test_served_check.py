"""The exported model against the trained one."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.online.served_check import disagreement, served_scores
from pipeline.online.state import OnlineFolder
from tests.pipeline.online.online_runs import FIRST_VERSION

IDS = [b"r1", b"r2"]
SERVED = np.array([[1.0, 2.0, -9.0], [3.0, -9.0, -9.0]], np.float32)


def test_what_is_loaded_scores_as_the_servers_would(full_fit, tiny_examples):
    folder = OnlineFolder(full_fit).serving_dir / str(FIRST_VERSION)
    loaded = tf.saved_model.load(str(folder)).signatures["serving_examples"]
    expected = loaded(examples=tf.constant(tiny_examples))["score"].numpy()
    found = served_scores(Path(folder), tiny_examples)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_padding_does_not_have_to_agree():
    assert disagreement(IDS, SERVED, [np.array([1.0, 2.0]), np.array([3.0])]) == ""


def test_a_score_that_differs_is_named_with_its_request():
    found = disagreement(IDS, SERVED, [np.array([1.0, 2.0]), np.array([3.001])])
    assert found == ("request r2, candidate 0: the exported model scores 3, the trained one 3.001")


def test_rounding_is_no_difference_and_no_number_is():
    assert disagreement(IDS[:1], SERVED[:1] * (1 + 4e-5), [np.array([1.0, 2.0])]) == ""
    assert "nan" in disagreement(IDS[:1], SERVED[:1] * np.nan, [np.array([1.0, 2.0])])

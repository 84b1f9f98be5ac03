"""Random numbers belong to rows, not to the order in which they are asked for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator.randomness import generator, logistic, uniform_rows


@given(first=st.integers(0, 10**9), cut=st.integers(1, 19), width=st.sampled_from([2, 6, 150]))
def test_rows_are_the_same_however_they_are_cut(first, cut, width):
    together = uniform_rows(3, "test", first, 20, width)
    parts = [
        uniform_rows(3, "test", first, cut, width),
        uniform_rows(3, "test", first + cut, 20 - cut, width),
    ]
    np.testing.assert_array_equal(together, np.concatenate(parts))


def test_rows_differ_by_seed_and_purpose():
    rows = uniform_rows(3, "test", 0, 5, 4)
    assert (rows != uniform_rows(4, "test", 0, 5, 4)).all()
    assert (rows != uniform_rows(3, "else", 0, 5, 4)).all()
    assert generator(3, "night", 1).random() != generator(3, "night", 2).random()


def test_uniform_numbers_are_uniform_and_have_finite_log_odds():
    numbers = uniform_rows(0, "test", 0, 100_000, 4)
    assert numbers.min() > 0
    assert numbers.max() < 1
    shares = np.histogram(numbers, bins=10, range=(0, 1))[0] / numbers.size
    np.testing.assert_allclose(shares, 0.1, atol=0.003)
    ends = np.array([2.0**-25, 1 - 2.0**-24], np.float32)
    assert np.isfinite(logistic(ends)).all()


def test_logistic_noise_has_its_known_spread_and_quartiles():
    noise = logistic(uniform_rows(0, "test", 0, 100_000, 4))
    assert abs(noise.mean()) < 0.02
    np.testing.assert_allclose(noise.std(), np.pi / np.sqrt(3), rtol=0.01)
    np.testing.assert_allclose(np.quantile(noise, 0.75), np.log(3), rtol=0.02)

"""The split of users into arms: uniform, stable, independent by key; the mismatch alarm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.ab.split import CONTROL, TREATMENT, mismatch_p_value, place, split


@given(user=st.text(max_size=20), key=st.text(max_size=16))
def test_a_user_always_falls_in_the_same_place(user, key):
    assert 0 <= place(user, key) < 1
    assert place(user, key) == place(user, key)


def test_places_are_uniform_over_users():
    places = np.sort([place(str(user), "key") for user in range(20_000)])
    # Kolmogorov–Smirnov: 1.63 / √n is the 1 % point.
    distance = np.abs(places - (np.arange(20_000) + 0.5) / 20_000).max()
    assert distance < 1.63 / np.sqrt(20_000)


def test_a_larger_share_only_adds_users_to_the_treatment():
    smaller, larger = split(2_000, "key", 0.1), split(2_000, "key", 0.4)
    assert set(np.unique(larger)) == {CONTROL, TREATMENT}
    assert (larger[smaller == TREATMENT] == TREATMENT).all()
    assert abs((larger == TREATMENT).mean() - 0.4) < 0.04


def test_more_users_do_not_move_those_that_were_there():
    assert split(500, "key").tolist() == split(2_000, "key")[:500].tolist()


def test_another_key_splits_anew():
    first, second = split(10_000, "a"), split(10_000, "b")
    together = np.array([(first[second == arm] == TREATMENT).mean() for arm in (0, 1)])
    assert np.abs(together - 0.5).max() < 0.03


def test_the_p_value_is_that_of_the_chi_square_table():
    # χ² = (540 - 500)² / 500 + (460 - 500)² / 500 = 6.4; table: p = .0114
    assert mismatch_p_value(540, 460, 0.5) == pytest.approx(0.01141, abs=1e-5)
    # 5.1 % of 10,000: expected 510, χ² = 60² / 510 + 60² / 9490 = 7.4381; table: p = .006386
    assert mismatch_p_value(9_430, 570, 0.051) == pytest.approx(0.006386, abs=1e-6)
    assert mismatch_p_value(500, 500, 0.5) == 1.0
    assert mismatch_p_value(0, 0, 0.5) == 1.0


def test_the_hash_passes_its_own_alarm_and_lost_users_do_not():
    arm = split(50_000, "key")
    control, treatment = int((arm == CONTROL).sum()), int((arm == TREATMENT).sum())
    assert mismatch_p_value(control, treatment, 0.5) > 0.001
    assert mismatch_p_value(control, round(treatment * 0.96), 0.5) < 0.001

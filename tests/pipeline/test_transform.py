"""What the model is given of three hand-written slates (see conftest)."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.transform import answer_label, normalised_rank


def test_candidate_lists_are_padded_to_the_slate_width(tiny_transformed):
    expected = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    np.testing.assert_array_equal(tiny_transformed["mask"], expected)


def test_the_same_id_has_the_same_bucket_everywhere_and_padding_has_bucket_zero(tiny_transformed):
    first, second, third = tiny_transformed["item_id"]
    assert first[0] == third[1]  # a
    assert first[1] == second[0] == third[3]  # b
    assert len({*third.tolist()}) == 4
    assert (tiny_transformed["item_id"][tiny_transformed["mask"] == 0] == 0).all()
    assert (tiny_transformed["item_id"][tiny_transformed["mask"] == 1] > 0).all()


def test_user_and_context_features_have_one_value_a_slate(tiny_transformed):
    assert tiny_transformed["user_id"].shape == (3,)
    assert tiny_transformed["user_id"][0] == tiny_transformed["user_id"][2]
    assert tiny_transformed["hour"][0] != tiny_transformed["hour"][1]


def test_numbers_are_standardised_over_all_candidates(tiny_transformed):
    lengths = np.array([10, 30, 20, 30, 40, 40, 10, 20, 30])
    z_score = (lengths - lengths.mean()) / lengths.std()
    mask = tiny_transformed["mask"] == 1
    np.testing.assert_allclose(tiny_transformed["length_z"][mask], z_score, rtol=1e-5)
    assert (tiny_transformed["length_z"][~mask] == 0).all()


def test_quantile_buckets_rise_with_the_number_and_leave_zero_to_padding(tiny_transformed):
    buckets = tiny_transformed["length"]
    d, a, c, b = buckets[2]
    assert 1 <= a < c < b < d
    assert (buckets[tiny_transformed["mask"] == 0] == 0).all()


def test_ranks_are_within_the_slate(tiny_transformed):
    np.testing.assert_allclose(
        tiny_transformed["length_rank"],
        [[2 / 3, 0, 1 / 3, 0], [1 / 2, 0, 0, 0], [0, 3 / 4, 2 / 4, 1 / 4]],
        rtol=1e-6,
    )


def test_labels(tiny_transformed):
    np.testing.assert_array_equal(
        tiny_transformed["behaviour_level"],
        [[2, 0, -1, -1], [1, 0, -1, -1], [0, 1, 0, -1]],
    )
    # Satisfied is 1, dissatisfied 0; uncertain (the second slate's d) is no label.
    np.testing.assert_array_equal(
        tiny_transformed["answer_label"],
        [[1, -1, -1, -1], [0, -1, -1, -1], [-1, -1, -1, -1]],
    )


def test_candidates_without_an_answer_may_stand_in_the_middle():
    answer = tf.ragged.constant([[2, -1, 0], [1, -1]], dtype=tf.int64)
    exposed = tf.ragged.constant([[1, 1, 1], [1, 0]], dtype=tf.int64)
    middle = answer_label(answer, exposed, "middle").to_list()
    assert middle == [[1.0, 0.5, 0.0], [-1.0, -1.0]]  # uncertain and unseen stay without a label
    assert answer_label(answer, exposed, "exclude").to_list() == [[1.0, -1.0, 0.0], [-1.0, -1.0]]


def test_equal_values_share_the_mean_of_their_ranks():
    values = tf.constant([[5.0, 7.0, 5.0, 1.0]])
    mask = tf.constant([[1.0, 1.0, 1.0, 1.0]])
    expected = [[1.5 / 4, 0, 1.5 / 4, 3 / 4]]
    np.testing.assert_allclose(normalised_rank(values, mask), expected)


@settings(max_examples=30)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6), st.randoms())
def test_ranks_move_with_the_candidates_and_do_not_see_padding(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    mask = tf.constant([[1.0] * len(values) + [0.0]])
    ranks = normalised_rank(tf.constant([[*values, 99.0]]), mask)[0].numpy()
    shuffled = [values[index] for index in order]
    moved = normalised_rank(tf.constant([[*shuffled, -99.0]]), mask)[0].numpy()
    np.testing.assert_allclose(moved[:-1], ranks[:-1][order], rtol=1e-6)
    assert ranks[-1] == 0

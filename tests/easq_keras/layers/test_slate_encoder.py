"""The backbone: attention over a set of candidates."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from keras.src import testing

from easq_keras.layers import SlateEncoder, SlateEncoderBlock

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 6))
MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 1, 0, 0]])


def encoder(**options) -> SlateEncoder:
    keras.utils.set_random_seed(1)
    layer = SlateEncoder(
        **{
            "units": 8,
            "num_layers": 2,
            "num_heads": 2,
            "bias_initializer": "normal",
            "dtype": "float64",
            **options,
        }
    )
    layer.build((None, None, 6))
    return layer


ENCODER = encoder()


class SlateEncoderTest(testing.TestCase):
    def test_keras_harness(self) -> None:
        self.run_layer_test(
            SlateEncoder,
            {
                "units": 8,
                "num_layers": 2,
                "num_heads": 2,
                "hidden_dim": 5,
                "activation": "relu",
                "kernel_initializer": "he_normal",
                "bias_initializer": "ones",
                "kernel_regularizer": "l2",
            },
            input_shape=(2, 3, 6),
            expected_output_shape=(2, 3, 8),
            # A projection, and four layers a block, a kernel and a bias each.
            expected_num_trainable_weights=18,
            expected_num_losses=9,
            supports_masking=True,
        )

    def test_keras_harness_of_a_block(self) -> None:
        self.run_layer_test(
            SlateEncoderBlock,
            {"num_heads": 2, "hidden_dim": 5},
            input_shape=(2, 3, 8),
            expected_output_shape=(2, 3, 8),
            expected_num_trainable_weights=8,
            supports_masking=True,
        )


def unit_rms(h: np.ndarray) -> np.ndarray:
    return h / np.sqrt(np.mean(h**2, axis=-1, keepdims=True) + 1e-6)


def spelt_out(layer: SlateEncoder, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One slate, one candidate and one head at a time, over the real candidates only."""

    def dense(sub: keras.layers.Dense, value: np.ndarray) -> np.ndarray:
        return value @ sub.kernel.numpy() + sub.bias.numpy()

    out = np.zeros((*x.shape[:2], layer.units))
    width = layer.units // layer.num_heads
    for row in range(len(x)):
        real = np.flatnonzero(mask[row])
        h = dense(layer.projection, x[row, real])
        for block in layer.blocks:
            query, key, value = np.split(dense(block.attention_in, unit_rms(h)), 3, axis=-1)
            mixed = np.zeros_like(h)
            for head in range(layer.num_heads):
                part = slice(head * width, (head + 1) * width)
                for i in range(len(real)):
                    odds = np.exp(key[:, part] @ query[i, part] / np.sqrt(width))
                    mixed[i, part] = odds @ value[:, part] / odds.sum()
            h = h + dense(block.attention_out, mixed)
            hidden = np.log1p(np.exp(dense(block.network_in, unit_rms(h))))
            h = h + dense(block.network_out, hidden)
        out[row, real] = unit_rms(h)
    return out


def test_computes_what_the_docstring_says() -> None:
    np.testing.assert_allclose(ENCODER(X, mask=MASK), spelt_out(ENCODER, X, MASK), rtol=1e-9)


@settings(max_examples=25)
@given(order=st.permutations(range(5)), row=st.integers(0, 2))
def test_a_permutation_of_the_candidates_permutes_the_output(order: list[int], row: int) -> None:
    x, mask = X[row : row + 1], MASK[row : row + 1]
    permuted = ENCODER(x[:, order], mask=mask[:, order])
    np.testing.assert_allclose(
        permuted, np.asarray(ENCODER(x, mask=mask))[:, order], rtol=1e-9, atol=1e-12
    )


@settings(max_examples=25)
@given(
    junk=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=6, max_size=6)
)
def test_what_the_padding_holds_never_matters(junk: list[float]) -> None:
    dirty = np.where(MASK[:, :, None] > 0, X, np.array(junk))
    np.testing.assert_array_equal(ENCODER(dirty, mask=MASK), ENCODER(X, mask=MASK))


def test_padding_gets_no_gradient_and_spoils_none() -> None:
    dirty = tf.constant(np.where(MASK[:, :, None] > 0, X, np.nan))
    with tf.GradientTape() as tape:
        tape.watch(dirty)
        total = ops.sum(ops.sin(ENCODER(dirty, mask=MASK)))
    gradients = tape.gradient(total, [dirty, *(w.value for w in ENCODER.trainable_weights)])
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    assert not np.any(gradients[0].numpy()[MASK == 0])


def test_wider_padding_changes_nothing() -> None:
    wide = np.concatenate([X, np.ones((3, 4, 6))], axis=1)
    wide_mask = np.concatenate([MASK, np.zeros((3, 4), int)], axis=1)
    np.testing.assert_allclose(
        ENCODER(wide, mask=wide_mask)[:, :5], ENCODER(X, mask=MASK), rtol=1e-12
    )


def test_candidates_of_one_slate_see_each_other_and_no_other_slate() -> None:
    changed = X.copy()
    changed[0, 0] += 1.0
    before, after = np.asarray(ENCODER(X, mask=MASK)), np.asarray(ENCODER(changed, mask=MASK))
    assert np.all(np.any(before[0] != after[0], axis=-1))
    np.testing.assert_array_equal(before[1:], after[1:])


def test_a_slate_without_candidates_gives_zeros() -> None:
    h = ENCODER(X, mask=np.zeros((3, 5)))
    np.testing.assert_array_equal(h, np.zeros((3, 5, 8)))


def test_a_slate_of_one_candidate_is_encoded() -> None:
    h = np.asarray(ENCODER(X[:, :1]))
    assert np.all(np.isfinite(h))
    np.testing.assert_allclose(h[0, 0], np.asarray(ENCODER(X, mask=np.eye(3, 5)))[0, 0], rtol=1e-9)


@pytest.mark.parametrize("units", [8, 64, 256])
def test_the_output_keeps_its_scale_whatever_the_width(units: int) -> None:
    h = encoder(units=units)(X)
    np.testing.assert_allclose(np.mean(np.square(h), axis=-1), 1.0, rtol=1e-3)


def test_the_mask_of_the_features_is_found_without_being_passed() -> None:
    masking = keras.layers.Masking(mask_value=7.0, dtype="float64")
    masked = masking(np.where(MASK[:, :, None] > 0, X, 7.0))
    np.testing.assert_array_equal(ENCODER(masked), ENCODER(X, mask=MASK))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_stays_close_and_finite(policy: str) -> None:
    full = encoder(dtype="float32")
    half = encoder(dtype=policy)
    half.set_weights(full.get_weights())
    h = half(X, mask=MASK)
    assert keras.backend.standardize_dtype(h.dtype) == policy.removeprefix("mixed_")
    np.testing.assert_allclose(ops.cast(h, "float32"), full(X, mask=MASK), atol=0.1)
    huge = half(1e3 * X, mask=MASK)
    assert np.all(np.isfinite(ops.cast(huge, "float32")))


def test_compiles_once_for_one_width() -> None:
    layer = encoder(dtype="float32")
    inputs, mask = tf.constant(X, "float32"), tf.constant(MASK)
    compiled = tf.function(lambda x, m: layer(x, mask=m), jit_compile=True)
    np.testing.assert_allclose(compiled(inputs, mask), layer(inputs, mask=mask), atol=1e-5)
    compiled(inputs + 1, 1 - mask)
    assert compiled.experimental_get_tracing_count() == 1


def test_saves_and_loads(tmp_path) -> None:
    inputs = keras.Input((None, 6))
    model = keras.Model(inputs, SlateEncoder(8, num_heads=2)(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(X), model(X))


def test_kernels_of_one_size_start_apart_though_the_initializer_has_a_seed() -> None:
    layer = encoder(kernel_initializer=keras.initializers.HeNormal(seed=2))
    first, second = (block.attention_in.kernel.numpy() for block in layer.blocks)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "`units` must be a positive integer.*units=0"),
        ({"num_layers": 0}, "`num_layers` must be a positive integer.*num_layers=0"),
        ({"num_heads": 3}, "`num_heads` must divide `units`.*num_heads=3, units=8"),
        ({"hidden_dim": -2}, "`hidden_dim` must be a positive integer.*hidden_dim=-2"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_and_value(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SlateEncoder(**{"units": 8, "num_heads": 2, **arguments})


def test_a_block_refuses_a_width_its_heads_do_not_divide() -> None:
    with pytest.raises(ValueError, match="num_heads=3, width=8"):
        SlateEncoderBlock(num_heads=3, hidden_dim=4).build((None, None, 8))


def test_an_input_without_a_candidate_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="expected ndim=3"):
        SlateEncoder(8)(X[:, 0])


def test_a_mask_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mask of shape \(3, 4\), inputs of shape \(3, 5, 6\)"):
        ENCODER(X, mask=MASK[:, :4])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_slates_and_slates_of_no_width_pass(shape: tuple[int, int]) -> None:
    assert ENCODER(np.zeros((*shape, 6)), mask=np.zeros(shape)).shape == (*shape, 8)

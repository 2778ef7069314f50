import jax.numpy as jnp
import numpy as np
import pytest
import tiny_condition
import tiny_priors

from musicgen_jax.conditions import above


@pytest.fixture(scope="module")
def built():
    model = tiny_priors.model_config("middle", context=32, above_dropout=0.1)
    return tiny_condition.build(lambda rngs: above.Above(model, dtype=jnp.float32, rngs=rngs), scale=0.5)


def test_each_code_above_reaches_its_own_span_and_both_sides(built):
    _, added = built
    codes = np.zeros((1, 8, 1), np.int32)
    changed = codes.copy()
    changed[0, 4] = 7
    plain, other = added(above=codes), added(above=changed)
    assert plain.shape == (1, 32, 16)
    moved = np.abs(plain - other).max(axis=-1)[0] > 1e-4
    assert moved[16:20].all()
    assert moved[:16].any()
    assert moved[20:].any()


def test_hidden_codes_are_a_trained_vector(built):
    params, added = built
    codes = np.arange(16).reshape(2, 8, 1) % 11
    hidden = added(np.array([False, True]), above=codes)
    np.testing.assert_array_equal(hidden[1], np.tile(params["no_codes"], (32, 1)))
    np.testing.assert_allclose(hidden[0], added(above=codes)[0], atol=1e-6)


def test_strides_are_the_prime_factors():
    """Of a power of two all are 2, as in checkpoints that knew no other."""
    assert [above.strides(2**n) for n in (1, 2, 5)] == [(2,), (2, 2), (2,) * 5]
    assert [above.strides(number) for number in (3, 12, 49, 97)] == [(3,), (2, 2, 3), (7, 7), (97,)]


def test_a_stream_above_of_any_hop():
    """Six frames for one above; only what lies within the reach of the convolutions of a changed code moves."""
    model = tiny_priors.model_config("middle", context=48, upsampling=6)
    params, added = tiny_condition.build(lambda rngs: above.Above(model, dtype=jnp.float32, rngs=rngs), scale=0.5)
    assert [params["upsampling"][n]["kernel"].shape[0] for n in (0, 1)] == [4, 6]
    codes = np.zeros((1, 8, 1), np.int32)
    changed = codes.copy()
    changed[0, 4] = 7
    plain, other = added(above=codes), added(above=changed)
    assert plain.shape == (1, 48, 16)
    moved = np.abs(plain - other).max(axis=-1)[0] > 1e-4
    assert moved[24:30].all() and moved[:24].any() and moved[30:].any()

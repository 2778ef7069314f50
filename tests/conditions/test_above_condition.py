import jax.numpy as jnp
import numpy as np
import pytest
import tiny_condition
import tiny_priors

from musicgen_jax.conditions import above
from musicgen_jax.nn import modules


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


def test_upsampling_must_be_a_power_of_two():
    model = tiny_priors.model_config("middle", upsampling=3)
    with pytest.raises(ValueError, match=r"model\.upsampling=3: must be a power of two"):
        modules.Functional(lambda rngs: above.Above(model, dtype=jnp.float32, rngs=rngs))

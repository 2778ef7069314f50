import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.priors import conditioner


@pytest.fixture(scope="module")
def labels():
    model = tiny_priors.model_config()
    functional = modules.Functional(lambda rngs: conditioner.LabelConditioner(model, rngs=rngs))
    rng = np.random.default_rng(0)
    shapes = nnx.to_pure_dict(functional.abstract_params)
    tables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)
    run = jax.jit(lambda *args: functional.bind(tables, {})(*args))
    return jax.device_get(tables), lambda *args: np.asarray(run(*(np.int32([arg]) for arg in args)))[0]


def test_labels_and_timing_are_the_sum_of_four_tables(labels):
    # 10 codes a second, lengths up to 8 s in 5 bins, context 12: a window at 20 of a track of 48 codes.
    tables, condition = labels
    expected = tables["genre"][2] + tables["artist"][0] + tables["total"][int(4.8 / 8.0 * 5)]
    elapsed = [int((20 + t) / 48 * 5) for t in range(12)]
    np.testing.assert_allclose(condition(2, 0, 20, 48), expected + tables["elapsed"][elapsed], atol=1e-6)


def test_timing_behind_the_last_bin_takes_the_last_bin(labels):
    tables, condition = labels
    expected = tables["genre"][0] + tables["artist"][0] + tables["total"][4] + tables["elapsed"][4]
    np.testing.assert_allclose(condition(0, 0, 1000, 1000), np.tile(expected, (12, 1)), atol=1e-6)


@pytest.fixture(scope="module")
def upsampler():
    model = tiny_priors.model_config("middle", context=32)
    functional = modules.Functional(lambda rngs: conditioner.UpsamplerConditioner(model, dtype=jnp.float32, rngs=rngs))
    rng = np.random.default_rng(0)
    shapes = nnx.to_pure_dict(functional.abstract_params)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.5, size=leaf.shape), jnp.float32), shapes)
    return jax.jit(lambda above: functional.bind(params, {})(above))


def test_each_code_above_reaches_its_own_span_and_both_sides(upsampler):
    above = np.zeros((1, 8), np.int32)
    changed = above.copy()
    changed[0, 4] = 7
    plain, other = upsampler(above), upsampler(changed)
    assert plain.shape == (1, 32, 16)
    moved = np.abs(np.asarray(plain - other)).max(axis=-1)[0] > 1e-4
    assert moved[16:20].all()
    assert moved[:16].any()
    assert moved[20:].any()


def test_upsampling_must_be_a_power_of_two():
    model = tiny_priors.model_config("middle", upsampling=3)
    with pytest.raises(ValueError, match=r"model\.upsampling=3: must be a power of two"):
        modules.Functional(lambda rngs: conditioner.UpsamplerConditioner(model, dtype=jnp.float32, rngs=rngs))


def test_labels_can_be_hidden():
    batch = {"genre": np.array([1, 2]), "artist": np.array([3, 4]), "start": np.array([5, 6])}
    hidden = conditioner.without_labels(batch, np.array([True, False]))
    assert {name: x.tolist() for name, x in hidden.items()} == {"genre": [0, 2], "artist": [0, 4], "start": [5, 6]}
    assert tiny_priors.GENRES[conditioner.UNKNOWN] == config.UNKNOWN_LABEL

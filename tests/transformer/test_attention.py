import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import attention, kv_cache

LENGTH = 7
SETTINGS = config.TransformerConfig(num_layers=2, width=12, num_heads=3, head_dim=5, mlp_width=8)


def make(max_distance=LENGTH, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    functional = modules.Functional(
        lambda rngs: attention.RelativeAttention(
            settings, attention.Span(max_distance), rules.AxisRules(), dtype=jnp.float32, rngs=rngs
        )
    )
    rng = np.random.default_rng(0)
    shapes = nnx.to_pure_dict(functional.abstract_params)
    return functional.bind(
        jax.tree.map(lambda leaf: rng.normal(scale=0.4, size=leaf.shape).astype(np.float32), shapes), {}
    )


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(2, LENGTH, SETTINGS.width)).astype(np.float32)


def test_shapes_of_a_narrow_attention():
    out, cache = make()(inputs())
    assert out.shape == (2, LENGTH, SETTINGS.width)
    assert cache.keys.shape == cache.values.shape == (2, 3, LENGTH, 5)


@pytest.mark.parametrize("changes", [{}, {"window": 2, "beyond": "clamp"}, {"attention": "reference"}])
def test_step_equals_the_whole_sequence(changes):
    layer, x = make(max_distance=4, **changes), inputs()
    expected, whole = jax.jit(layer)(x)
    cache = jax.tree.map(jnp.zeros_like, whole)
    step = jax.jit(layer.step)
    for position in range(LENGTH):
        out, cache = step(x[:, position], cache, position)
        np.testing.assert_allclose(out, expected[:, position], atol=1e-5)
    np.testing.assert_allclose(cache.keys, whole.keys, atol=1e-5)
    np.testing.assert_allclose(cache.values, whole.values, atol=1e-5)


def test_past_alone_decides():
    layer, x = make(), inputs()
    # [T_out, T_in]: how much each output depends on each input of the first example.
    jacobian = jax.jit(jax.jacrev(lambda x: jnp.sum(layer(x)[0][0] ** 2, axis=-1)))(x)
    dependence = np.abs(jacobian).sum(axis=-1)
    assert not np.any(np.triu(dependence[:, 0], k=1))
    assert np.all(dependence[:, 0][np.tril_indices(LENGTH)] > 0)
    assert not np.any(dependence[:, 1])  # the other example


def test_writing_a_cache_replaces_one_row():
    zeros = jnp.zeros((2, 3, LENGTH, 5))
    cache = kv_cache.KVCache(keys=zeros, values=zeros)
    written = cache.write(jnp.ones((2, 3, 5)), 2 * jnp.ones((2, 3, 5)), jnp.int32(4))
    assert np.all(written.keys[:, :, 4] == 1)
    assert np.all(written.values[:, :, 4] == 2)
    assert float(written.keys.sum()) == 2 * 3 * 5
    assert float(cache.keys.sum()) == 0


def test_unstacked_caches_come_in_layer_order():
    keys = jnp.arange(3.0).reshape(3, 1, 1, 1, 1)
    caches = kv_cache.unstacked(kv_cache.LayerCache(kv_cache.KVCache(keys=keys, values=-keys)), 3)
    assert [float(cache.own.keys.item()) for cache in caches] == [0, 1, 2]
    assert [float(cache.own.values.item()) for cache in caches] == [0, -1, -2]


def test_a_window_hides_what_is_further_back():
    x = inputs()
    changed = x.copy()
    changed[:, 0] += 1
    out, other = (jax.jit(make(window=2))(part)[0] for part in (x, changed))
    assert np.all(out[:, 3:] == other[:, 3:])
    assert np.all(np.any(out[:, :3] != other[:, :3], axis=-1))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("window", -1, "transformer.window=-1: must be 0"),
        ("beyond", "wrap", "transformer.beyond='wrap': must be one of zero, clamp"),
        ("attention", "flash", "transformer.attention='flash': must be one of reference, blocked, pallas"),
    ],
)
def test_settings_that_mean_nothing_are_errors(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **{field: value}).validate()

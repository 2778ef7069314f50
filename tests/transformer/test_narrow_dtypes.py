"""Inputs in 16 bits, sums and logits in 32: what a product loses is what its inputs have lost already, and no more.

The numbers of these tests are exact in bfloat16, and their logits lie where its neighbours are 1 or 2 apart.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors

from musicgen_jax.nn import modules
from musicgen_jax.priors import loss, prior
from musicgen_jax.transformer import blocked_attention, kv_cache, relative_attention, relative_distances, weights

LENGTH, HEAD_DIM = 9, 16  # the query's factor is 1 / 4: exact, too
CAUSAL = relative_distances.Pattern()
ADDED = np.array([0, 3, 1, 0, 2, 1, 3, 2, 0]) / 2  # what tells the logits apart, beside 128 in all of them


def attention_inputs():
    """Query, key, value, table: the logit of a key at distance d is 128 + ADDED[d], and values are unit vectors."""
    query, table = np.zeros((1, LENGTH, 1, HEAD_DIM)), np.zeros((1, LENGTH, HEAD_DIM))
    query[..., :2] = 32, 4
    table[0, :, 0], table[0, :, 1] = 16, ADDED
    values = np.eye(LENGTH, HEAD_DIM)[None, :, None]
    low = [jnp.asarray(x, jnp.bfloat16) for x in (query, np.zeros_like(query), values)]
    return *low, jnp.asarray(table, jnp.float32)


def exact_shares() -> np.ndarray:
    """[queries, keys]."""
    distance = np.arange(LENGTH)[:, None] - np.arange(LENGTH)
    shares = np.where(distance >= 0, np.exp(ADDED[np.maximum(distance, 0)]), 0)
    return shares / shares.sum(axis=1, keepdims=True)


def by_steps(query, key, value, table):
    """Decoding from an empty cache."""
    empty = jnp.zeros((1, 1, LENGTH, HEAD_DIM), jnp.bfloat16)
    cache, rows = kv_cache.KVCache(empty, empty), []
    for position in range(LENGTH):
        parts = (x[:, position] for x in (query, key, value))
        row, cache = relative_attention.relative_attention_step(*parts, cache, table, position)
        rows.append(row)
    return jnp.stack(rows, axis=1)


@pytest.mark.parametrize(
    "attend",
    [
        lambda *inputs: relative_attention.relative_attention(*inputs),
        lambda *inputs: blocked_attention.attention(*inputs, CAUSAL, 4, 4),
        by_steps,
    ],
    ids=["reference", "blocked", "step"],
)
def test_relative_logits_are_not_rounded(attend):
    out = attend(*attention_inputs())
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out[0, :, 0, :LENGTH], np.float64), exact_shares(), rtol=2**-7)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_scores_of_an_int8_cache_are_not_rounded(platform, monkeypatch):
    monkeypatch.setattr(weights.meshes, "platform", lambda: platform)
    keys = np.zeros((1, 1, 5, 4), np.float32)
    keys[..., 0], keys[0, 0, :, 1] = 127, [0, 1, 2, 3, 5]  # the row's largest number is 127: nothing is rounded
    cache = kv_cache.quantized(kv_cache.KVCache(jnp.asarray(keys), jnp.asarray(keys)))
    query = jnp.asarray([[[3, 1, 0, 0]]], jnp.bfloat16)
    # On CPUs the query is rounded to 15 bits, of which the keys make a hundredth.
    np.testing.assert_allclose(cache.score(query)[0, 0], 381 + keys[0, 0, :, 1], atol=0.02 if platform == "cpu" else 0)


@pytest.mark.parametrize("loss_chunk", [0, 5])
def test_logits_reach_the_loss_unrounded(loss_chunk):
    model = tiny_priors.model_config(loss_chunk=loss_chunk)
    params, _ = tiny_priors.trained_prior(model).weights
    params["logits"] = 60 * params["logits"]
    functional = modules.Functional(lambda rngs: prior.Prior(model, dtype=jnp.bfloat16, rngs=rngs))
    batch = tiny_priors.batch(model)

    @jax.jit
    def run(params):
        bound = functional.bind(params, {})
        return bound.hidden(batch), bound(batch), loss.prior_loss(bound, batch, None)[0]

    hidden, logits, nats = run(params)
    assert hidden.dtype == jnp.bfloat16 and logits.dtype == jnp.float32
    table = np.asarray(params["logits"].astype(jnp.bfloat16), np.float64)
    expected = np.asarray(hidden, np.float64) @ table + np.asarray(params["bias"], np.float64)
    np.testing.assert_allclose(logits[:, :, 0], expected, rtol=1e-5, atol=1e-4)
    assert np.abs(expected).max() > 64
    log_p = expected - np.log(np.exp(expected).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(log_p, batch["codes"], axis=-1)
    np.testing.assert_allclose(nats, -chosen.mean(), rtol=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_float16_times_int8_stays_finite_before_its_scale(platform, monkeypatch):
    """2048 products of 60 and 127 are 16 million; with the scale they are 123."""
    monkeypatch.setattr(weights.meshes, "platform", lambda: platform)
    quantized = weights.quantize(jnp.full((2048, 2), 1e-3), (0,))
    found = weights.einsum("bd,dk->bk", jnp.full((1, 2048), 60, jnp.float16), quantized, jnp.float16)
    assert found.dtype == jnp.float16
    np.testing.assert_allclose(found, 2048 * 60 * 1e-3, rtol=2e-3)


@pytest.mark.long
@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("size", [1e-2, 1e4])
def test_an_int8_cache_in_float16(platform, size, monkeypatch):
    """Large values do not overflow, and small ones in small shares do not fall below the smallest numbers."""
    monkeypatch.setattr(weights.meshes, "platform", lambda: platform)
    rng = np.random.default_rng(0)
    rows = (size * rng.uniform(0.5, 1, (1, 1, 512, 8))).astype(np.float16)
    cache = kv_cache.quantized(kv_cache.KVCache(jnp.asarray(rows), jnp.asarray(rows)))
    exact = np.float64(cache.keys) * np.float64(cache.key_scales)[..., None]
    shares = rng.dirichlet(np.ones(512))[None, None].astype(np.float32)
    expected = np.einsum("bhr,bhrd->bhd", shares, exact)
    np.testing.assert_allclose(cache.mix(shares, jnp.float16), expected, rtol=1e-3)
    query = jnp.full((1, 1, 8), 30, jnp.float16)
    np.testing.assert_allclose(cache.score(query), np.einsum("bhd,bhrd->bhr", np.float64(query), exact), rtol=1e-3)

"""The gradient codebook against the formulas of van den Oord et al. 2017 in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import gradient_quantizer

NUM_CODES, WIDTH = 12, 3


@pytest.fixture
def quantizer() -> gradient_quantizer.GradientQuantizer:
    sizes = config.QuantizerConfig(kind="gradient", num_codes=NUM_CODES, code_width=WIDTH)
    made = gradient_quantizer.GradientQuantizer(sizes, rngs=nnx.Rngs(0))
    made.table.learned[...] = jax.random.normal(jax.random.key(1), (NUM_CODES, WIDTH))
    return made


@pytest.fixture
def latents() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 30, WIDTH)).astype(np.float32)


def test_nearest_code_equals_brute_force(quantizer, latents):
    entries = np.asarray(quantizer.codebook())[0]
    codes = quantizer.encode(latents)
    np.testing.assert_array_equal(codes[..., 0], ((latents[:, :, None] - entries) ** 2).sum(-1).argmin(-1))
    np.testing.assert_array_equal(quantizer.decode(codes), entries[np.asarray(codes)[..., 0]])


def test_losses_equal_numpy_and_move_the_right_player(quantizer, latents):
    graph, params, buffers = nnx.split(quantizer, nnx.Param, ...)

    def losses(params, latents):
        found = nnx.merge(graph, params, buffers)(latents)
        return found.commitment_loss, found.codebook_loss

    codes = np.asarray(quantizer.encode(latents))[..., 0]
    chosen = np.asarray(quantizer.codebook())[0, codes]
    for value in losses(params, latents):
        np.testing.assert_allclose(value, ((latents - chosen) ** 2).mean(), rtol=1e-5)
    commitment, codebook = jax.jacrev(losses, argnums=(0, 1))(params, jnp.asarray(latents))
    towards_entry = 2 * (latents - chosen) / latents.size
    entry_gradient = np.zeros((NUM_CODES, WIDTH))
    np.add.at(entry_gradient, codes, -towards_entry)
    np.testing.assert_allclose(commitment[1], towards_entry, rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(commitment[0]["table"]["learned"][...], 0)
    np.testing.assert_allclose(codebook[0]["table"]["learned"][...], entry_gradient, rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(codebook[1], 0)


def test_reconstruction_moves_the_encoder_and_not_the_entries(quantizer, latents):
    graph, params, buffers = nnx.split(quantizer, nnx.Param, ...)
    seen = np.random.default_rng(1).standard_normal(latents.shape).astype(np.float32)

    def product(params, latents):
        return jnp.sum(nnx.merge(graph, params, buffers)(latents).latents * seen)

    of_params, of_latents = jax.grad(product, argnums=(0, 1))(params, jnp.asarray(latents))
    np.testing.assert_array_equal(of_params["table"]["learned"][...], 0)
    np.testing.assert_array_equal(of_latents, seen)


def test_update_restarts_what_is_out_of_use(quantizer, latents):
    quantizer.table.counts[...] = jnp.where(jnp.arange(NUM_CODES) < 3, 0.0, 10.0)
    before = np.asarray(quantizer.codebook())[0]
    result = quantizer.update(latents, jnp.full((4, 30, 1), 5), jax.random.key(0))
    after = np.asarray(quantizer.codebook())[0]
    assert int(result["restarts"]) == 3
    np.testing.assert_array_equal(after[3:], before[3:])
    assert (np.abs(after[:3, None] - latents.reshape(-1, WIDTH)).max(-1).min(-1) < 1e-5).all()

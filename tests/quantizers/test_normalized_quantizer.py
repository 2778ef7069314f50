"""Low-dimensional lookup by cosine against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import normalized_quantizer

NUM_CODES, WIDTH, LOOKUP = 32, 6, 3


@pytest.fixture
def quantizer() -> normalized_quantizer.NormalizedQuantizer:
    sizes = config.QuantizerConfig(kind="normalized", num_codes=NUM_CODES, code_width=WIDTH, lookup_width=LOOKUP)
    made = normalized_quantizer.NormalizedQuantizer(sizes, rngs=nnx.Rngs(0))
    made.project_in.bias[...] = jnp.array([0.3, -0.2, 0.1])
    made.project_out.bias[...] = jnp.linspace(-1, 1, WIDTH)
    return made


@pytest.fixture
def latents() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 30, WIDTH)).astype(np.float32)


def project(layer: nnx.Linear, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])


def test_codes_have_the_highest_cosine(quantizer, latents):
    projected, entries = project(quantizer.project_in, latents), np.asarray(quantizer.table.entries())
    lengths = np.linalg.norm(projected, axis=-1)[..., None] * np.linalg.norm(entries, axis=-1)
    want = (projected @ entries.T / lengths).argmax(-1)
    codes = np.asarray(quantizer.encode(latents))
    np.testing.assert_array_equal(codes[..., 0], want)
    by_distance = ((projected[:, :, None] - entries) ** 2).sum(-1).argmin(-1)
    assert (want != by_distance).any(), "the test would pass without normalisation"
    np.testing.assert_allclose(quantizer.decode(codes), project(quantizer.project_out, entries[want]), atol=1e-5)
    assert quantizer.codebook().shape == (1, NUM_CODES, WIDTH)


def test_loudness_does_not_change_the_code(quantizer, latents):
    quantizer.project_in.bias[...] = jnp.zeros(LOOKUP)
    np.testing.assert_array_equal(quantizer.encode(latents), quantizer.encode(7 * latents))


@pytest.mark.long
def test_losses_equal_numpy_and_move_the_right_player(quantizer, latents):
    graph, params, buffers = nnx.split(quantizer, nnx.Param, ...)

    def losses(params):
        found = nnx.merge(graph, params, buffers)(latents)
        return found.commitment_loss, found.codebook_loss

    projected, codes = project(quantizer.project_in, latents), np.asarray(quantizer.encode(latents))[..., 0]
    chosen = np.asarray(quantizer.table.entries())[codes]
    for value in losses(params):
        np.testing.assert_allclose(value, ((projected - chosen) ** 2).mean(), rtol=1e-5)
    commitment, codebook = (jax.tree.map(np.asarray, nnx.to_pure_dict(g)) for g in jax.jacrev(losses)(params))
    towards_entry = 2 * (projected - chosen) / projected.size
    kernel_gradient = np.einsum("btw,btl->wl", latents, towards_entry)
    entry_gradient = np.zeros((NUM_CODES, LOOKUP))
    np.add.at(entry_gradient, codes, -towards_entry)
    np.testing.assert_allclose(commitment["project_in"]["kernel"], kernel_gradient, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(commitment["table"]["learned"], 0)
    np.testing.assert_allclose(codebook["table"]["learned"], entry_gradient, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(codebook["project_in"]["kernel"], 0)
    for gradients in (commitment, codebook):
        np.testing.assert_array_equal(gradients["project_out"]["kernel"], 0)


def test_gradient_passes_straight_through_between_the_projections(quantizer, latents):
    seen = np.random.default_rng(1).standard_normal(latents.shape).astype(np.float32)
    gradient = jax.grad(lambda z: jnp.sum(quantizer(z).latents * seen))(jnp.asarray(latents))
    kernels = np.asarray(quantizer.project_in.kernel[...]) @ np.asarray(quantizer.project_out.kernel[...])
    np.testing.assert_allclose(gradient, seen @ kernels.T, rtol=1e-4, atol=1e-5)


def test_silence_has_a_finite_gradient(quantizer):
    quantizer.project_in.bias[...] = jnp.zeros(LOOKUP)
    gradient = jax.grad(lambda z: quantizer(z).commitment_loss + jnp.sum(quantizer(z).latents))(
        jnp.zeros((1, 4, WIDTH))
    )
    assert np.isfinite(gradient).all()


def test_update_restarts_entries_at_projected_latents(quantizer, latents):
    result = quantizer.update(latents, jnp.zeros((4, 30, 1), jnp.int32), jax.random.key(0))
    assert int(result["restarts"]) == NUM_CODES - 1
    projected = project(quantizer.project_in, latents).reshape(-1, LOOKUP)
    entries = np.asarray(quantizer.table.entries())[1:]
    assert (np.abs(entries[:, None] - projected).max(-1).min(-1) < 1e-5).all()

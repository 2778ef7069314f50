"""Entries that learn by gradient: a restart moves the entry and not the parameter."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax.nn import modules
from musicgen_jax.quantizers import learned_codebook

NUM_CODES, WIDTH = 6, 3


def make() -> learned_codebook.LearnedCodebook:
    table = learned_codebook.LearnedCodebook(NUM_CODES, WIDTH, rngs=nnx.Rngs(0))
    table.learned[...] = jax.random.normal(jax.random.key(1), (NUM_CODES, WIDTH))
    return table


def test_first_restart_puts_every_entry_on_the_data():
    table, latents = make(), 50 + np.random.default_rng(0).standard_normal((2, 40, WIDTH)).astype(np.float32)
    learned = np.asarray(table.learned[...])
    result = table.restart(latents, jnp.full((2, 40), 2), 0.9, 0.1, jax.random.key(0))
    assert int(result["restarts"]) == NUM_CODES - 1  # code 2 is in use, wherever it lies
    entries = np.delete(np.asarray(table.entries()), 2, axis=0)
    distances = np.abs(entries[:, None] - latents.reshape(-1, WIDTH)).max(-1)
    assert (distances.min(-1) < 1e-5).all()
    np.testing.assert_array_equal(table.learned[...], learned)


def test_only_entries_out_of_use_move():
    table, latents = make(), np.ones((2, 6, WIDTH), np.float32)
    table.counts[...] = jnp.array([2.0, 0.0, 2.0, 2.0, 0.1, 2.0])
    before = np.asarray(table.entries())
    result = table.restart(latents, jnp.tile(jnp.array([0, 2, 3, 5, 0, 2]), (2, 1)), 0.9, 0.1, jax.random.key(0))
    assert int(result["restarts"]) == 2
    moved = np.array([False, True, False, False, True, False])
    np.testing.assert_allclose(table.entries()[moved], 1.0, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(table.entries())[~moved], before[~moved])
    np.testing.assert_allclose(table.counts[...], [2.2, 2.0, 2.2, 2.0, 2.0, 2.0], rtol=1e-6)


def test_gradient_of_an_entry_is_its_parameters_and_a_restart_has_none():
    functional = modules.Functional(lambda rngs: learned_codebook.LearnedCodebook(NUM_CODES, WIDTH, rngs=rngs))
    params, buffers = functional.init(jax.random.key(0))
    target, latents = np.random.default_rng(0).standard_normal((2, NUM_CODES, WIDTH)).astype(np.float32)

    @jax.jit
    def gradient(params, latents):
        def distance(params, latents):
            table = functional.bind(params, buffers)
            value = jnp.sum((table.entries() - target) ** 2)
            table.restart(latents[None], jnp.zeros((1, NUM_CODES), jnp.int32), 0.9, 0.1, jax.random.key(0))
            return value + jnp.sum(table.offsets[...])

        return jax.grad(distance, argnums=(0, 1))(params, latents)

    of_params, of_latents = gradient(params, latents)
    np.testing.assert_allclose(of_params["learned"], 2 * (buffers["offsets"] - target), rtol=1e-5)
    np.testing.assert_array_equal(of_latents, 0)

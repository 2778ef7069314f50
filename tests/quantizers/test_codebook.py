"""The nearest entry by brute force, and a restart threshold that no batch size changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.quantizers import codebook


def test_nearest_equals_brute_force():
    rng = np.random.default_rng(0)
    latents, entries = rng.standard_normal((3, 40, 5)), rng.standard_normal((64, 5))
    # Entries of very different lengths: by inner product alone the long ones would win.
    entries *= rng.uniform(0.1, 5.0, (64, 1))
    want = ((latents[:, :, None] - entries) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(codebook.nearest(jnp.float32(latents), jnp.float32(entries)), want)


def test_of_equals_the_first_is_nearest():
    """Within a block of entries and across blocks, and of a latent that is not finite something within the codebook."""
    entries = jnp.tile(jnp.eye(3, dtype=jnp.float32), (200, 1))
    latents = jnp.concatenate([entries[:3], jnp.full((1, 3), jnp.nan)])
    assert codebook.nearest(latents, entries).tolist() == [0, 1, 2, 0]


def test_average_counts_equal_numpy():
    codes = np.random.default_rng(0).integers(0, 5, 100)
    counts = np.arange(7, dtype=np.float32)
    want = 0.8 * counts + 0.2 * np.bincount(codes, minlength=7)
    np.testing.assert_allclose(codebook.average_counts(jnp.asarray(counts), jnp.asarray(codes), 0.8), want, rtol=1e-6)


@pytest.mark.parametrize("batch", [8, 64, 4096])
def test_threshold_is_a_share_of_uniform_usage_at_every_batch_size(batch):
    latents = np.random.default_rng(0).standard_normal((batch, 3)).astype(np.float32)
    shares = np.array([0.0, 0.09, 0.11, 1.0, 3.0], np.float32)  # of uniform usage
    uniform = batch / len(shares)
    unused, candidates, counts = codebook.restarts(shares * uniform, latents, 0.1, jax.random.key(0))
    np.testing.assert_array_equal(unused, [True, True, False, False, False])
    np.testing.assert_allclose(counts, np.array([1.0, 1.0, 0.11, 1.0, 3.0]) * uniform, rtol=1e-6)
    assert (np.asarray(candidates)[:, None] == latents).all(-1).any(-1).all()


def test_a_code_out_of_use_restarts_after_the_same_number_of_batches_of_any_size():
    waited = []
    for batch in (16, 256):
        latents, codes = np.zeros((batch, 2), np.float32), np.zeros(batch, np.int32)
        counts, steps, unused = jnp.full(4, batch / 4), 0, np.zeros(4, bool)
        while not unused[1]:
            counts = codebook.average_counts(counts, codes, 0.9)
            unused, _, counts = codebook.restarts(counts, latents, 0.1, jax.random.key(steps))
            steps += 1
        waited.append(steps)
        np.testing.assert_array_equal(unused, [False, True, True, True])
    assert waited == [22, 22]  # 0.9 ** 22 < 0.1 < 0.9 ** 21

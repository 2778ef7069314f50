"""A table of entries: search for the nearest, and restart of entries that fell out of use.

Everything is over the global batch: under `jax.jit` with sharded arrays the reductions below span all devices.
"""

import jax
import jax.numpy as jnp
from flax import nnx


class CodebookState(nnx.Variable):
    """Learned by averages, not by gradients; checkpointed with the parameters."""


def nearest(latents: jax.Array, entries: jax.Array) -> jax.Array:
    """Index of the nearest entry by squared Euclidean distance: [..., W] and [K, W] float32 -> [...] int32."""
    # |z - e|^2 = |z|^2 - 2 z.e + |e|^2; |z|^2 is the same for every entry.
    scores = jnp.einsum("...w,kw->...k", latents, entries, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmax(2 * scores - jnp.sum(entries**2, axis=-1), axis=-1).astype(jnp.int32)


def average_counts(counts: jax.Array, codes: jax.Array, decay: float) -> jax.Array:
    """Moving average of how often each code is used in a batch: [K] and int32 [N] -> [K] float32."""
    hits = jax.ops.segment_sum(jnp.ones(codes.shape, jnp.float32), codes, counts.shape[0])
    return decay * counts + (1 - decay) * hits


def restarts(
    counts: jax.Array, latents: jax.Array, fraction: float, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which codes start anew, and where (Dhariwal et al. 2020, section 3).

    The threshold is a share of uniform usage, N / K: it means the same at every batch and codebook size.

    Args:
      counts: float32 [K], from `average_counts`. Zeros, as at the start of training, put every entry on the data.
      latents: [N, W] of the global batch.
      fraction: a code used less than this share of uniform usage restarts.
      key: chooses the candidates.

    Returns:
      unused: bool [K].
      candidates: [K, W], a random latent for every code.
      counts: [K]; a restarted code has the count of uniform usage, time to win latents before it is judged again.
    """
    uniform_usage = latents.shape[0] / counts.shape[0]
    unused = counts < fraction * uniform_usage
    candidates = latents[jax.random.randint(key, counts.shape, 0, latents.shape[0])]
    return unused, candidates, jnp.where(unused, uniform_usage, counts)

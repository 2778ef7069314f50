"""What quantizers with a codebook share: the search for the nearest entry, and the restart of entries out of use.

A codebook is a table of K entries, vectors of width W; the number of an entry is its code. Everything is over the
global batch: under `jax.jit` with sharded arrays the reductions below span all devices.
"""

import jax
import jax.numpy as jnp
from flax import nnx

BLOCK = 256  # entries compared at a time


class CodebookState(nnx.Variable):
    """A variable of a codebook that no gradient moves: entries, counts and sums that moving averages keep.

    It is a buffer, not a parameter: no optimizer sees it, and checkpoints have it beside the parameters.
    """


def nearest(latents: jax.Array, entries: jax.Array) -> jax.Array:
    """Index of the nearest entry by squared Euclidean distance: [..., W] and [K, W] float32 -> [...] int32.

    The entries are taken `BLOCK` at a time, each latent remembering its best: all distances at once would be the
    largest array of a training step, 14 GB for a batch of 32 clips of 10 s at a hop of 8 samples.
    """
    latents, entries = jax.lax.stop_gradient((latents, entries))
    num_codes, width = entries.shape
    missing = -num_codes % BLOCK if num_codes > BLOCK else 0
    # |z - e|^2 = |z|^2 - 2 z.e + |e|^2; |z|^2 is the same for every entry.
    penalties = jnp.pad(jnp.sum(entries**2, axis=-1), (0, missing), constant_values=jnp.inf)
    blocks = jnp.pad(entries, ((0, missing), (0, 0))).reshape(-1, min(num_codes, BLOCK), width)
    numbers = jnp.arange(blocks.shape[1], dtype=jnp.int32)

    def compare(best: tuple[jax.Array, jax.Array], block: tuple) -> tuple[tuple[jax.Array, jax.Array], None]:
        block_entries, block_penalties, first = block
        scores = jnp.einsum("...w,kw->...k", latents, block_entries, precision=jax.lax.Precision.HIGHEST)
        scores = 2 * scores - block_penalties
        highest = jnp.max(scores, axis=-1)
        # The first of the highest. jnp.argmax says the same, entry by entry: on CPUs that takes twice as long.
        index = first + jnp.min(jnp.where(scores == highest[..., None], numbers, len(numbers)), axis=-1)
        better = highest > best[0]  # of equals, the first
        return (jnp.where(better, highest, best[0]), jnp.where(better, index, best[1])), None

    start = (jnp.full(latents.shape[:-1], -jnp.inf), jnp.zeros(latents.shape[:-1], jnp.int32))
    firsts = jnp.arange(blocks.shape[0], dtype=jnp.int32) * blocks.shape[1]
    (_, codes), _ = jax.lax.scan(compare, start, (blocks, penalties.reshape(blocks.shape[:2]), firsts))
    return codes


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
      counts: float32 [K], from `average_counts`. Zeros, as at the start of training, put
        every entry on the data that the first batch does not use far more than others.
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

"""Embeddings of codes that start from the tokenizer's codebook.

Entries that lie near each other sound alike. A table that starts as a random projection of the codebook knows that from
the first step; one that starts at random must learn it code by code.
"""

import jax
import jax.numpy as jnp
from flax import nnx


def initial(codebook: jax.typing.ArrayLike | None, num_codes: int, width: int, rngs: nnx.Rngs) -> jax.Array:
    """Initial table [K, width] float32, each column of mean 0 and variance about 1.

    Args:
      codebook: entries [K, W], or None for a table of independent normal values.
      num_codes: K.
      width: of the embedding.
      rngs: the projection, or the values.
    """
    if codebook is None:
        return jax.random.normal(rngs.params(), (num_codes, width))
    entries = jnp.asarray(codebook, jnp.float32)
    # Standardised, so that directions in which the entries spread little count as much as the others.
    entries = (entries - jnp.mean(entries, axis=0)) / (jnp.std(entries, axis=0) + 1e-6)
    projection = jax.random.normal(rngs.params(), (entries.shape[1], width)) / entries.shape[1] ** 0.5
    return entries @ projection

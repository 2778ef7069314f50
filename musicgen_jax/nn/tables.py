"""Tables of vectors that are looked up by number: embeddings of codes, labels and bins."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax.nn import parameters
from musicgen_jax.sharding import rules


def table(num: int, width: int, rngs: nnx.Rngs, std: float = 0.02) -> nnx.Param:
    """Table [num, width], normal with standard deviation `std`; divided over its width only, since `num` may be odd."""
    values = nnx.initializers.normal(std)(rngs.params(), (num, width))
    return parameters.parameter(values, parameters.EMBEDDING, (None, "width"))


def of_codebook(codebook: jax.typing.ArrayLike | None, num_codes: int, width: int, rngs: nnx.Rngs) -> jax.Array:
    """Initial table of codes [K, width] float32, each column of mean 0 and variance about 1.

    Entries of a tokenizer's codebook that lie near each other sound alike. A table that starts as a random projection
    of the codebook knows that from the first step; one that starts at random must learn it code by code.

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


def lookup(table: jax.Array, indices: jax.Array, axis_rules: rules.AxisRules) -> jax.Array:
    """table[indices]: [K, D] and int32 [...] -> [..., D].

    The table is collected first, as any matrix is where "fsdp" divides it: looked up in pieces, the rows would come out
    divided over their width, and XLA would have to copy them whole to divide them over the batch.
    """
    return rules.constrain(table, axis_rules, (None, "residual"))[indices]


def existing_rows(table: jax.Array, indices: jax.Array) -> jax.Array:
    """table[indices], [..., D], NaN where there is no such row: JAX would take the nearest without a word."""
    exists = (indices >= 0) & (indices < table.shape[0])
    return jnp.where(exists[..., None], table[indices], jnp.nan)

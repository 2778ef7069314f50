"""Tables of vectors that are looked up by number: embeddings of codes, labels and bins."""

import functools
import operator

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax.nn import parameters
from musicgen_jax.sharding import rules


def table(num: int, width: int, rngs: nnx.Rngs, std: float = 0.02) -> nnx.Param:
    """Table [num, width], normal with standard deviation `std`; divided over its width only, since `num` may be odd."""
    values = nnx.initializers.normal(std)(rngs.params(), (num, width))
    return parameters.parameter(values, parameters.EMBEDDING, (None, "width"))


def of_codebooks(
    entries: jax.typing.ArrayLike | None, num_codebooks: int, num_codes: int, width: int, rngs: nnx.Rngs
) -> jax.Array:
    """Initial table of codes [Q * K, width] float32, row q * K + k for code k of codebook q.

    Each column has mean 0 and variance about 1 in every codebook. Entries of a tokenizer's codebook that lie near each
    other sound alike. A table that starts as a random projection of the codebook knows that from the first step; one
    that starts at random must learn it code by code.

    Args:
      entries: [Q, K, W], or None for a table of independent normal values.
      num_codebooks: Q.
      num_codes: K.
      width: of the embedding.
      rngs: the projections, or the values.
    """
    if entries is None:
        return jax.random.normal(rngs.params(), (num_codebooks * num_codes, width))
    return jnp.concatenate([_projected(one, width, rngs) for one in jnp.asarray(entries, jnp.float32)])


def _projected(entries: jax.Array, width: int, rngs: nnx.Rngs) -> jax.Array:
    """Entries [K, W] of one codebook, standardised and projected at random: [K, width] float32."""
    # Standardised, so that directions in which the entries spread little count as much as the others.
    entries = (entries - jnp.mean(entries, axis=0)) / (jnp.std(entries, axis=0) + 1e-6)
    projection = jax.random.normal(rngs.params(), (entries.shape[1], width)) / entries.shape[1] ** 0.5
    return entries @ projection


def summed(table: jax.Array, codes: jax.Array) -> jax.Array:
    """Sum of the rows of Q codes: [Q * K, D], laid out as by `of_codebooks`, and int32 [..., Q] -> [..., D]."""
    return functools.reduce(operator.add, _rows(table, codes))


def summed_known(table: jax.Array, codes: jax.Array) -> jax.Array:
    """As `summed`; a code of -1, which is none, adds nothing."""
    rows = _rows(table, jnp.maximum(codes, 0))
    return functools.reduce(operator.add, (jnp.where(codes[..., q, None] < 0, 0, row) for q, row in enumerate(rows)))


def _rows(table: jax.Array, codes: jax.Array) -> list[jax.Array]:
    """The rows of the codes of each codebook: Q arrays [..., D]."""
    num_codebooks = codes.shape[-1]
    size = len(table) // num_codebooks
    return [table[q * size + codes[..., q]] for q in range(num_codebooks)]


def collected(table: jax.Array, axis_rules: rules.AxisRules) -> jax.Array:
    """The table [K, D] ready to be looked up: with its rows whole again where the mesh axis "fsdp" divides them.

    Looked up in pieces, the rows would come out divided over their width, and XLA would have to copy them whole to
    divide them over the batch.
    """
    return rules.constrain(table, axis_rules, (None, "residual"))


def lookup(table: jax.Array, indices: jax.Array, axis_rules: rules.AxisRules) -> jax.Array:
    """The rows of a table [K, D] at int32 indices [...], which must exist: [..., D]; see `collected`."""
    return collected(table, axis_rules)[indices]


def existing_rows(table: jax.Array, indices: jax.Array) -> jax.Array:
    """table[indices], [..., D], NaN where there is no such row: JAX would take the nearest without a word."""
    exists = (indices >= 0) & (indices < table.shape[0])
    return jnp.where(exists[..., None], table[indices], jnp.nan)

"""Keys and values of the positions decoded so far, of static size.

A cache of R rows is a ring: position p stands in row p mod R. Attention that sees the whole context needs as many rows
as there are positions; attention with a window needs a row for each code of the window and one for the query's own.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from musicgen_jax.transformer import weights


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class KVCache:
    """Cache of one layer, or of all layers with a leading [layers] axis.

    keys, values: [B, H, R, D]. Heads come before positions, so that a head's keys are contiguous.
    """

    keys: jax.Array
    values: jax.Array

    @property
    def num_rows(self) -> int:
        """R."""
        return self.keys.shape[-2]

    def write(self, keys: jax.Array, values: jax.Array, position: jax.Array) -> "KVCache":
        """The cache of one layer with keys and values [B, H, D] in the row of `position`."""
        place = position % self.num_rows

        def put(cache: jax.Array, row: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(cache, row[:, :, None].astype(cache.dtype), place, axis=2)

        return KVCache(put(self.keys, keys), put(self.values, values))

    def score(self, query: jax.Array) -> jax.Array:
        """Products of a query with every key: [B, H, D] -> float32 [B, H, R]."""
        return jnp.einsum("bhd,bhrd->bhr", query, self.keys.astype(query.dtype), preferred_element_type=jnp.float32)

    def mix(self, shares: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Sum of the values in these shares: float32 [B, H, R] -> float32 [B, H, D], multiplied in `dtype`."""
        values = self.values.astype(dtype)
        return jnp.einsum("bhr,bhrd->bhd", shares.astype(dtype), values, preferred_element_type=jnp.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class QuantizedCache:
    """As `KVCache`, with a quarter of the bytes: each row of each head is rounded by its own largest magnitude.

    keys: int8 [B, H, R, D]. values: int8 [B, H, D, R], since CPUs multiply int8 fast where the last axis is summed.
    key_scales, value_scales: float32 [B, H, R].
    """

    keys: jax.Array
    values: jax.Array
    key_scales: jax.Array
    value_scales: jax.Array

    @property
    def num_rows(self) -> int:
        """R."""
        return self.keys.shape[-2]

    def write(self, keys: jax.Array, values: jax.Array, position: jax.Array) -> "QuantizedCache":
        """The cache of one layer with keys and values [B, H, D] in the row of `position`."""
        row = quantized(KVCache(keys[:, :, None], values[:, :, None]))
        place = position % self.num_rows
        return jax.tree.map(
            lambda cache, part, axis: jax.lax.dynamic_update_slice_in_dim(cache, part, place, axis), self, row, ROWS
        )

    def score(self, query: jax.Array) -> jax.Array:
        """Products of a query with every key: [B, H, D] -> float32 [B, H, R]."""
        keys = weights.QuantizedArray(self.keys, self.key_scales[..., None])
        return weights.einsum("bhd,bhrd->bhr", query, keys, query.dtype, jnp.float32)

    def mix(self, shares: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Sum of the values in these shares: float32 [B, H, R] -> float32 [B, H, D], multiplied in `dtype`."""
        # A share times a scale, about a hundredth of a value, would fall below float16's normal numbers. A power of two
        # takes it up there and rounds nothing.
        raised = 128.0 if dtype == jnp.float16 else 1.0
        values = weights.QuantizedArray(self.values, jnp.full((1, 1, 1, 1), 1 / raised))
        shares = (shares * self.value_scales * raised).astype(dtype)
        return weights.einsum("bhr,bhdr->bhd", shares, values, dtype, jnp.float32)


ROWS = QuantizedCache(keys=2, values=3, key_scales=2, value_scales=2)  # the axis of the rows in each array


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class StateCache:
    """What a recurrent layer remembers behind each of R positions; a loop needs that of the last one alone, R = 1.

    hidden: [B, R, D], its output. cell: float32 [B, R, D].
    """

    hidden: jax.Array
    cell: jax.Array

    def before(self, position: jax.Array) -> "StateCache":
        """The state, R = 1, before a position of the window; zeros before the first one."""

        def of(leaf: jax.Array) -> jax.Array:
            row = jax.lax.dynamic_slice_in_dim(leaf, jnp.maximum(position - 1, 0), 1, axis=1)
            return jnp.where(position > 0, row, 0)

        return jax.tree.map(of, self)


Cache = KVCache | QuantizedCache | StateCache


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class MemoryCache:
    """Keys and values of a memory, which no step changes.

    keys, values: [B, H, M, D]. mask: bool [B, M], what exists of it; None is all.
    """

    keys: jax.Array
    values: jax.Array
    mask: jax.Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class LayerCache:
    """What a layer keeps: of the window's own positions, and of the memory; None where it does not look."""

    own: Cache | None
    memory: MemoryCache | None = None

    def with_own(self, change: Callable[[Cache], Cache]) -> "LayerCache":
        """`change` of the window's own part."""
        return LayerCache(None if self.own is None else change(self.own), self.memory)


def from_sequence(keys: jax.Array, values: jax.Array) -> KVCache:
    """Cache of the keys and values of a whole window, [B, T, H, D] each."""
    return KVCache(keys=jnp.swapaxes(keys, 1, 2), values=jnp.swapaxes(values, 1, 2))


def quantized(cache: KVCache) -> QuantizedCache:
    """Rounds the keys and values of one layer, each row by its own largest magnitude."""
    keys, values = (weights.quantize(x, (-1,)) for x in (cache.keys, cache.values))
    return QuantizedCache(keys.values, jnp.swapaxes(values.values, -1, -2), keys.scales[..., 0], values.scales[..., 0])


def ring(cache: KVCache | StateCache, num_rows: int, position: jax.Array) -> KVCache | StateCache:
    """The rows of a whole window's cache that decoding from `position` on may read.

    Args:
      cache: of one layer; row p holds position p.
      num_rows: R of the result, but for a state, which is one row.
      position: int32 scalar. Rows of positions that are not before it may hold anything.
    """
    if isinstance(cache, StateCache):
        return cache.before(position)
    if num_rows == cache.num_rows:
        return cache
    rows = jnp.arange(num_rows)
    last = position - 1 - (position - 1 - rows) % num_rows  # the last position before it that stands in the row
    place = jnp.clip(last, 0, cache.num_rows - 1)
    return jax.tree.map(lambda leaf: jnp.take(leaf, place, axis=2), cache)


def resized(cache: Cache, num_rows: int) -> Cache:
    """The cache of one layer with as many rows or more, where no position has come round to the first row again."""
    if isinstance(cache, StateCache):
        return cache

    def padded(leaf: jax.Array, axis: int) -> jax.Array:
        widths = [(0, 0)] * leaf.ndim
        widths[axis] = (0, num_rows - leaf.shape[axis])
        return jnp.pad(leaf, widths)

    axes = ROWS if isinstance(cache, QuantizedCache) else KVCache(keys=2, values=2)
    return jax.tree.map(padded, cache, axes)


def unstacked(caches: LayerCache, num_layers: int) -> list[LayerCache]:
    """[layers, B, H, R, ...] -> a list of caches, one a layer."""
    return [jax.tree.map(lambda leaf, i=index: leaf[i], caches) for index in range(num_layers)]

"""Relative attention in memory linear in the length, for any platform: tiles of queries x keys, walked by lax.scan.

The softmax is accumulated tile by tile (Rabe & Staats 2021), and the backward pass computes every tile again from the
output and the log-sum-exp (Dao et al. 2022, FlashAttention, algorithm 4). Tiles in which no query sees a key are left
out, and tiles beyond the table, where there is no relative logit, cost no product with it.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.sharding import meshes
from musicgen_jax.transformer import relative_distances

# Queries and keys of a tile, by measurement (benchmarks/attention.py): on CPUs its parts stay in the cache, on GPUs
# every kernel of every tile must be launched.
BLOCK = {"cpu": 128, "gpu": 1024, "tpu": 128}
# Up to this length the whole square is faster than its tiles, and its memory no concern.
SHORT = 256


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The plan of one call, known before tracing. `reach` is the table's furthest distance."""

    length: int
    queries: int
    keys: int
    reach: int
    pattern: relative_distances.Pattern

    @functools.cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(query block, key block) of the tiles that touch the table, and of those beyond it; int32 [N, 2] each."""
        counts = [-(-self.length // size) for size in (self.queries, self.keys)]
        pairs = np.indices(counts, np.int32).reshape(2, -1).T
        first = pairs @ np.array([self.queries, -self.keys])
        low, high = first - self.keys + 1, first + self.queries - 1
        nearest, furthest = self.pattern.limits()
        seen = (high >= nearest) & (low <= furthest)
        beyond = (np.abs(np.clip(0, low, high)) > self.reach) & (self.pattern.beyond == "zero")
        return pairs[seen & ~beyond], pairs[seen & beyond]

    @property
    def columns(self) -> int:
        """Rows of the strip that a tile reads: all its distances and one that `skew` drops."""
        return self.queries + self.keys

    @functools.cached_property
    def strip(self) -> tuple[int, int]:
        """First distance and number of rows of the strip that holds the rows of every tile."""
        first = self.pairs[0] @ np.array([self.queries, -self.keys])
        furthest = int(first.max()) + self.queries - 1
        return furthest, furthest - int(first.min()) + self.keys + 1


@dataclasses.dataclass
class Tile:
    """One tile while a program is traced: where its parts lie, and what they are."""

    tiles: Tiles
    row: jax.Array  # first query
    column: jax.Array  # first key

    def queries(self, x: jax.Array) -> jax.Array:
        """The tile's part of [B, H, T, ...] that goes by queries."""
        return jax.lax.dynamic_slice_in_dim(x, self.row, self.tiles.queries, axis=2)

    def keys(self, x: jax.Array) -> jax.Array:
        """The tile's part of [B, H, T, ...] that goes by keys."""
        return jax.lax.dynamic_slice_in_dim(x, self.column, self.tiles.keys, axis=2)

    @property
    def strip_row(self) -> jax.Array:
        """Where the strip's rows of this tile start."""
        return self.tiles.strip[0] - (self.row - self.column + self.tiles.queries - 1)

    def logits(self, query: jax.Array, key: jax.Array, rows: jax.Array | None) -> jax.Array:
        """[B, H, Q, D], [B, H, K, D] and the strip's [H, Q + K, D] -> float32 [B, H, Q, K], hidden keys masked."""
        logits = jnp.einsum("bhqd,bhkd->bhqk", query, key, preferred_element_type=jnp.float32)
        if rows is not None:
            by_distance = jnp.einsum("bhqd,hwd->bhqw", query, rows, preferred_element_type=jnp.float32)
            logits += relative_distances.skew(by_distance, self.tiles.keys)
        query_index = self.row + jax.lax.broadcasted_iota(jnp.int32, (self.tiles.queries, self.tiles.keys), 0)
        key_index = self.column + jax.lax.broadcasted_iota(jnp.int32, (self.tiles.queries, self.tiles.keys), 1)
        seen = self.tiles.pattern.visible(query_index - key_index) & (key_index < self.tiles.length)
        return jnp.where(seen, logits, relative_distances.MASKED)


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    table: jax.Array,
    pattern: relative_distances.Pattern,
    block_queries: int = 0,
    block_keys: int = 0,
) -> jax.Array:
    """As `relative_attention.relative_attention`; equal to its reference up to rounding.

    Args:
      query, key, value: [B, T, H, D] in the compute dtype.
      table: [H, M or 2 M - 1, D] float32.
      pattern: who sees whom.
      block_queries, block_keys: size of a tile, cut to the length; 0 is what is fast on the platform, `BLOCK`.

    Returns:
      [B, T, H, D] in the compute dtype.
    """
    length, head_dim = query.shape[1], query.shape[3]
    usual = BLOCK.get(meshes.platform(), BLOCK["cpu"])
    sizes = min(block_queries or usual, length), min(block_keys or usual, length)
    tiles = Tiles(length, *sizes, pattern.reach(table), pattern)
    strip = relative_distances.strip(table, pattern, *tiles.strip)
    parts = [
        jnp.pad(jnp.swapaxes(x, 1, 2), ((0, 0), (0, 0), (0, -length % size), (0, 0)))
        for x, size in ((query * head_dim**-0.5, tiles.queries), (key, tiles.keys), (value, tiles.keys))
    ]
    return jnp.swapaxes(_attend(tiles, *parts, strip)[:, :, :length], 1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(tiles: Tiles, query: jax.Array, key: jax.Array, value: jax.Array, strip: jax.Array) -> jax.Array:
    return _forward(tiles, query, key, value, strip)[0]


def _walk(tiles: Tiles, strip: jax.Array, body, carry):
    """body(carry, tile, rows of the strip or None) -> carry, over the tiles near the table, then those beyond it."""
    for pairs, touches in zip(tiles.pairs, (True, False), strict=True):
        if not len(pairs):
            continue

        def step(carry, pair: jax.Array, touches: bool = touches):
            tile = Tile(tiles, pair[0] * tiles.queries, pair[1] * tiles.keys)
            rows = jax.lax.dynamic_slice_in_dim(strip, tile.strip_row, tiles.columns, axis=1) if touches else None
            return body(carry, tile, rows), None

        carry, _ = jax.lax.scan(step, carry, jnp.asarray(pairs))
    return carry


def _put(whole: jax.Array, part: jax.Array, start: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=2)


def _forward(tiles: Tiles, query: jax.Array, key: jax.Array, value: jax.Array, strip: jax.Array):
    """-> (output [B, H, T, D], what the backward pass needs)."""

    def body(carry, tile: Tile, rows: jax.Array | None):
        total, largest, weight = carry
        logits = tile.logits(tile.queries(query), tile.keys(key), rows)
        before = tile.queries(largest)
        now = jnp.maximum(before, logits.max(axis=-1))
        weights, keep = jnp.exp(logits - now[..., None]), jnp.exp(before - now)
        mixed = jnp.einsum(
            "bhqk,bhkd->bhqd", weights.astype(value.dtype), tile.keys(value), preferred_element_type=jnp.float32
        )
        return (
            _put(total, tile.queries(total) * keep[..., None] + mixed, tile.row),
            _put(largest, now, tile.row),
            _put(weight, tile.queries(weight) * keep + weights.sum(axis=-1), tile.row),
        )

    largest = jnp.full(query.shape[:3], relative_distances.MASKED, jnp.float32)
    carry = jnp.zeros(query.shape, jnp.float32), largest, jnp.zeros(query.shape[:3], jnp.float32)
    total, largest, weight = _walk(tiles, strip.astype(query.dtype), body, carry)
    out = (total / weight[..., None]).astype(value.dtype)
    return out, (query, key, value, strip, out, largest + jnp.log(weight))


def _backward(tiles: Tiles, saved: tuple, cotangent: jax.Array) -> tuple[jax.Array, ...]:
    query, key, value, strip, out, normalizer = saved
    delta = jnp.einsum("bhtd,bhtd->bht", cotangent, out, preferred_element_type=jnp.float32)
    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)

    def body(carry, tile: Tile, rows: jax.Array | None):
        d_query, d_key, d_value, d_strip = carry
        q, k, v, d_out = tile.queries(query), tile.keys(key), tile.keys(value), tile.queries(cotangent)
        weights = jnp.exp(tile.logits(q, k, rows) - tile.queries(normalizer)[..., None])
        d_weights = product("bhqd,bhkd->bhqk", d_out, v)
        d_logits = (weights * (d_weights - tile.queries(delta)[..., None])).astype(q.dtype)
        to_query = product("bhqk,bhkd->bhqd", d_logits, k)
        if rows is not None:
            by_distance = relative_distances.unskew(d_logits, tiles.columns)
            to_query += product("hwd,bhqw->bhqd", rows, by_distance)
            to_rows = product("bhqw,bhqd->bhwd", by_distance, q)
            known = jax.lax.dynamic_slice_in_dim(d_strip, tile.strip_row, tiles.columns, axis=2)
            d_strip = _put(d_strip, known + to_rows, tile.strip_row)
        to_key = product("bhqk,bhqd->bhkd", d_logits, q)
        to_value = product("bhqk,bhqd->bhkd", weights.astype(v.dtype), d_out)
        return (
            _put(d_query, tile.queries(d_query) + to_query, tile.row),
            _put(d_key, tile.keys(d_key) + to_key, tile.column),
            _put(d_value, tile.keys(d_value) + to_value, tile.column),
            d_strip,
        )

    # One strip an example: a sum over a divided batch would be an all-reduce in every step of the loop.
    shapes = query.shape, key.shape, value.shape, (query.shape[0], *strip.shape)
    carry = tuple(jnp.zeros(shape, jnp.float32) for shape in shapes)
    d_query, d_key, d_value, d_strip = _walk(tiles, strip.astype(query.dtype), body, carry)
    return d_query.astype(query.dtype), d_key.astype(key.dtype), d_value.astype(value.dtype), d_strip.sum(axis=0)


_attend.defvjp(_forward, _backward)

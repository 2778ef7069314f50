"""The tiles of `pallas_attention`: which there are, where their parts lie, and what is computed of one in a kernel.

On diagonal d, tile i of the queries meets tile i - d of the keys. All tiles of a diagonal have the same distances, so
they read the same two blocks of the table's strip.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jax.experimental.pallas import tpu

from musicgen_jax.transformer import relative_distances

LANES = 128  # of a TPU's registers

# Indices of a grid -> (example, head, tile of the queries, diagonal).
Place = Callable[..., tuple[jax.Array, jax.Array, jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Bands:
    """The plan of one call: diagonals -ahead .. back are computed, -near_ahead .. near_back of them touch the table."""

    length: int
    block: int
    back: int
    ahead: int
    near_back: int
    near_ahead: int
    pattern: relative_distances.Pattern

    @property
    def tiles(self) -> int:
        """Tiles along the sequence."""
        return -(-self.length // self.block)

    @property
    def diagonals(self) -> int:
        """Diagonals that are computed."""
        return self.back + self.ahead + 1

    @property
    def near(self) -> int:
        """Diagonals that touch the table."""
        return self.near_back + self.near_ahead + 1

    @property
    def strip(self) -> tuple[int, int]:
        """First distance and number of rows of the strip: two blocks a diagonal, all but the ends shared by two."""
        return (self.near_back + 1) * self.block - 1, (self.near + 1) * self.block

    def by_queries(self, example, head, tile, step):
        """A `Place`: for each tile of the queries, the tiles of the keys from first to last."""
        return example, head, tile, self.back - step

    def by_keys(self, example, head, tile, step):
        """A `Place`: for each tile of the keys, the tiles of the queries from first to last."""
        return example, head, tile + step - self.ahead, step - self.ahead

    def by_diagonals(self, head, step, example, tile):
        """A `Place`: for each diagonal near the table, all its tiles."""
        return example, head, tile, self.near_back - step

    def specs(self, place: Place, head_dim: int) -> tuple[pallas.BlockSpec, ...]:
        """Blocks of (queries [B, H, T, D], per query [B, H, 1, T], keys [B, H, T, D], the strip's upper, its lower)."""
        last = self.tiles - 1

        def query(*indices):
            example, head, i, _ = place(*indices)
            return example, head, jnp.clip(i, 0, last), 0

        def per_query(*indices):
            example, head, i, _ = query(*indices)
            return example, head, 0, i

        def key(*indices):
            example, head, i, diagonal = place(*indices)
            return example, head, jnp.clip(i - diagonal, 0, last), 0

        def strip(lower: int):
            def index(*indices):
                _, head, _, diagonal = place(*indices)
                return head, jnp.clip(self.near_back - diagonal, 0, self.near - 1) + lower, 0

            return pallas.BlockSpec((None, self.block, head_dim), index)

        wide = None, None, self.block, head_dim
        rows = pallas.BlockSpec((None, None, 1, self.block), per_query)
        return pallas.BlockSpec(wide, query), rows, pallas.BlockSpec(wide, key), strip(0), strip(1)

    def visit(self, i: jax.Array, diagonal: jax.Array, tile: Callable[[bool], None]) -> None:
        """Calls tile(near the table or not) in a kernel, if the sequence has this tile."""
        key = i - diagonal
        exists = (i >= 0) & (i < self.tiles) & (key >= 0) & (key < self.tiles)
        near = (diagonal <= self.near_back) & (diagonal >= -self.near_ahead)
        pallas.when(exists & near)(lambda: tile(True))
        if self.near < self.diagonals:
            pallas.when(exists & jnp.logical_not(near))(lambda: tile(False))

    def logits(
        self, query: jax.Array, key: jax.Array, rows: jax.Array | None, i: jax.Array, diagonal: jax.Array
    ) -> jax.Array:
        """[block, D] of queries and keys, [2 block, D] of the strip -> float32 [block, block], hidden keys masked."""
        logits = product(query, key, 1, 1)
        if rows is not None:
            # Row a moves left by block - 1 - a, as `relative_distances.skew` does it: here, around to the right.
            by_distance = product(query, rows, 1, 1)
            logits += tpu.roll(by_distance, self.block + 1, 1, stride=1, stride_axis=0)[:, : self.block]
        square = (self.block, self.block)
        row, column = (jax.lax.broadcasted_iota(jnp.int32, square, axis) for axis in (0, 1))
        distance = diagonal * self.block + row - column
        exists = (i - diagonal) * self.block + column < self.length
        return jnp.where(self.pattern.visible(distance) & exists, logits, relative_distances.MASKED)


def plan(length: int, block: int, reach: int, pattern: relative_distances.Pattern) -> Bands:
    """The bands of one call; `reach` is the table's furthest distance."""
    last = -(-length // block) - 1
    nearest, furthest = pattern.limits()

    def holding(distance: int) -> int:
        """The furthest diagonal that holds so small a distance."""
        return min(last, (distance + block - 1) // block)

    back, ahead = holding(furthest), 0 if pattern.causal else holding(-nearest)
    near = last if pattern.beyond == "clamp" else holding(reach)
    return Bands(length, block, back, ahead, min(back, near), min(ahead, near), pattern)


def product(x: jax.Array, y: jax.Array, x_axis: int, y_axis: int) -> jax.Array:
    """Matrix product over one axis of each, in float32; exact for float32 inputs too, which a TPU would round."""
    precision = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    axes = ((x_axis,), (y_axis,)), ((), ())
    return jax.lax.dot_general(x, y, axes, precision=precision, preferred_element_type=jnp.float32)


def flipped(x: jax.Array) -> jax.Array:
    """The rows of [block, N] from last to first, float32: registers cannot turn, so a matrix of zeros and ones does."""
    size = min(LANES, x.shape[0])
    row, column = (jax.lax.broadcasted_iota(jnp.int32, (size, size), axis) for axis in (0, 1))
    exchange = (row + column == size - 1).astype(x.dtype)
    parts = [product(exchange, x[start : start + size], 1, 0) for start in range(0, x.shape[0], size)]
    return jnp.concatenate(parts[::-1], axis=0)


def flipped_by_distance(by_position: jax.Array) -> jax.Array:
    """`relative_distances.unskew` of [block, block], rows from last to first: [block, 2 block] float32.

    In that order row a moves right by a, and that is the direction in which registers can move rows apart.
    """
    wide = jnp.concatenate([flipped(by_position), jnp.zeros(by_position.shape, jnp.float32)], axis=1)
    return tpu.roll(wide, 0, 1, stride=1, stride_axis=0)

"""Who sees whom, and at which distance: what every back end of relative attention shares.

The distance of query i and key j is i - j. A table of distances is [H, M, D] where attention is causal, row m being
distance m, and [H, 2 M - 1, D] where it looks both ways, row M - 1 + m being distance m of -(M - 1) .. M - 1.

Logits by distance become logits by position through `skew` (Huang et al. 2019, Music Transformer, section 3.4.1), here
of a tile: Q queries and K keys have Q + K - 1 distances, which are neighbouring rows of the table.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config

# Silences a key in float32; finite, because a row of nothing but -inf would turn softmax into NaN.
MASKED = -1e30

Distances = int | np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True)
class Pattern:
    """Which keys a query sees, and what its logit has beyond the table.

    causal: keys behind the query only. window: codes back (and ahead, if not causal) that are seen beside the query's
    own; 0 is all. beyond: "zero" (no relative logit) or "clamp" (that of the furthest row).
    """

    causal: bool = True
    window: int = 0
    beyond: str = "zero"

    def limits(self) -> tuple[int, int]:
        """The smallest and the largest distance that is seen."""
        furthest = self.window or np.iinfo(np.int32).max
        return 0 if self.causal else -furthest, furthest

    def visible(self, distance: Distances) -> Distances:
        """Booleans of the shape of `distance`."""
        nearest, furthest = self.limits()
        return (distance >= nearest) & (distance <= furthest)

    def reach(self, table: jax.Array) -> int:
        """The furthest distance that the table has a row for, M - 1.

        Raises:
          UserError: a table for both ways whose rows have no middle.
        """
        rows = table.shape[1]
        config.require(
            self.causal or rows % 2 == 1,
            f"a table of {rows} rows: attention that looks both ways needs 2 M - 1 rows, the middle one for distance 0",
        )
        return rows - 1 if self.causal else rows // 2


def strip(table: jax.Array, pattern: Pattern, furthest: int, count: int) -> jax.Array:
    """Rows of the distances `furthest`, `furthest` - 1, ... in that order.

    Args:
      table: [H, M or 2 M - 1, D].
      pattern: says what stands beyond the table.
      furthest: 0 or more.
      count: rows to return; distance 0 must be among them.

    Returns:
      [H, count, D]. Keys that are ahead get anything where attention is causal: the mask hides them.
    """
    rows = table.shape[1]
    before = furthest - pattern.reach(table)
    after = count - before - rows
    kept = table[:, ::-1][:, max(-before, 0) : rows - max(-after, 0)]
    padding = ((0, 0), (max(before, 0), max(after, 0)), (0, 0))
    return jnp.pad(kept, padding, mode="edge" if pattern.beyond == "clamp" else "constant")


def skew(by_distance: jax.Array, num_keys: int) -> jax.Array:
    """Turns logits by distance into logits by position, without a gather.

    Args:
      by_distance: [..., Q, W], column w belonging to the distance Q - 1 - w from the tile's first key; W > num_keys.
      num_keys: K.

    Returns:
      [..., Q, K]: row a, key c has column Q - 1 - a + c of row a. Where that is W - 1 or more it holds garbage.
    """
    *batch, queries, columns = by_distance.shape
    flat = by_distance.reshape(*batch, queries * columns)
    # Rows one column shorter start one column further left in each row.
    return flat[..., queries - 1 : -1].reshape(*batch, queries, columns - 1)[..., :num_keys]


def unskew(by_position: jax.Array, columns: int) -> jax.Array:
    """Transpose of `skew`: [..., Q, K] -> [..., Q, columns], zero where no key has the distance."""
    *batch, queries, num_keys = by_position.shape
    unpadded = [(0, 0)] * len(batch)
    wide = jnp.pad(by_position, [*unpadded, (0, 0), (0, columns - 1 - num_keys)])
    flat = wide.reshape(*batch, queries * (columns - 1))
    return jnp.pad(flat, [*unpadded, (queries - 1, 1)]).reshape(*batch, queries, columns)

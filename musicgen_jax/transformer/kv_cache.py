"""Keys and values of the positions decoded so far, of static size."""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class KVCache:
    """Cache of one layer, or of all layers with a leading [layers] axis.

    keys, values: [B, H, C, D], C the context. Heads come before positions, so that a head's keys are contiguous.
    """

    keys: jax.Array
    values: jax.Array

    def write(self, keys: jax.Array, values: jax.Array, position: jax.Array) -> "KVCache":
        """The cache of one layer with row `position` replaced by keys and values [B, H, D]."""

        def put(cache: jax.Array, row: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(cache, row[:, :, None].astype(cache.dtype), position, axis=2)

        return KVCache(keys=put(self.keys, keys), values=put(self.values, values))


def from_sequence(keys: jax.Array, values: jax.Array) -> KVCache:
    """Cache of the keys and values of a whole window, [B, T, H, D] each."""
    return KVCache(keys=jnp.swapaxes(keys, 1, 2), values=jnp.swapaxes(values, 1, 2))


def unstacked(caches: KVCache, num_layers: int) -> list[KVCache]:
    """[layers, B, H, C, D] -> a list of caches, one a layer."""
    return [jax.tree.map(lambda leaf, i=index: leaf[i], caches) for index in range(num_layers)]

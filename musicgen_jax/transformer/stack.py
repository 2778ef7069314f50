"""Blocks stacked along a leading [layers] axis and walked by `jax.lax.scan`: compile time does not grow with depth."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from musicgen_jax import config
from musicgen_jax.nn import parameters
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import block, kv_cache

BLOCK_INPUT = "block_input"
HOST_MEMORY = "pinned_host"


def check_remat(settings: config.TransformerConfig, devices: Iterable[jax.Device]) -> None:
    """Raises UserError if these devices cannot do what `settings.remat` asks for."""
    for device in devices if settings.remat == "offload" else ():
        kinds = [memory.kind for memory in device.addressable_memories()]
        config.require(
            HOST_MEMORY in kinds,
            f"transformer.remat='offload': {device.device_kind} has no memory of kind {HOST_MEMORY} (only "
            f"{', '.join(kinds)}); use full",
        )


def undivided(settings: config.TransformerConfig, mesh: jax.sharding.Mesh) -> list[str]:
    """A sentence for each dimension that the mesh's `tensor` axis was meant to divide and does not."""
    ways = mesh.shape["tensor"]
    return [
        f"transformer.{name}={size} is no multiple of mesh.tensor={ways}: each of the {ways} devices computes all of it"
        for name in ("num_heads", "mlp_width")
        if (size := getattr(settings, name)) % ways
    ]


def rematerialized(body: Callable, policy: str) -> Callable:
    """`body` of a scan over the layers, whose gradient keeps of each layer what `config.REMAT` says of `policy`.

    "dots" keeps the products that have no batch axis. Those of the attention logits have one, and would take codes x
    codes of memory a head.
    """
    if policy == "none":
        return body
    policies = jax.checkpoint_policies
    kept = {
        "full": None,
        "dots": policies.dots_with_no_batch_dims_saveable,
        "offload": policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=[BLOCK_INPUT],
            offload_src="device",
            offload_dst=HOST_MEMORY,
        ),
    }[policy]
    # Inside a scan XLA cannot merge the two computations anyway.
    return jax.checkpoint(body, prevent_cse=False, policy=kept)


class Stack(nnx.Module):
    """`num_layers` blocks and a final norm."""

    def __init__(
        self,
        settings: config.TransformerConfig,
        max_distance: int,
        axis_rules: rules.AxisRules,
        *,
        causal: bool = True,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        @nnx.vmap(in_axes=0, out_axes=0)
        @nnx.transform_metadata(in_axes=0, out_axes=0, partition="layers")
        def make(key: jax.Array) -> block.Block:
            return block.Block(settings, max_distance, axis_rules, causal=causal, dtype=dtype, rngs=type(rngs)(key))

        self.num_layers, self.remat = settings.num_layers, settings.remat
        self.layers = make(jax.random.split(rngs.params(), settings.num_layers))
        self.norm = parameters.layer(nnx.LayerNorm(settings.width, dtype=dtype, rngs=rngs))

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """[B, T, D] -> [B, T, D]; `key` turns dropout on."""
        return self._run(x, key)[0]

    def prefill(
        self, x: jax.Array, kept: Callable[[kv_cache.KVCache], kv_cache.Cache] = lambda cache: cache
    ) -> tuple[jax.Array, kv_cache.Cache]:
        """As `__call__`, and what is `kept` of the cache of every layer, with a leading [layers] axis."""
        return self._run(x, None, kept)

    def _run(
        self, x: jax.Array, key: jax.Array | None, kept: Callable[[kv_cache.KVCache], kv_cache.Cache] | None = None
    ) -> tuple[jax.Array, kv_cache.Cache | None]:
        keys = None if key is None else jax.random.split(key, self.num_layers)

        def body(x: jax.Array, inputs: tuple) -> tuple[jax.Array, kv_cache.Cache | None]:
            layer, layer_key = inputs
            x, cache = layer(checkpoint_name(x, BLOCK_INPUT), layer_key)
            return x, (kept(cache) if kept else None)

        if kept is None:
            body = rematerialized(body, self.remat)
        x, caches = jax.lax.scan(body, x, (self.layers, keys))
        return self.norm(x), caches

    def unstacked(self) -> list[block.Block]:
        """The blocks one by one. Take them outside a decoding loop: inside, every step would copy all the weights."""
        return [jax.tree.map(lambda leaf, i=index: leaf[i], self.layers) for index in range(self.num_layers)]

    def step(
        self, layers: list[block.Block], x: jax.Array, caches: list[kv_cache.Cache], position: jax.Array
    ) -> tuple[jax.Array, list[kv_cache.Cache]]:
        """One position.

        Args:
          layers: from `unstacked`.
          x: [B, D].
          caches: one a layer, from `kv_cache.unstacked`; separate arrays, so that a loop updates each in place.
          position: int32 scalar, index in the window.

        Returns:
          ([B, D], the caches with this position).
        """
        updated = []
        for layer, cache in zip(layers, caches, strict=True):
            x, cache = layer.step(x, cache, position)
            updated.append(cache)
        return self.norm(x), updated

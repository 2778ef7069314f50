"""Blocks one after the other; equal ones by `jax.lax.scan`, so that compile time does not grow with depth."""

import dataclasses
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from musicgen_jax import config
from musicgen_jax.nn import tables
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import attention, block, kv_cache
from musicgen_jax.transformer.weights import matrices_as

BLOCK_INPUT = "block_input"
LONGEST_GROUP = 16  # of kinds of layers that repeat
HOST_MEMORY = "pinned_host"

Kept = Callable[[kv_cache.KVCache], kv_cache.Cache]


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
        for name in ("width" if settings.layer == "lstm" else "num_heads", "mlp_width")
        if (size := getattr(settings, name)) % ways
    ]


def rematerialized(body: Callable, policy: str, *, scanned: bool) -> Callable:
    """`body` of a loop over the layers, whose gradient keeps of each layer what `config.REMAT` says of `policy`.

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
    # Inside a scan XLA cannot merge the two computations anyway; in a loop that is unrolled it would.
    return jax.checkpoint(body, prevent_cse=not scanned, policy=kept)


def sinusoids(positions: jax.Array, width: int, *, cosines_first: bool = False) -> jax.Array:
    """Absolute positions, int32 [...] -> float32 [..., width] (Vaswani et al. 2017, section 3.5).

    Sines, then cosines, or the other way round, of wavelengths from 2 pi to 20,000 pi positions in a geometric series.
    """
    number = width // 2 + width % 2
    frequencies = 10_000.0 ** (-np.arange(number) / max(number - 1, 1))
    angles = positions[..., None] * frequencies.astype(np.float32)
    blocks = [jnp.sin(angles), jnp.cos(angles)]
    return jnp.concatenate(blocks[::-1] if cosines_first else blocks, axis=-1)[..., :width]


@dataclasses.dataclass(frozen=True)
class Group:
    """Layers whose kinds repeat: the layers [first, first + size * times), `size` kinds `times` times."""

    first: int
    size: int
    times: int

    @property
    def layers(self) -> slice:
        """Which they are."""
        return slice(self.first, self.first + self.size * self.times)


def groups(kinds: tuple[str, ...]) -> tuple[Group, ...]:
    """Kinds of layers as groups that repeat, one behind the other, and between them layers alone.

    From each layer on the group is taken that leaves the fewest layers to compile.
    """
    found: list[Group] = []
    first = 0
    while first < len(kinds):
        sizes = range(1, min(LONGEST_GROUP, len(kinds) - first) + 1)
        fitting = [Group(first, size, _times(kinds[first:], size)) for size in sizes]
        best = max(fitting, key=lambda group: (group.size * (group.times - 1), -group.size))
        found.append(best)
        first = best.layers.stop
    return tuple(found)


def _times(kinds: tuple[str, ...], size: int) -> int:
    """How often the first `size` kinds come one behind the other at the beginning."""
    times = 1
    while kinds[times * size : (times + 1) * size] == kinds[:size]:
        times += 1
    return times


class Stack(nnx.Module):
    """The blocks of a config's `kinds`, and a norm behind them where the config has one.

    A whole sequence is walked by scans over the groups of kinds that repeat. Where all blocks are of one kind, their
    parameters are those of one block with a leading [layers] axis. Else they are a list, as checkpoints of the
    published models have them, and the matrices of a group lie in memory twice while a sequence is walked.
    """

    def __init__(
        self,
        settings: attention.Settings,
        span: attention.Span,
        axis_rules: rules.AxisRules,
        *,
        reads_memory: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        """Args as those of `block.Block`; `reads_memory` makes every block read a memory."""

        def make(kind: str, rngs: nnx.Rngs) -> block.Block:
            return block.Block(settings, kind, span, axis_rules, reads_memory=reads_memory, dtype=dtype, rngs=rngs)

        @nnx.vmap(in_axes=0, out_axes=0)
        @nnx.transform_metadata(in_axes=0, out_axes=0, partition="layers")
        def make_all(key: jax.Array) -> block.Block:
            return make(settings.kinds[0], type(rngs)(key))

        self.num_layers, self.remat, self.scanned = settings.num_layers, settings.remat, settings.scanned
        self.groups, self.dtype = groups(settings.kinds), dtype
        if self.scanned:
            self.layers = make_all(jax.random.split(rngs.params(), settings.num_layers))
        else:
            self.blocks = nnx.List([make(kind, rngs) for kind in settings.kinds])
        self.norm = block.norm(settings, dtype=dtype, rngs=rngs) if settings.final_norm else None
        self.adds_positions, self.cosines_first = settings.adds_positions, settings.cosines_first

    def __call__(
        self,
        x: jax.Array,
        key: jax.Array | None = None,
        memory: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
    ) -> jax.Array:
        """[B, T, D] and a memory as `block.Block` takes it -> [B, T, D]; `key` turns dropout on."""
        return self._run(x, key, memory, memory_mask)[0]

    def prefill(
        self,
        x: jax.Array,
        memory: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        kept: Kept = lambda cache: cache,
    ) -> tuple[jax.Array, list[kv_cache.LayerCache]]:
        """As `__call__`, and what is `kept` of every layer's cache of the window, with that of its memory."""
        return self._run(x, None, memory, memory_mask, kept)

    def _run(
        self,
        x: jax.Array,
        key: jax.Array | None,
        memory: jax.Array | None,
        memory_mask: jax.Array | None,
        kept: Kept | None = None,
    ) -> tuple[jax.Array, list[kv_cache.LayerCache] | None]:
        keys = None if key is None else jax.random.split(key, self.num_layers)
        x = self._placed(x, jnp.arange(x.shape[1]))

        def body(x: jax.Array, inputs: tuple) -> tuple[jax.Array, kv_cache.LayerCache | None]:
            layer, layer_key = inputs
            x, cache = layer(checkpoint_name(x, BLOCK_INPUT), layer_key, memory, memory_mask)
            return x, (cache.with_own(kept) if kept else None)

        caches = []
        for group in self.groups:
            scanned = self.scanned or group.times > 1
            walked = body if kept else rematerialized(body, self.remat, scanned=scanned)
            group_keys = None if keys is None else keys[group.layers].reshape(group.times, group.size)
            x, found = _walk(walked, x, self.blocks_of(group), group_keys, scanned=scanned)
            caches += found
        return self._normed(x), caches if kept else None

    def blocks_of(self, group: Group) -> list[block.Block]:
        """One block for each kind of the group, with a leading [times] axis where it is to be scanned."""
        if self.scanned:
            return [self.layers]
        blocks = list(self.blocks)[group.layers]
        if group.times == 1:
            return blocks
        return [_stacked(matrices_as(blocks[place :: group.size], self.dtype)) for place in range(group.size)]

    def unstacked(self) -> list[block.Block]:
        """The blocks one by one. Take them outside a decoding loop: inside, every step would copy all the weights."""
        if not self.scanned:
            return list(self.blocks)
        return [jax.tree.map(lambda leaf, i=index: leaf[i], self.layers) for index in range(self.num_layers)]

    def step(
        self, layers: list[block.Block], x: jax.Array, caches: list[kv_cache.LayerCache], position: jax.Array
    ) -> tuple[jax.Array, list[kv_cache.LayerCache]]:
        """One position.

        Args:
          layers: from `unstacked`.
          x: [B, D].
          caches: one a layer, from `prefill`; separate arrays, so that a loop updates each in place.
          position: int32 scalar, index in the window.

        Returns:
          ([B, D], the caches with this position).
        """
        updated = []
        x = self._placed(x, position)
        for layer, cache in zip(layers, caches, strict=True):
            x, cache = layer.step(x, cache, position)
            updated.append(cache)
        return self._normed(x), updated

    def _placed(self, x: jax.Array, positions: jax.Array) -> jax.Array:
        """[..., D] at these positions of the window, with their sinusoids where the layers would not know them."""
        if not self.adds_positions:
            return x
        return x + sinusoids(positions, x.shape[-1], cosines_first=self.cosines_first).astype(x.dtype)

    def _normed(self, x: jax.Array) -> jax.Array:
        return x if self.norm is None else self.norm(x)


def _walk(
    body: Callable[..., tuple[jax.Array, kv_cache.LayerCache | None]],
    x: jax.Array,
    blocks: list[block.Block],
    keys: jax.Array | None,
    *,
    scanned: bool,
) -> tuple[jax.Array, list[kv_cache.LayerCache | None]]:
    """`body` of all layers of a group, whose blocks are from `Stack.blocks_of`; keys [times, size]. The caches are
    those of the layers one by one."""

    def once(x: jax.Array, inputs: tuple) -> tuple[jax.Array, list[kv_cache.LayerCache | None]]:
        blocks, keys = inputs
        caches = []
        for place, layer in enumerate(blocks):
            x, cache = body(x, (layer, None if keys is None else keys[place]))
            caches.append(cache)
        return x, caches

    if not scanned:
        return once(x, (blocks, None if keys is None else keys[0]))
    x, caches = jax.lax.scan(once, x, (blocks, keys))
    times = len(jax.tree.leaves(blocks)[0])
    return x, [cache for row in zip(*(kv_cache.unstacked(one, times) for one in caches), strict=True) for cache in row]


def _stacked(blocks: list[block.Block]) -> block.Block:
    """Blocks of one kind as one with a leading axis in every parameter."""
    leaves = zip(*map(jax.tree.leaves, blocks), strict=True)
    return jax.tree.structure(blocks[0]).unflatten([jnp.stack(part) for part in leaves])


class TokenStack(Stack):
    """A causal stack over tokens whose places it learns by heart: the input at position t is the token before it."""

    def __init__(
        self,
        settings: config.JukeboxTransformerConfig,
        *,
        vocabulary: int,
        length: int,
        prime_length: int = 0,
        own_start: bool = False,
        remat: bool = False,
        axis_rules: rules.AxisRules,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        """Args:
        settings: sizes and the order of the attention patterns.
        vocabulary: tokens there are.
        length: positions, a multiple of the settings' rows.
        prime_length: keys of "prime" attention.
        own_start: learn the vector before the first token; without it, it is an input.
        remat: recompute each block's activations in the backward pass.
        axis_rules: layout on a mesh.
        dtype: of the blocks' activations.
        rngs: initial parameters.
        """
        width, std = settings.width, settings.init_std
        self.tokens = tables.table(vocabulary, width, rngs, std)
        self.positions = tables.table(length, width, rngs, std / 2)
        self.start = tables.table(1, width, rngs, std / 2) if own_start else None
        span = attention.Span(row_length=length // settings.num_rows, prime_length=prime_length)
        super().__init__(settings, span, axis_rules, dtype=dtype, rngs=rngs)
        self.remat = "full" if remat else settings.remat

    def inputs(self, tokens: jax.Array, start: jax.Array | None = None) -> jax.Array:
        """int32 [B, T] and start vectors [B, D] (None: the learned one) -> [B, T, D] float32, shifted by one."""
        start = jnp.broadcast_to(self.start[...], (tokens.shape[0], self.start.shape[1])) if start is None else start
        embedded = jnp.concatenate([start[:, None], self.tokens[...][tokens[:, :-1]]], axis=1)
        return embedded + self.positions[...][: tokens.shape[1]]

"""The priors that Jukebox published (Dhariwal et al. 2020), number for number; `prior.py` is our own.

One module for all five: two upsamplers, the top prior without lyrics, with a lyric encoder, and with lyrics as a prefix
of the sequence. Its weights come from `conversion`.
"""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.codes import patterns
from musicgen_jax.conditions import above, labels, lyrics, timing
from musicgen_jax.conditions.condition import Condition, joined
from musicgen_jax.nn import tables
from musicgen_jax.priors import code_model, jukebox_batch
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import block, kv_cache, sparse_masks, stack

Batch = dict[str, jax.Array]


class JukeboxPrior(nnx.Module):
    """p(code_t | codes before t in the window, labels, timing, codes of the tier above, lyrics)."""

    def __init__(
        self,
        model: config.JukeboxPriorConfig,
        axis_rules: rules.AxisRules | None = None,
        *,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Args:
        model: sizes and kind of the prior.
        axis_rules: layout on a mesh; the default rules if None.
        dtype: of the transformer's activations; embeddings, norms, softmax and logits are float32.
        rngs: initial parameters, distributed as published.
        """
        model.validate()
        axis_rules = rules.AxisRules() if axis_rules is None else axis_rules
        self.config, self.dtype = model, dtype
        conditions = {"labels": labels.StartLabels(model, rngs=rngs)}
        if model.upsampling:
            conditions["above"] = above.PublishedAbove(model, dtype=dtype, rngs=rngs)
        else:
            conditions["timing"] = timing.SampleTiming(model, rngs=rngs)
        if model.lyrics == "encoder":
            conditions["lyrics"] = lyrics.LyricEncoder(model, axis_rules, dtype=dtype, rngs=rngs)
        elif model.lyrics == "prefix":
            conditions["lyrics"] = lyrics.LyricPrefix()
        self.conditions = nnx.Dict(conditions)
        vocabulary = model.code_shift + model.num_codes
        self.stack = stack.TokenStack(
            model.transformer,
            vocabulary=vocabulary,
            length=model.prefix + model.context,
            prime_length=sparse_masks.published_prime_length(model.prefix, model.transformer.num_rows),
            remat=model.remat,
            axis_rules=axis_rules,
            dtype=dtype,
            rngs=rngs,
        )
        if model.merged:
            self.head = tables.table(vocabulary, model.transformer.width, rngs, model.transformer.init_std)

    @property
    def pattern(self) -> patterns.Pattern:
        """A code a step."""
        return patterns.of("flat", self.config.context, 1)

    @staticmethod
    def stored_path(path: tuple) -> tuple:
        """Where trees outside of the module have a parameter; see `modules.Functional`."""
        path = code_model.stored_path(path)
        if "blocks" not in path:
            return path
        place = path.index("blocks") + 2  # behind the number of the block
        names = {"mlp": (), "memory_norm": ("attention_norm",), "memory_attention": ("attention",)}
        return *path[:place], *names.get(path[place], path[place : place + 1]), *path[place + 1 :]

    def num_leading(self, batch: Batch) -> int:
        """Positions of the stack before the first code: the characters of a prefix."""
        return self.config.prefix

    def condition(self, batch: Batch, hidden: Mapping[str, jax.Array] = MappingProxyType({})) -> Condition:
        """What is known of a window besides its codes; nothing can be `hidden` from a published prior.

        Args:
          batch: int32 arrays `artist` [B], `genres` [B, max_genres] with -1 in empty places; at the top `total`,
            `offset` and `length` [B], samples of the track, of the window's start in it and of the window; below it
            `above` [B, context / upsampling, 1], codes; with lyrics `lyrics` [B, lyric_tokens], characters.

        Raises:
          UserError: a value out of range; see `jukebox_batch.check`.
        """
        config.require(not hidden, f"{', '.join(hidden)}: published priors were never trained without; use guidance 1")
        jukebox_batch.check(self.config, batch)
        parts = [told(batch) for told in self.conditions.values()]
        return joined(parts, self.config.context, jnp.float32)

    def __call__(self, batch: Batch) -> jax.Array:
        """Logits of the codes, [B, T, 1, K] float32, of a window with `codes` [B, T, 1] and what `condition` takes.

        Where lyrics are a prefix, the characters' logits are left out; `joint_logits` has them.
        """
        joint = self.joint_logits(batch["codes"], self.condition(batch))
        return joint[:, self.config.prefix :, None, self.config.code_shift :]

    def joint_logits(self, codes: jax.Array, told: Condition) -> jax.Array:
        """Logits of every token of the sequence: [B, prefix + T, characters of a prefix + K] float32, codes last."""
        x, added = self._inputs(codes, told)
        return self._predict(self.stack(x, None, told.memory, told.memory_mask), added)

    def prefill(
        self,
        codes: jax.Array,
        told: Condition,
        kept: stack.Kept = lambda cache: cache,
        num_steps: int | None = None,
    ) -> list[kv_cache.LayerCache]:
        """Caches after the codes of a window; what is not known yet gets overwritten by `step`.

        Args:
          codes: int32 [B, T, 1].
          told: of these positions.
          kept: what to keep of a layer's cache of the sequence, [B, H, prefix + T, D].
          num_steps: codes of the window's beginning that the caches have; None: all.
        """
        x, _ = self._inputs(codes[:, :num_steps], told)
        return self.stack.prefill(x, told.memory, told.memory_mask, kept)[1]

    def step(
        self,
        layers: list[block.Block],
        previous: jax.Array,
        told: Condition,
        caches: list[kv_cache.LayerCache],
        position: jax.Array,
    ) -> tuple[jax.Array, list[kv_cache.LayerCache]]:
        """Logits of one code.

        Args:
          layers: `self.stack.unstacked()`.
          previous: int32 [B, 1], the code before; ignored at position 0.
          told: of this position.
          caches: from `prefill` or the step before.
          position: int32 scalar, index in the window.

        Returns:
          (logits float32 [B, K], the caches with this position).
        """
        tokens, settings = self.stack.tokens[...], self.config
        first = told.start if told.prefix is None else tokens[told.prefix[:, -1]]
        before = jnp.where(position == 0, first, tokens[jnp.maximum(previous[:, 0], 0) + settings.code_shift])
        place = settings.prefix + position
        x = (before + self.stack.positions[...][place] + told.added).astype(self.dtype)
        x, caches = self.stack.step(layers, x, caches, place)
        return self._predict(x, told.added)[:, settings.code_shift :], caches

    def _inputs(self, codes: jax.Array, told: Condition) -> tuple[jax.Array, jax.Array]:
        """The stack's input and what is added in it, [B, prefix + T, D] each."""
        tokens, added = codes[..., 0] + self.config.code_shift, told.added[:, : codes.shape[1]]
        if told.prefix is not None:
            tokens = jnp.concatenate([told.prefix, tokens], axis=1)
            added = jnp.pad(added, ((0, 0), (told.prefix.shape[1], 0), (0, 0)))
        return (self.stack.inputs(tokens, told.start) + added).astype(self.dtype), added

    def _predict(self, x: jax.Array, added: jax.Array) -> jax.Array:
        """The stack's output [..., D] -> logits [..., V] float32; what was added counts again unless merged."""
        x = x.astype(jnp.float32)
        if self.config.merged:
            return jnp.einsum("...d,vd->...v", x, self.head[...])
        return jnp.einsum("...d,vd->...v", x + added, self.stack.tokens[...])

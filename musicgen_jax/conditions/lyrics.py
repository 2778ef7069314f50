"""Lyrics: characters that a model attends to, or that a published prior has before its codes."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import parameters, resnet, tables
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import block, stack, weights

TIME_FEATURES = 128  # sinusoids that tell when a character begins, and where in its window a frame lies


class Lyrics(nnx.Module):
    """The characters that are sung around a window, a memory: each with what stands beside it and its time.

    Characters are embedded, dilated residual convolutions see their neighbours (the whole text is known), and to each
    is added when it begins, in frames of the window. Attention of the blocks knows distances alone, so each frame is
    told in the same sinusoids where in the window it lies: it finds the characters of its own time. A first row of the
    memory is always there: one vector where the words are known, so that nothing is sung where none are, and another
    where nobody knows them.

    To find them is much to learn. Where `lyrics_aligned`, each frame is told besides which character is being sung in
    it, with what stands beside that, and since when.
    """

    stream, is_memory = 0x17121C5, True

    def __init__(
        self,
        model: config.PriorConfig,
        axis_rules: rules.AxisRules | None = None,
        *,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.context, self.rules, self.dtype = model.context, axis_rules or rules.AxisRules(), dtype
        narrow, width = model.conditioner.width, model.transformer.width
        # The first row stands for a character that is not in the vocabulary.
        self.characters = tables.table(len(model.characters) + 1, narrow, rngs, std=1.0)
        self.stack = resnet.ResidualStack(narrow, model.conditioner.dilations, dtype=dtype, rngs=rngs)
        self.project = weights.Linear(narrow, width, (None, "width"), ("width",), dtype=dtype, rngs=rngs)
        self.norm = parameters.layer(nnx.LayerNorm(width, dtype=dtype, rngs=rngs))
        init = nnx.initializers.normal((TIME_FEATURES / 2) ** -0.5)
        self.time = weights.Linear(
            TIME_FEATURES, width, (None, "width"), ("width",), kernel_init=init, dtype=dtype, rngs=rngs
        )
        self.first = tables.table(2, width, rngs, std=1.0)  # where nobody knows the words; where they are known
        self.aligned = model.lyrics_aligned
        if self.aligned:
            inputs = narrow + TIME_FEATURES
            self.sung = weights.Linear(inputs, width, (None, "width"), ("width",), dtype=dtype, rngs=rngs)

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> Condition:
        """Embeds the characters.

        Args:
          batch: `lyrics` int32 [B, M], numbers in the vocabulary, 0 for others, -1 fills up; `lyric_times` float32
            [B, M], frames from the window's first at which they begin; `worded` bool [B], False where nobody knows the
            words, which is not an interlude.
          hidden: bool [B], windows that are told as little as those.

        Returns:
          memory [B, M + 1, D] with its mask, and added [B, T, D], where in the window each frame lies, and what is sung
          in it.
        """
        numbers, known = batch["lyrics"], batch["worded"] if hidden is None else batch["worded"] & ~hidden
        exists = (numbers >= 0) & known[:, None]
        embedded = tables.lookup(self.characters[...], jnp.maximum(numbers, 0), self.rules)
        x = self.stack(jnp.where(exists[..., None], embedded, 0.0).astype(self.dtype))
        memory = self.norm(self.project(x)) + self._at(batch["lyric_times"])
        first = tables.lookup(self.first[...], known.astype(jnp.int32), self.rules)[:, None].astype(self.dtype)
        added = self._at(jnp.arange(self.context, dtype=jnp.float32))
        added = jnp.broadcast_to(added, (len(numbers), *added.shape))
        if self.aligned:
            added = added + jax.vmap(self._sung)(x, batch["lyric_times"], exists)
        return Condition(
            added=added,
            memory=jnp.concatenate([first, memory], axis=1),
            memory_mask=jnp.concatenate([jnp.ones_like(exists[:, :1]), exists], axis=1),
        )

    def _at(self, frames: jax.Array) -> jax.Array:
        """What is told of a time in the window: float32 [...] -> [..., D]."""
        return self.time(stack.sinusoids(frames, TIME_FEATURES).astype(self.dtype))

    def _sung(self, x: jax.Array, times: jax.Array, exists: jax.Array) -> jax.Array:
        """The character that each frame of a window sings.

        Args:
          x: [M, C], the characters and what stands beside them.
          times: float32 [M], frames at which they begin, never falling.
          exists: bool [M], which of them there are: the first ones.

        Returns:
          [T, D]; zeros before the first character.
        """
        centres = jnp.arange(self.context, dtype=jnp.float32) + 0.5
        last = jnp.searchsorted(jnp.where(exists, times, jnp.inf), centres, side="right") - 1
        latest = jnp.maximum(last, 0)
        ages = stack.sinusoids(centres - times[latest], TIME_FEATURES)
        told = self.sung(jnp.concatenate([x[latest], ages.astype(self.dtype)], axis=-1))
        return jnp.where(last[:, None] >= 0, told, 0.0)


class LyricEncoder(nnx.Module):
    """A causal transformer over characters with a loss of its own, projected to the prior's width: a memory."""

    def __init__(
        self, model: config.JukeboxPriorConfig, axis_rules: rules.AxisRules, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        settings, width = model.lyric_encoder, model.transformer.width
        self.stack = stack.TokenStack(
            settings,
            vocabulary=model.lyric_vocabulary,
            length=model.lyric_tokens,
            own_start=True,
            remat=model.remat,
            axis_rules=axis_rules,
            dtype=dtype,
            rngs=rngs,
        )
        init = nnx.initializers.normal(settings.init_std)
        self.project = weights.Linear(
            settings.width, width, (None, "width"), ("width",), kernel_init=init, dtype=jnp.float32, rngs=rngs
        )
        self.norm = block.norm(model.transformer, dtype=jnp.float32, rngs=rngs)
        self.head = tables.table(model.lyric_vocabulary, width, rngs, model.transformer.init_std)
        self.dtype = dtype

    def __call__(self, batch: dict[str, jax.Array]) -> Condition:
        """`lyrics` int32 [B, L], characters -> memory [B, L, D] float32; position t has seen those before t."""
        x = self.stack(self.stack.inputs(batch["lyrics"]).astype(self.dtype))
        return Condition(memory=self.norm(self.project(x.astype(jnp.float32))))

    def predict(self, memory: jax.Array) -> jax.Array:
        """What `__call__` returned -> logits of the characters, [B, L, lyric vocabulary] float32."""
        return jnp.einsum("bld,vd->blv", memory, self.head[...])


class LyricPrefix(nnx.Module):
    """Characters as the first tokens of the prior's own sequence."""

    def __call__(self, batch: dict[str, jax.Array]) -> Condition:
        """`lyrics` int32 [B, L] -> prefix."""
        return Condition(prefix=batch["lyrics"])

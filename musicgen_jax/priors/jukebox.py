"""The priors that Jukebox published (Dhariwal et al. 2020), number for number; `prior.py` is our own.

One module for all five: two upsamplers, the top prior without lyrics, with a lyric encoder, and with lyrics as a prefix
of the sequence. Its weights come from `conversion`.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.priors import jukebox_batch, jukebox_conditioner, jukebox_stack, lyric_encoder
from musicgen_jax.transformer import kv_cache, sparse_masks

Batch = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class JukeboxCondition:
    """What the prior knows of a window besides its codes.

    Attributes:
      start: [B, D], stands before the first token.
      positions: [B, T, D], added at every code.
      encoded: [B, L, D], what cross attention sees; None without a lyric encoder.
      prefix: int32 [B, L], characters before the codes; None where lyrics are no prefix.
    """

    start: jax.Array
    positions: jax.Array
    encoded: jax.Array | None = None
    prefix: jax.Array | None = None


class JukeboxPrior(nnx.Module):
    """p(code_t | codes before t in the window, labels, timing, codes of the tier above, lyrics)."""

    def __init__(self, model: config.JukeboxPriorConfig, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        """Args:
        model: sizes and kind of the prior.
        dtype: of the transformer's activations; embeddings, norms, softmax and logits are float32.
        rngs: initial parameters, distributed as published.
        """
        model.validate()
        self.config = model
        self.labels = jukebox_conditioner.LabelConditioner(model, rngs=rngs)
        if model.upsampling:
            self.upsampler = jukebox_conditioner.UpsamplerConditioner(model, dtype=dtype, rngs=rngs)
        if model.lyrics == "encoder":
            self.lyrics = lyric_encoder.LyricEncoder(model, dtype=dtype, rngs=rngs)
        vocabulary = model.code_shift + model.num_codes
        self.stack = jukebox_stack.JukeboxStack(
            model.transformer,
            vocabulary=vocabulary,
            length=model.prefix + model.context,
            prime_length=sparse_masks.published_prime_length(model.prefix, model.transformer.num_rows),
            remat=model.remat,
            dtype=dtype,
            rngs=rngs,
        )
        if model.merged:
            shape = (vocabulary, model.transformer.width)
            self.head = jukebox_stack.table(shape, 0.02 * model.transformer.init_scale, rngs)

    def condition(self, batch: Batch) -> JukeboxCondition:
        """Conditioning of a window.

        Args:
          batch: int32 arrays `artist` [B], `genres` [B, max_genres] with -1 in empty places; at the top `total`,
            `offset` and `length` [B], samples of the track, of the window's start in it and of the window; below it
            `above` [B, context / upsampling], codes; with lyrics `lyrics` [B, lyric_tokens], characters.

        Raises:
          UserError: a value out of range; see `jukebox_batch.check`.
        """
        jukebox_batch.check(self.config, batch)
        if self.config.upsampling:
            positions = self.upsampler(batch["above"])
        else:
            positions = self.labels.timing(batch["total"], batch["offset"], batch["length"])
        return JukeboxCondition(
            start=self.labels.start(batch["artist"], batch["genres"]),
            positions=positions,
            encoded=self.lyrics(batch["lyrics"]) if self.config.lyrics == "encoder" else None,
            prefix=batch["lyrics"] if self.config.lyrics == "prefix" else None,
        )

    def __call__(self, batch: Batch) -> jax.Array:
        """Logits of the codes, [B, T, K] float32, of a window with `codes` [B, T] and what `condition` takes.

        Where lyrics are a prefix, the characters' logits are left out; `joint_logits` has them.
        """
        joint = self.joint_logits(batch["codes"], self.condition(batch))
        return joint[:, self.config.prefix :, self.config.code_shift :]

    def joint_logits(self, codes: jax.Array, condition: JukeboxCondition) -> jax.Array:
        """Logits of every token of the sequence: [B, prefix + T, characters of a prefix + K] float32, codes last."""
        x, added = self._inputs(codes, condition)
        return self._predict(self.stack(x, condition.encoded), added)

    def prefill(self, codes: jax.Array, condition: JukeboxCondition) -> list[kv_cache.KVCache]:
        """Caches after the codes [B, context] of a whole window; what is not known yet gets overwritten by `step`."""
        return self.stack.prefill(self._inputs(codes, condition)[0], condition.encoded)

    def step(
        self,
        previous: jax.Array,
        condition: JukeboxCondition,
        caches: list[kv_cache.KVCache],
        position: jax.Array,
    ) -> tuple[jax.Array, list[kv_cache.KVCache]]:
        """Logits of one code.

        Args:
          previous: int32 [B], the code before; ignored at position 0.
          condition: of the window.
          caches: from `prefill` or the step before.
          position: int32 scalar, index in the window.

        Returns:
          (logits float32 [B, K], the caches with this position).
        """
        tokens, settings = self.stack.tokens[...], self.config
        first = condition.start if condition.prefix is None else tokens[condition.prefix[:, -1]]
        added = condition.positions[:, position]
        before = jnp.where(position == 0, first, tokens[previous + settings.code_shift])
        place = settings.prefix + position
        x, caches = self.stack.step(before + self.stack.positions[...][place] + added, caches, place)
        return self._predict(x, added)[:, settings.code_shift :], caches

    def _inputs(self, codes: jax.Array, condition: JukeboxCondition) -> tuple[jax.Array, jax.Array]:
        """The stack's input and the conditioning in it, [B, prefix + T, D] each."""
        tokens, added = codes + self.config.code_shift, condition.positions[:, : codes.shape[1]]
        if condition.prefix is not None:
            tokens = jnp.concatenate([condition.prefix, tokens], axis=1)
            added = jnp.pad(added, ((0, 0), (condition.prefix.shape[1], 0), (0, 0)))
        return self.stack.inputs(tokens, condition.start) + added, added

    def _predict(self, x: jax.Array, added: jax.Array) -> jax.Array:
        """The stack's output [..., D] -> logits [..., V] float32; the conditioning counts again unless merged."""
        if self.config.merged:
            return jnp.einsum("...d,vd->...v", x, self.head[...])
        return jnp.einsum("...d,vd->...v", x + added, self.stack.tokens[...])

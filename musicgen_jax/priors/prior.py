"""Autoregressive prior over the codes of one tier."""

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import tables
from musicgen_jax.priors import code_model
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import block, kv_cache, stack


def axis_rules(run: config.PriorTraining) -> rules.AxisRules:
    """Layout of a run on its mesh.

    With `shard_sequence` the residual stream is divided over "tensor" along the codes wherever heads and MLP columns
    are not (Korthikanti et al. 2022, sequence parallelism): norms, residuals and what is kept for the backward pass
    take 1 / tensor of the memory, and each all-reduce becomes a reduce-scatter and an all-gather.
    """
    return rules.AxisRules(residual_sequence="tensor" if run.shard_sequence else None)


class Prior(code_model.CodeModel):
    """p(code_t | codes before t in the window, labels, timing, codes of the tier above).

    The input at position t is the embedding of code t - 1 (a learned start vector at t = 0) plus the conditioning of
    position t; positions are known by relative attention alone.
    """

    causal = True

    def inputs(self, codes: jax.Array, condition: Condition) -> jax.Array:
        """codes [B, T] -> the stack's input [B, T, D]: shifted by one, so that position t has not seen code t."""
        embedded = tables.lookup(self.codes[...].astype(self.dtype), codes[:, :-1], self.rules)
        start = jnp.broadcast_to(self.start[...].astype(self.dtype), (codes.shape[0], 1, embedded.shape[-1]))
        x = jnp.concatenate([start, embedded], axis=1) + condition.added
        return rules.constrain(x, self.rules, ("batch", "residual_sequence", "residual"))

    def prefill(
        self,
        codes: jax.Array,
        condition: Condition,
        kept: stack.Kept = lambda cache: cache,
    ) -> list[kv_cache.LayerCache]:
        """Caches after the codes [B, T] of a whole window; rows of codes that are not known yet get overwritten.

        Args:
          codes: int32 [B, T].
          condition: of these positions.
          kept: what to keep of a layer's cache of the window, [B, H, T, D].
        """
        return self.stack.prefill(self.inputs(codes, condition), condition.memory, condition.memory_mask, kept)[1]

    def step(
        self,
        layers: list[block.Block],
        previous: jax.Array,
        condition: Condition,
        caches: list[kv_cache.LayerCache],
        position: jax.Array,
    ) -> tuple[jax.Array, list[kv_cache.LayerCache]]:
        """Logits of one position.

        Args:
          layers: `self.stack.unstacked()`, taken outside the loop.
          previous: int32 [B], the code before; ignored at position 0.
          condition: of this position.
          caches: one a layer.
          position: int32 scalar.

        Returns:
          (logits float32 [B, K], the caches with this position).
        """
        embedded = self.codes[...].astype(self.dtype)[previous]
        x = jnp.where(position == 0, self.start[...].astype(self.dtype), embedded) + condition.added
        x, caches = self.stack.step(layers, x, caches, position)
        return self.predict(x), caches

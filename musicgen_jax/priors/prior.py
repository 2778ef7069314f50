"""Autoregressive prior over the codes of one tier."""

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.conditions.condition import Condition
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
    """p(codes of step s | codes of the steps before s in the window, labels, timing, codes of the tier above).

    The input at step s is the embedding of the codes of step s - 1 (a learned start vector at s = 0) plus the
    conditioning of step s; positions are known by relative attention alone.
    """

    causal = True

    def num_leading(self, batch: dict[str, jax.Array]) -> int:
        """Positions of the stack before the first code of these windows."""
        return self.config.chroma_frames + batch["text"].shape[1] if self.config.melody else 0

    def inputs(self, codes: jax.Array, condition: Condition, num_steps: int | None = None) -> jax.Array:
        """codes [B, T, Q] -> the stack's input [B, S, D]: shifted by one, so that a step has not seen its own codes.

        `num_steps` of them are wanted, None for all. What leads the codes, [B, L, D], stands before them.
        """
        before = self.pattern.placed(codes, -1)[:, :num_steps][:, :-1]
        embedded = self.embedded(before, all_known=self.config.num_codebooks == 1)
        first = self.start[...].sum(axis=0) if self.config.absent_by_codebook else self.start[...]
        start = jnp.broadcast_to(first.astype(self.dtype), (len(codes), 1, embedded.shape[-1]))
        x = jnp.concatenate([start, embedded], axis=1) + condition.added[:, :num_steps]
        if condition.lead is not None:
            x = jnp.concatenate([condition.lead.astype(self.dtype), x], axis=1)
        return rules.constrain(x, self.rules, ("batch", "residual_sequence", "residual"))

    def prefill(
        self,
        codes: jax.Array,
        condition: Condition,
        kept: stack.Kept = lambda cache: cache,
        num_steps: int | None = None,
    ) -> list[kv_cache.LayerCache]:
        """Caches after the codes of a whole window; rows of codes that are not known yet get overwritten.

        Args:
          codes: int32 [B, T, Q].
          condition: of all S steps.
          kept: what to keep of a layer's cache of the window, [B, H, S, D].
          num_steps: of the window's beginning that the caches have; None: all.
        """
        x = self.inputs(codes, condition, num_steps)
        return self.stack.prefill(x, condition.memory, condition.memory_mask, kept)[1]

    def step(
        self,
        layers: list[block.Block],
        previous: jax.Array,
        condition: Condition,
        caches: list[kv_cache.LayerCache],
        position: jax.Array,
    ) -> tuple[jax.Array, list[kv_cache.LayerCache]]:
        """Logits of one step.

        Args:
          layers: `self.stack.unstacked()`, taken outside the loop.
          previous: int32 [B, Q], the codes of the step before, -1 where it has none.
          condition: of this step.
          caches: one a layer.
          position: int32 scalar, of the step.

        Returns:
          (logits float32 [B, Q * K], the caches with this step).
        """
        x = self.embedded(previous) + condition.added
        lead = 0 if condition.lead is None else condition.lead.shape[1]
        x, caches = self.stack.step(layers, x, caches, lead + position)
        return self.predict(x), caches

"""Autoregressive prior over the codes of one tier."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.prior import code_embedding, conditioner
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import block, kv_cache, stack


def axis_rules(run: config.PriorTraining) -> rules.AxisRules:
    """Layout of a run on its mesh.

    With `shard_sequence` the residual stream is divided over "tensor" along the codes wherever heads and MLP columns
    are not (Korthikanti et al. 2022, sequence parallelism): norms, residuals and what is kept for the backward pass
    take 1 / tensor of the memory, and each all-reduce becomes a reduce-scatter and an all-gather.
    """
    return rules.AxisRules(residual_sequence="tensor" if run.shard_sequence else None)


class Prior(nnx.Module):
    """p(code_t | codes before t in the window, labels, timing, codes of the tier above).

    The input at position t is the embedding of code t - 1 (a learned start vector at t = 0) plus the conditioning of
    position t; positions are known by relative attention alone.
    """

    def __init__(
        self,
        model: config.PriorConfig,
        axis_rules: rules.AxisRules | None = None,
        *,
        codebooks: Mapping[str, jax.typing.ArrayLike] = MappingProxyType({}),
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Args:
        model: sizes, labels, tier.
        axis_rules: layout on a mesh; the default rules if None.
        codebooks: tier -> the tokenizer's entries [K, W], which the code embeddings start from; without them (a
          checkpoint will be loaded) they start at random.
        dtype: of activations.
        rngs: initial parameters.
        """
        axis_rules = rules.AxisRules() if axis_rules is None else axis_rules
        width = model.transformer.width
        self.config, self.rules, self.dtype = model, axis_rules, dtype
        # As large as the conditioning of the tier above, which arrives normalised: else it would drown the past.
        table = code_embedding.initial(codebooks.get(model.tier), model.num_codes, width, rngs)
        self.codes = nnx.Param(table, out_sharding=("codes", "width"))
        self.start = nnx.Param(jax.random.normal(rngs.params(), (width,)), out_sharding=("width",))
        self.labels = conditioner.LabelConditioner(model, axis_rules, rngs=rngs)
        if model.upsampling:
            self.upsampler = conditioner.UpsamplerConditioner(model, codebooks=codebooks, dtype=dtype, rngs=rngs)
        max_distance = model.transformer.max_distance or model.context
        self.stack = stack.Stack(model.transformer, max_distance, axis_rules, dtype=dtype, rngs=rngs)
        # Likewise from the codebook: neighbouring entries start with similar logits.
        self.logits = nnx.Param(
            0.02 * code_embedding.initial(codebooks.get(model.tier), model.num_codes, width, rngs).T,
            out_sharding=("width", "codes"),
        )
        self.bias = nnx.Param(jnp.zeros((model.num_codes,)), out_sharding=("codes",))

    def condition(self, batch: dict[str, jax.Array]) -> jax.Array:
        """Conditioning of every position, [B, T, D]; see `code_dataset.Windows.window` for the arrays of a batch."""
        x = self.labels(batch["genre"], batch["artist"], batch["start"], batch["length"]).astype(self.dtype)
        if self.config.upsampling:
            x = x + self.upsampler(batch["above"])
        return x

    def inputs(self, codes: jax.Array, condition: jax.Array) -> jax.Array:
        """codes [B, T] -> the stack's input [B, T, D]: shifted by one, so that position t has not seen code t."""
        embedded = conditioner.lookup(self.codes[...].astype(self.dtype), codes[:, :-1], self.rules)
        start = jnp.broadcast_to(self.start[...].astype(self.dtype), (codes.shape[0], 1, embedded.shape[-1]))
        x = jnp.concatenate([start, embedded], axis=1) + condition
        return rules.constrain(x, self.rules, ("batch", "residual_sequence", "residual"))

    def __call__(self, batch: dict[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        """Logits [B, T, K] float32 of a window given its own codes and conditioning; `key` turns dropout on."""
        return self.predictor()(self.hidden(batch, key))

    def hidden(self, batch: dict[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        """What `__call__` predicts from: the stack's output [B, T, D]."""
        return self.stack(self.inputs(batch["codes"], self.condition(batch)), key)

    def prefill(self, codes: jax.Array, condition: jax.Array) -> list[kv_cache.KVCache]:
        """Caches after the codes [B, T] of a whole window; rows of codes that are not known yet get overwritten."""
        _, caches = self.stack.prefill(self.inputs(codes, condition))
        return kv_cache.unstacked(caches, self.config.transformer.num_layers)

    def step(
        self,
        layers: list[block.Block],
        previous: jax.Array,
        condition: jax.Array,
        caches: list[kv_cache.KVCache],
        position: jax.Array,
    ) -> tuple[jax.Array, list[kv_cache.KVCache]]:
        """Logits of one position.

        Args:
          layers: `self.stack.unstacked()`, taken outside the loop.
          previous: int32 [B], the code before; ignored at position 0.
          condition: [B, D] of this position.
          caches: one a layer.
          position: int32 scalar.

        Returns:
          (logits float32 [B, K], the caches with this position).
        """
        embedded = self.codes[...].astype(self.dtype)[previous]
        x = jnp.where(position == 0, self.start[...].astype(self.dtype), embedded) + condition
        x, caches = self.stack.step(layers, x, caches, position)
        return self.predict(x), caches

    def predict(self, x: jax.Array) -> jax.Array:
        """The stack's output [..., D] -> logits [..., K] float32."""
        return self._predict(x, self.logits[...])

    def predictor(self) -> Callable[[jax.Array], jax.Array]:
        """`predict` for [B, T, D] on a mesh: it collects the table now, and not at every turn of a loop."""
        table = rules.constrain(self.logits[...], self.rules, ("residual", "codes"))

        def predict(x: jax.Array) -> jax.Array:
            x = rules.constrain(x, self.rules, ("batch", "sequence", "residual"))
            return rules.constrain(self._predict(x, table), self.rules, ("batch", "sequence", "codes"))

        return predict

    def _predict(self, x: jax.Array, table: jax.Array) -> jax.Array:
        logits = jnp.einsum("...d,dk->...k", x, table.astype(self.dtype))
        return logits.astype(jnp.float32) + self.bias[...]

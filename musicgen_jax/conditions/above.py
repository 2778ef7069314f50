"""The codes of the coarser stream."""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions import condition
from musicgen_jax.nn import parameters, resnet, tables
from musicgen_jax.transformer import block, weights


class Above(nnx.Module):
    """Codes of the tier above -> one vector for each code of this tier.

    Embedding, non-causal dilated residual blocks (the whole window above is known before this tier is sampled),
    doubling of the length until the rates agree, projection, norm. The residual blocks are the tokenizer's.
    """

    stream, is_memory = 0xAB0F3, False

    def __init__(
        self,
        model: config.PriorConfig,
        *,
        codebooks: Mapping[str, jax.typing.ArrayLike] = MappingProxyType({}),
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        settings, (doublings, dilations) = model.conditioner, _up_blocks(model)
        entries = codebooks.get(model.above)
        # The codebooks of a tokenizer are of one size and number in all of its streams.
        table = tables.of_codebooks(entries, model.num_codebooks, model.num_codes, settings.width, rngs)
        self.codes = parameters.parameter(table, parameters.EMBEDDING)
        self.stack = resnet.ResidualStack(settings.width, dilations, dtype=dtype, rngs=rngs)
        self.upsampling = nnx.List(
            [resnet.Upsampling(settings.width, settings.width, dtype=dtype, rngs=rngs) for _ in range(doublings)]
        )
        self.project = weights.Linear(settings.width, model.transformer.width, dtype=dtype, rngs=rngs)
        self.norm = parameters.layer(nnx.LayerNorm(model.transformer.width, dtype=dtype, rngs=rngs))
        if model.above_dropout:
            self.no_codes = tables.table(1, model.transformer.width, rngs, std=1.0)  # as large as what it stands for
        self.dtype = dtype

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> condition.Condition:
        """Embeds the codes.

        Args:
          batch: `above` int32 [B, T / upsampling, Q].
          hidden: bool [B], windows that are told a trained vector instead.

        Returns:
          added [B, T, D] in the compute dtype.
        """
        x = self.stack(tables.summed(self.codes[...], batch["above"]).astype(self.dtype))
        for upsampling in self.upsampling:
            x = upsampling(x)
        added = self.norm(self.project(x))
        if hidden is not None:
            added = condition.instead(hidden, self.no_codes[...], added)
        return condition.Condition(added=added)


class PublishedAbove(nnx.Module):
    """The same in a published upsampler: the up-block of the tokenizer's decoder.

    Unlike there, the small dilations come first, and they start again after `dilation_cycle` blocks.
    """

    def __init__(self, model: config.JukeboxPriorConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        settings, width, (doublings, dilations) = model.conditioner, model.transformer.width, _up_blocks(model)
        outputs = [settings.width] * (doublings - 1) + [width]
        scale = settings.depth**-0.5 if model.scaled_residuals else 1.0
        self.codes = tables.table(model.num_codes, width, rngs, model.transformer.init_std)
        self.project = resnet.convolution(width, settings.width, 3, dtype=dtype, rngs=rngs)
        self.stacks = nnx.List(
            [resnet.ResidualStack(settings.width, dilations, scale, dtype=dtype, rngs=rngs) for _ in outputs]
        )
        self.upsampling = nnx.List(
            [resnet.Upsampling(settings.width, size, dtype=dtype, rngs=rngs) for size in outputs]
        )
        self.norm = block.norm(model.transformer, dtype=jnp.float32, rngs=rngs)
        self.dtype = dtype

    def __call__(self, batch: dict[str, jax.Array]) -> condition.Condition:
        """`above` int32 [B, T / upsampling, 1] -> added [B, T, D] float32."""
        x = self.project(self.codes[...][batch["above"][..., 0]].astype(self.dtype))
        for stack, upsampling in zip(self.stacks, self.upsampling, strict=True):
            x = upsampling(stack(x))
        return condition.Condition(self.norm(x))


def _up_blocks(model: config.PriorConfig | config.JukeboxPriorConfig) -> tuple[int, list[int]]:
    """(how often the length doubles, dilations of the residual blocks)."""
    settings, doublings = model.conditioner, model.upsampling.bit_length() - 1
    config.require(2**doublings == model.upsampling, f"model.upsampling={model.upsampling}: must be a power of two")
    return doublings, [settings.dilation_growth ** (r % settings.dilation_cycle) for r in range(settings.depth)]

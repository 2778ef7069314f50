"""The condition `above`: an upsampler is told the codes of the coarser stream."""

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
    """Codes of the stream above -> one vector for each frame of this stream.

    Embedding, non-causal dilated residual blocks (the whole window above is known before this stream is sampled),
    transposed convolutions until the rates agree (`strides`), projection, norm. The residual blocks are the
    tokenizer's.
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
        settings = model.conditioner
        entries = codebooks.get(model.above)
        # The codebooks of a tokenizer are of one size and number in all of its streams.
        table = tables.of_codebooks(entries, model.num_codebooks, model.num_codes, settings.width, rngs)
        self.codes = parameters.parameter(table, parameters.EMBEDDING)
        self.stack = resnet.ResidualStack(settings.width, settings.dilations, dtype=dtype, rngs=rngs)
        self.upsampling = nnx.List(
            [
                resnet.Upsampling(settings.width, settings.width, stride, dtype=dtype, rngs=rngs)
                for stride in strides(model.upsampling)
            ]
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
        settings, width, steps = model.conditioner, model.transformer.width, strides(model.upsampling)
        outputs = [settings.width] * (len(steps) - 1) + [width]
        scale = settings.depth**-0.5 if model.scaled_residuals else 1.0
        self.codes = tables.table(model.num_codes, width, rngs, model.transformer.init_std)
        self.project = resnet.convolution(width, settings.width, 3, dtype=dtype, rngs=rngs)
        self.stacks = nnx.List(
            [resnet.ResidualStack(settings.width, settings.dilations, scale, dtype=dtype, rngs=rngs) for _ in outputs]
        )
        self.upsampling = nnx.List(
            [
                resnet.Upsampling(settings.width, size, stride, dtype=dtype, rngs=rngs)
                for size, stride in zip(outputs, steps, strict=True)
            ]
        )
        self.norm = block.norm(model.transformer, dtype=jnp.float32, rngs=rngs)
        self.dtype = dtype

    def __call__(self, batch: dict[str, jax.Array]) -> condition.Condition:
        """`above` int32 [B, T / upsampling, 1] -> added [B, T, D] float32."""
        x = self.project(self.codes[...][batch["above"][..., 0]].astype(self.dtype))
        for stack, upsampling in zip(self.stacks, self.upsampling, strict=True):
            x = upsampling(stack(x))
        return condition.Condition(self.norm(x))


def strides(upsampling: int) -> tuple[int, ...]:
    """By how much each transposed convolution multiplies the length: the prime factors of `upsampling`, ascending.

    The prime factors, since a convolution's kernel grows with its stride: 4 is (2, 2), and 12 is (2, 2, 3).
    """
    found, divisor = [], 2
    while divisor * divisor <= upsampling:
        if upsampling % divisor:
            divisor += 1
        else:
            found.append(divisor)
            upsampling //= divisor
    return (*found, upsampling) if upsampling > 1 else tuple(found)

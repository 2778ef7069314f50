"""Which quantizer a config means. All have the same methods: encode, decode, codebook, __call__, update.

Codes are [B, T, Q] integers. One kind of one codebook is made as it is; of several, `residual_quantizer` makes a
quantizer of Q codebooks, of which any first Q' decode.
"""

from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import (
    ema_quantizer,
    gradient_quantizer,
    normalized_quantizer,
    residual_quantizer,
    scalar_quantizer,
)

KINDS = {
    "ema": ema_quantizer.EMAQuantizer,
    "gradient": gradient_quantizer.GradientQuantizer,
    "normalized": normalized_quantizer.NormalizedQuantizer,
    "fsq": scalar_quantizer.ScalarQuantizer,
}
Quantizer = (
    ema_quantizer.EMAQuantizer
    | gradient_quantizer.GradientQuantizer
    | normalized_quantizer.NormalizedQuantizer
    | scalar_quantizer.ScalarQuantizer
    | residual_quantizer.ResidualQuantizer
)


def make(quantizer_config: config.QuantizerConfig, *, rngs: nnx.Rngs) -> Quantizer:
    """The quantizer of a config that `QuantizerConfig.validate` lets through."""
    stages = [KINDS[quantizer_config.kind](quantizer_config, rngs=rngs) for _ in range(quantizer_config.num_codebooks)]
    return stages[0] if len(stages) == 1 else residual_quantizer.ResidualQuantizer(quantizer_config, stages)

"""Which quantizer a config means. All have the same methods: encode, decode, codebook, __call__, update."""

from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import ema_quantizer, gradient_quantizer, normalized_quantizer, scalar_quantizer

Quantizer = (
    ema_quantizer.EMAQuantizer
    | gradient_quantizer.GradientQuantizer
    | normalized_quantizer.NormalizedQuantizer
    | scalar_quantizer.ScalarQuantizer
)


def make(quantizer_config: config.QuantizerConfig, *, rngs: nnx.Rngs) -> Quantizer:
    """The quantizer of `quantizer_config.kind`, one of those that `QuantizerConfig.validate` lets through."""
    kind = quantizer_config.kind
    if kind == "ema":
        return ema_quantizer.EMAQuantizer(quantizer_config, rngs=rngs)
    if kind == "gradient":
        return gradient_quantizer.GradientQuantizer(quantizer_config, rngs=rngs)
    if kind == "normalized":
        return normalized_quantizer.NormalizedQuantizer(quantizer_config, rngs=rngs)
    return scalar_quantizer.ScalarQuantizer(quantizer_config, rngs=rngs)

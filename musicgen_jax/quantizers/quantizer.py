"""A quantizer turns the encoder's latent vectors into codes, integers, and codes back into vectors.

Which one is made, `QuantizerConfig.kind` says. All have the same methods:

    encode(latents [B, T, W]) -> codes int32 [B, T, Q]
    decode(codes [B, T, Q'], Q' <= Q) -> latents float32 [B, T, W], what the codes stand for
    codebook() -> float32 [Q, K, W], what each code stands for
    quantizer(latents, key) -> `quantized.Quantized`, for training: codes, latents with a gradient, losses
    update(latents, codes, key) -> metrics, after a training step: changes entries that do not learn by gradient

Q is the number of codebooks, K the number of codes of each, W the width of a latent vector. A kind by itself has one
codebook; where the config asks for more, as many of its kind stand in a `residual_quantizer`.
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
    """The quantizer that a config, already validated, asks for; `rngs` draws its initial entries and projections."""
    stages = [KINDS[quantizer_config.kind](quantizer_config, rngs=rngs) for _ in range(quantizer_config.num_codebooks)]
    return stages[0] if len(stages) == 1 else residual_quantizer.ResidualQuantizer(quantizer_config, stages)

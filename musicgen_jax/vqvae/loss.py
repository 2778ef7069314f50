"""Training objective of the VQ-VAE: every term named, every tier by itself.

The waveform and spectral terms are divided by the energy of the batch they compare, so that quiet and loud data sets
train alike and the two are commensurable: 1 is what silence scores.
"""

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.audio import stft
from musicgen_jax.vqvae import vqvae

# (n_fft, hop length, window length): Jukebox's three resolutions, but with hops that divide the frame (it has 240, 120
# and 50): frames are then slices instead of gathers, and the loss with its gradient runs two and a half times faster.
RESOLUTIONS = ((2048, 256, 1200), (1024, 128, 600), (512, 64, 240))
_EPSILON = 1e-8  # mean-square floor: -80 dB below full scale


def waveform_loss(audio: jax.Array, reconstruction: jax.Array) -> jax.Array:
    """|x - y|^2 / |x|^2 over the global batch; [B, S] each, scalar float32."""
    return jnp.mean((audio - reconstruction) ** 2) / (jnp.mean(audio**2) + _EPSILON)


def spectral_loss(audio: jax.Array, reconstruction: jax.Array) -> jax.Array:
    """Mean over `RESOLUTIONS` of ||S(x)| - |S(y)||^2 / |S(x)|^2, linear magnitudes; scalar float32.

    Resolutions whose window is longer than the clip are left out.
    """
    terms = []
    for n_fft, hop_length, window_length in RESOLUTIONS:
        if n_fft <= audio.shape[-1]:
            target = stft.magnitude(audio, n_fft, hop_length, window_length)
            produced = stft.magnitude(reconstruction, n_fft, hop_length, window_length)
            terms.append(jnp.mean((target - produced) ** 2) / (jnp.mean(target**2) + _EPSILON))
    return sum(terms) / max(len(terms), 1)


def tier_loss(
    model: vqvae.TierVQVAE, audio: jax.Array, settings: config.LossConfig, key: jax.Array, train: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss of one tier and its terms; in training the tier's codebook is updated in place.

    The codebook term of van den Oord et al. 2017 has no gradient here: moving averages minimise it.
    """
    latents = model.encoder(audio)
    quantized = model.quantizer(latents)
    reconstruction = model.decoder(quantized.latents)
    terms = {
        "waveform": waveform_loss(audio, reconstruction),
        "spectral": spectral_loss(audio, reconstruction),
        "commitment": quantized.commitment_loss,
    }
    loss = terms["waveform"] + settings.spectral * terms["spectral"] + settings.commitment * terms["commitment"]
    metrics = (
        terms | {"latent_power": quantized.latent_power} | usage(quantized.codes, model.quantizer.config.num_codes)
    )
    if train:
        metrics |= model.quantizer.update(latents, quantized.codes, key)
    return loss, metrics


def usage(codes: jax.Array, num_codes: int) -> dict[str, jax.Array]:
    """Share of codes in the batch, perplexity exp(H) and number of codes not hit, of the batch's code histogram."""
    counts = jax.ops.segment_sum(jnp.ones(codes.size, jnp.float32), codes.reshape(-1), num_codes)
    shares = counts / codes.size
    entropy = -jnp.sum(jnp.where(shares > 0, shares * jnp.log(jnp.maximum(shares, 1e-20)), 0.0))
    hit = jnp.sum(counts > 0)
    return {"usage": hit / num_codes, "perplexity": jnp.exp(entropy), "dead": num_codes - hit}


def vqvae_loss(
    model: vqvae.VQVAE, audio: jax.Array, settings: config.LossConfig, key: jax.Array, train: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Sum of the tiers' losses and metrics named TIER/TERM; the tiers share nothing but the optimizer.

    Args:
      model: bound module; its codebooks are updated in place when `train` is set.
      audio: [B, S] float32.
      settings: weights of the terms.
      key: restart candidates.
      train: whether to update the codebooks.
    """
    total, metrics = jnp.zeros(()), {}
    for index, tier in enumerate(config.TIERS):
        tier_key = jax.random.fold_in(key, index)
        loss, terms = tier_loss(model.tier(tier), audio, settings, tier_key, train)
        total += loss
        metrics |= {f"{tier}/{name}": value for name, value in terms.items()}
    return total, metrics

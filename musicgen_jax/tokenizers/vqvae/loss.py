"""Training objective of a VQ-VAE: every term has a name, and every tier (stream) a loss of its own.

The waveform and spectral terms are divided by the energy of the batch they compare, or of the training data, so that
quiet and loud data sets train alike and the terms are commensurable: 1 is what silence scores.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.audio import spectral_losses
from musicgen_jax.tokenizers.vqvae import data_statistics, vqvae

Terms = dict[str, jax.Array]
RECONSTRUCTION = ("l1", "l2", "linf", "spectral", "log_spectral", "mel")  # terms that compare waveforms


@dataclasses.dataclass(frozen=True)
class Reference:
    """The audio to reconstruct and what is compared of it, computed once for all tiers.

    Attributes:
      audio: float32 [B, S].
      sample_rate: Hz.
      magnitudes: as `spectral_losses.magnitudes`; empty where no term needs them.
      log_mels: as `spectral_losses.log_mels`; likewise.
      statistics: what the terms are divided by.
    """

    audio: jax.Array
    sample_rate: int
    magnitudes: list[jax.Array]
    log_mels: list[jax.Array]
    statistics: data_statistics.AudioStatistics


SHARES = "code_shares"  # name of an evaluation's metric [Q, K] that `summarize` takes

# (tier, reference, reconstruction) -> (scalar to minimise, its terms).
ReconstructionLoss = Callable[[str, Reference, jax.Array], tuple[jax.Array, Terms]]


def make_reference(
    audio: jax.Array,
    settings: config.LossConfig,
    sample_rate: int,
    statistics: data_statistics.AudioStatistics | None = None,
) -> Reference:
    """What `reconstruction_terms` compares with.

    Args:
      audio: [B, S] float32.
      settings: which terms there are.
      sample_rate: Hz.
      statistics: of the training data; None takes those of this batch.

    Raises:
      UserError: the audio is too short for a term.
    """
    magnitudes = spectral_losses.magnitudes(audio) if settings.spectral or settings.log_spectral else []
    return Reference(
        audio=audio,
        sample_rate=sample_rate,
        magnitudes=magnitudes,
        log_mels=spectral_losses.log_mels(audio, sample_rate) if settings.mel else [],
        statistics=data_statistics.of_audio(audio, magnitudes) if statistics is None else statistics,
    )


def reconstruction_terms(reference: Reference, reconstruction: jax.Array, settings: config.LossConfig) -> Terms:
    """The terms of `RECONSTRUCTION` whose weight is not 0, unweighted scalars; reconstruction: [B, S] float32.

    l1 and l2 are mean absolute and mean squared errors. linf is the mean of the `linf_k` largest squared errors of each
    example (Dhariwal et al. 2020, appendix B.1: it catches what averages hide), of all where the clip is shorter.
    """
    difference = reference.audio - reconstruction
    scale = reference.statistics
    terms = {}
    if settings.l1:
        terms["l1"] = jnp.mean(jnp.abs(difference)) / scale.mean_abs
    if settings.l2:
        terms["l2"] = jnp.mean(difference**2) / scale.mean_square
    if settings.linf:
        largest, _ = jax.lax.top_k(difference**2, min(settings.linf_k, difference.shape[-1]))
        terms["linf"] = jnp.mean(largest) / scale.mean_square
    if settings.spectral or settings.log_spectral:
        produced = spectral_losses.magnitudes(reconstruction)
        if settings.spectral:
            terms["spectral"] = spectral_losses.linear_distance(reference.magnitudes, produced, scale.spectral_powers)
        if settings.log_spectral:
            terms["log_spectral"] = spectral_losses.log_distance(reference.magnitudes, produced, difference.shape[-1])
    if settings.mel:
        produced = spectral_losses.log_mels(reconstruction, reference.sample_rate)
        terms["mel"] = spectral_losses.mel_distance(reference.log_mels, produced)
    return terms


def weighted_sum(terms: Terms, weights: dict[str, float]) -> jax.Array:
    """Sum over `terms` of each times the weight of its name: scalar float32."""
    return sum((weights[name] * value for name, value in terms.items()), jnp.zeros(()))


def tier_loss(
    model: vqvae.TierVQVAE,
    audio: jax.Array,
    settings: config.LossConfig,
    reconstruction_loss: Callable[[jax.Array], tuple[jax.Array, Terms]],
    key: jax.Array,
    train: bool,
) -> tuple[jax.Array, Terms]:
    """Loss of one tier and its metrics; in training the tier's codebook is updated in place.

    Beside the reconstruction: the commitment and codebook terms of van den Oord et al. 2017. A codebook of moving
    averages has no codebook term: the averages minimise it.
    """
    restart_key, noise_key = jax.random.split(key)
    latents = model.encoder(audio)
    quantized = model.quantizer(latents, noise_key if train else None)
    loss, terms = reconstruction_loss(model.reconstruct(quantized.latents, key=noise_key if train else None))
    quantization = {}
    if settings.commitment:
        quantization["commitment"] = quantized.commitment_loss
    if settings.codebook and quantized.codebook_loss is not None:
        quantization["codebook"] = quantized.codebook_loss
    loss += weighted_sum(quantization, dataclasses.asdict(settings))
    shares = code_shares(quantized.codes, model.quantizer.config.num_codes)
    metrics = terms | quantization | {"latent_power": quantized.latent_power} | usage(shares)
    if train:
        metrics |= model.quantizer.update(latents, quantized.codes, restart_key)
    else:
        metrics[SHARES] = shares
    return loss, metrics


def code_shares(codes: jax.Array, num_codes: int) -> jax.Array:
    """How often each code of a codebook occurs among `codes` [..., Q], as a share: float32 [Q, K]."""
    num_codebooks = codes.shape[-1]
    rows = codes + num_codes * jnp.arange(num_codebooks)
    hits = jax.ops.segment_sum(jnp.ones(codes.size, jnp.float32), rows.reshape(-1), num_codebooks * num_codes)
    return hits.reshape(num_codebooks, num_codes) / (codes.size // num_codebooks)


def usage(shares: Any, numeric: Any = jnp) -> dict[str, Any]:
    """Share of codes that are hit, perplexity exp(mean H) and number of codes that are not hit, of shares [Q, K].

    `numeric` is jax.numpy or numpy.
    """
    entropy = -numeric.sum(shares * numeric.log(numeric.where(shares > 0, shares, 1.0))) / len(shares)
    hit = numeric.sum(shares > 0)
    return {"usage": hit / shares.size, "perplexity": numeric.exp(entropy), "dead": shares.size - hit}


def summarize(means: dict[str, Any]) -> dict[str, Any]:
    """Means of metrics over batches, their shares of codes replaced by the usage of all batches' codes together."""
    found = {name: value for name, value in means.items() if not name.endswith(f"/{SHARES}")}
    for name in means.keys() - found.keys():
        tier = name.removesuffix(SHARES)
        found |= {tier + measure: value for measure, value in usage(means[name], np).items()}
    return found


def vqvae_loss(
    model: vqvae.VQVAE,
    audio: jax.Array,
    settings: config.LossConfig,
    key: jax.Array,
    train: bool,
    statistics: data_statistics.AudioStatistics | None = None,
    reconstruction_loss: ReconstructionLoss | None = None,
) -> tuple[jax.Array, Terms]:
    """Sum of the tiers' losses and metrics named TIER/TERM; the tiers share nothing but the optimizer.

    Args:
      model: bound module; its codebooks are updated in place when `train` is set.
      audio: [B, S] float32.
      settings: weights of the terms; a term of weight 0 is neither computed nor logged.
      key: restart candidates, and the noise of a synthesizer.
      train: whether to update the codebooks.
      statistics: of the training data, what the terms are divided by; None takes those of this batch.
      reconstruction_loss: replaces the weighted sum of `reconstruction_terms`.

    Raises:
      UserError: the audio is too short for a term.
    """
    reference = make_reference(audio, settings, model.config.sample_rate, statistics)

    def plain(tier: str, reference: Reference, reconstruction: jax.Array) -> tuple[jax.Array, Terms]:
        terms = reconstruction_terms(reference, reconstruction, settings)
        return weighted_sum(terms, dataclasses.asdict(settings)), terms

    compare = reconstruction_loss or plain
    total, metrics = jnp.zeros(()), {}
    for index, tier in enumerate(model.config.streams):
        tier_key = jax.random.fold_in(key, index)
        to_reference = functools.partial(compare, tier, reference)
        loss, terms = tier_loss(model.tier(tier), audio, settings, to_reference, tier_key, train)
        total += loss
        metrics |= {f"{tier}/{name}": value for name, value in terms.items()}
    return total, metrics

"""Ancestral sampling: top -> middle -> bottom codes, then the decoder."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
import tqdm

from musicgen_jax import config
from musicgen_jax.data import labels
from musicgen_jax.prior import trained
from musicgen_jax.sampling import decode, logits, windows
from musicgen_jax.training import rng

Codes = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Request:
    """What to sample; everything that decides the result.

    Attributes:
      seconds: of each sample; rounded up to a whole code of the top tier.
      num_samples: how many.
      seed: equal requests give equal samples.
      settings: temperature, top_p, top_k.
      genres: names of the priors' vocabulary that the samples take by turns, sample i the name i modulo their number;
        empty for unknown.
      artist: a name of the priors' vocabulary, or "" for unknown.
      hop_fraction: how far each window moves on, as a share of the context.
      total_seconds: length of the piece that the samples are the beginning of, which the priors are told; 0 takes the
        mean length of the training tracks, or `seconds` if that is more.
      batch_size: samples decoded together; it changes the speed, not the result.
    """

    seconds: float
    num_samples: int = 1
    seed: int = 0
    settings: logits.SamplingSettings = dataclasses.field(default_factory=logits.SamplingSettings)
    genres: tuple[str, ...] = ()
    artist: str = ""
    hop_fraction: float = 0.5
    total_seconds: float = 0.0
    batch_size: int = 8

    def genre_of(self, sample: int) -> str:
        """Genre of sample number `sample`, "" for unknown."""
        return self.genres[sample % len(self.genres)] if self.genres else ""

    def validate(
        self, vqvae: config.VQVAEConfig, vqvae_fingerprint: str, priors: dict[str, trained.TrainedPrior]
    ) -> None:
        """Raises ValueError where the request, the tokenizer and the priors do not fit together."""
        config.require(0 < self.seconds < math.inf, f"--seconds={self.seconds}: must be greater than 0, and finite")
        config.require(self.num_samples > 0, f"--num_samples={self.num_samples}: must be at least 1")
        # jax.random.key takes the lower 32 bits of a seed: others would give the samples of some other seed.
        config.require(0 <= self.seed < 2**32, f"--seed={self.seed}: must be from 0 to {2**32 - 1}")
        config.require(self.batch_size > 0, f"--batch_size={self.batch_size}: must be at least 1")
        enough = self.total_seconds == 0 or self.seconds <= self.total_seconds < math.inf
        config.require(enough, f"--total_seconds={self.total_seconds}: must be 0 or at least --seconds={self.seconds}")
        config.require(0 < self.hop_fraction <= 1, f"--hop_fraction={self.hop_fraction}: must be in (0, 1]")
        self.settings.validate()
        for tier, prior in priors.items():
            for genre in self.genres:
                labels.require_known("genre", genre, prior.config.genres)
            labels.require_known("artist", self.artist, prior.config.artists)
            prior.require_tokenizer(vqvae_fingerprint)
            above = config.TIER_ABOVE[tier]
            config.require(
                above is None or above in priors, f"--{tier} needs --{above}: codes come from the tier above"
            )


def sample_codes(vqvae: config.VQVAEConfig, priors: dict[str, trained.TrainedPrior], request: Request) -> Codes:
    """Codes of every tier that has a prior: {tier: int32 [num_samples, T]}, each tier given the one above."""
    num_top = math.ceil(request.seconds * vqvae.sample_rate / vqvae.top.hop_length)
    codes: Codes = {}
    for tier in config.TIERS:
        if tier in priors:
            num_codes = num_top * (vqvae.top.hop_length // vqvae.tier(tier).hop_length)
            codes[tier] = _sample_tier(priors[tier], request, num_codes, codes.get(config.TIER_ABOVE[tier]))
    return codes


def _sample_tier(prior: trained.TrainedPrior, request: Request, num_codes: int, above: np.ndarray | None) -> np.ndarray:
    """int32 [num_samples, num_codes]."""
    sample_window = decode.make_sample_window(prior.functional)
    tier_key = rng.key(request.seed, f"sample/{prior.config.tier}")
    plan = windows.plan(num_codes, prior.config.context, request.hop_fraction, max(prior.config.upsampling, 1))
    codes = np.zeros((request.num_samples, num_codes), np.int32)
    batch_size = min(request.batch_size, request.num_samples)
    total = num_codes * request.num_samples
    with tqdm.tqdm(total=total, unit=" codes", unit_scale=True, desc=f"sample {prior.config.tier}") as progress:
        for first in range(0, request.num_samples, batch_size):
            rows = np.minimum(np.arange(first, first + batch_size), request.num_samples - 1)
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(tier_key, rows)
            for window in plan:
                batch = _window_batch(prior.config, request, window, codes[rows], above, rows)
                settings = request.settings
                sampled = sample_window(
                    prior.weights,
                    batch,
                    window.known,
                    window.stop,
                    keys,
                    window.start,
                    settings.temperature,
                    settings.top_p,
                    settings.top_k,
                )
                codes[rows, window.start : window.start + window.stop] = np.asarray(sampled)[:, : window.stop]
                progress.update((window.stop - window.known) * len(np.unique(rows)))
    return codes


def _window_batch(
    model: config.PriorConfig,
    request: Request,
    window: windows.Window,
    codes: np.ndarray,
    above: np.ndarray | None,
    rows: np.ndarray,
) -> dict[str, np.ndarray]:
    """The arrays of one window for the samples `rows`, as training windows have them."""
    total_seconds = request.total_seconds or max(request.seconds, model.track_seconds)
    full = np.full(len(rows), 1, np.int32)
    batch: dict[str, Any] = {
        "codes": _slice(codes, window.start, model.context),
        "genre": np.array([labels.encode(request.genre_of(row), model.genres) for row in rows], np.int32),
        "artist": full * labels.encode(request.artist, model.artists),
        "start": full * window.start,
        "length": full * round(total_seconds * model.codes_per_second),
    }
    if model.upsampling:
        batch["above"] = _slice(above[rows], window.start // model.upsampling, model.context // model.upsampling)
    return batch


def _slice(codes: np.ndarray, start: int, size: int) -> np.ndarray:
    """codes[:, start : start + size], padded with zeros behind the end."""
    part = codes[:, start : start + size]
    return np.pad(part, ((0, 0), (0, size - part.shape[1])))

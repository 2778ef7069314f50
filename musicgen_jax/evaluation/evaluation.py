"""The whole judgement: tokenizer, priors and samples against held-out tracks -> metrics.json and report.html."""

import dataclasses
import json
import math
import pathlib
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.data import shards
from musicgen_jax.errors import UserError
from musicgen_jax.evaluation import (
    embeddings,
    frechet_distance,
    likelihood,
    prior_likelihood,
    report,
    report_media,
    tokenizer_quality,
)
from musicgen_jax.prior import trained
from musicgen_jax.sampling import output
from musicgen_jax.training import metrics as metrics_lib
from musicgen_jax.vqvae import tokenizer as tokenizer_lib

HELD_OUT = ("test", "validation")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an evaluation looks at.

    Attributes:
      data: folder of prepare_data.
      samples: folder of sample, or "".
      max_seconds: of each held-out track.
      max_codes: held-out codes that each prior is scored on.
      num_clips: held-out tracks to listen to in the report.
    """

    data: str
    samples: str
    max_seconds: float = 60.0
    max_codes: int = 100_000
    num_clips: int = 4

    def validate(self) -> None:
        """Raises UserError where a number is out of range."""
        positive = 0 < self.max_seconds < math.inf
        config.require(positive, f"--max_seconds={self.max_seconds}: must be greater than 0, and finite")
        config.require(self.max_codes >= 1, f"--max_codes={self.max_codes}: must be at least 1")


def evaluate(
    tokenizer: tokenizer_lib.Tokenizer,
    priors: dict[str, trained.TrainedPrior],
    settings: Settings,
    workdirs: dict[str, str],
    out: str,
) -> dict[str, Any]:
    """Writes metrics.json and report.html to the folder `out` and returns the metrics.

    Args:
      tokenizer: the VQ-VAE.
      priors: by tier; may be empty or partial.
      settings: data, samples and bounds.
      workdirs: name -> training workdir, for the loss curves.
      out: the folder.

    Raises:
      UserError: a setting out of range, no held-out split, a prior of another tokenizer, samples too short for FAD.
    """
    settings.validate()
    for prior in priors.values():
        prior.require_tokenizer(tokenizer.fingerprint)
    split = _held_out_split(settings.data)
    info, waveforms = output.read(settings.samples) if settings.samples else ({}, [])
    quality = tokenizer_quality.evaluate_tokenizer(
        tokenizer, settings.data, split, settings.max_seconds, settings.num_clips
    )
    metrics: dict[str, Any] = {"reconstruction": quality.reconstruction, "codebook": quality.codebook, "split": split}
    if priors:
        metrics["prior"] = _score_priors(priors, tokenizer.config, split, settings.max_codes)
    if waveforms:
        metrics["fad"] = _frechet_audio_distance(waveforms, quality.references, tokenizer.config.sample_rate)
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    report.write_report(
        folder / "report.html",
        title="musicgen_jax: from recordings to new music",
        reconstructions=quality.clips,
        samples=_sample_clips(info, waveforms),
        curves={name: metrics_lib.read(pathlib.Path(path) / "metrics.jsonl") for name, path in workdirs.items()},
        metrics=metrics,
        settings=dataclasses.asdict(settings) | {"split": split, "models": workdirs},
    )
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics


def _held_out_split(data: str) -> str:
    names = shards.split_names(data)
    found = next((split for split in HELD_OUT if split in names), None)
    if found is None:
        raise UserError(f"{data} has only the split {', '.join(names)}: evaluation needs at least 3 tracks in all")
    return found


def _score_priors(
    priors: dict[str, trained.TrainedPrior], vqvae: config.VQVAEConfig, split: str, max_codes: int
) -> dict[str, Any]:
    results: dict[str, Any] = {
        tier: prior_likelihood.evaluate_prior(prior, split, max_codes) for tier, prior in priors.items()
    }
    nats = {tier: results[tier]["nats_per_code"] for tier in priors}
    hops = {tier: vqvae.hop_lengths[tier] for tier in priors}
    results["bits_per_second"] = likelihood.bits_per_second(nats, hops, vqvae.sample_rate)
    return results


def _frechet_audio_distance(
    waveforms: list[np.ndarray], references: list[np.ndarray], sample_rate: int
) -> dict[str, Any]:
    sampled = np.concatenate([embeddings.log_mel_statistics(audio, sample_rate) for audio in waveforms])
    held_out = np.concatenate([embeddings.log_mel_statistics(audio, sample_rate) for audio in references])
    distance = frechet_distance.frechet_distance(sampled, held_out)
    return {
        "value": distance.value,
        "embedding": embeddings.NAME,
        "num_frames": distance.num_frames,
        "num_reference_frames": distance.num_reference_frames,
        "clip_seconds": float(np.mean([len(audio) for audio in waveforms])) / sample_rate,
        "num_clips": len(waveforms),
        "note": report.FAD_CAUTION,
    }


def _sample_clips(info: dict[str, Any], waveforms: list[np.ndarray]) -> list[tuple[report_media.Clip, dict[str, Any]]]:
    if not waveforms:
        return []
    request = info["request"]
    chosen = {name: request[name] for name in ("artist", "seed", "seconds", "hop_fraction")}
    chosen |= request["settings"]
    return [
        (
            report_media.Clip(item["file"], audio, info["sample_rate"]),
            {"genre": item["genre"]} | chosen | {"index": item["index"]},
        )
        for item, audio in zip(info["samples"], waveforms, strict=True)
    ]

"""How well a tokenizer reconstructs held-out tracks, tier by tier, and how it uses its codes."""

import dataclasses
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.data import audio_dataset, manifest
from musicgen_jax.evaluation import codebook_usage, reconstruction, report_media
from musicgen_jax.evaluation.score_quality import Performance
from musicgen_jax.runtime import progress_report
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers.tokenizer import Tokenizer

CLIP_SECONDS = 8.0  # of what the report plays


@dataclasses.dataclass
class TokenizerQuality:
    """Figures and sounds of one evaluation.

    Attributes:
      reconstruction: tier -> metrics.
      codebook: tier -> usage, perplexity, dead.
      clips: for the report; "original" and every tier.
      references: the held-out waveforms, float32 [S] each, for FAD.
      performances: those of them that have scores, with the scores.
      absent: name of a metric that cannot be measured on these tracks -> why.
    """

    reconstruction: dict[str, dict[str, Any]]
    codebook: dict[str, dict[str, Any]]
    clips: list[dict[str, report_media.Clip]]
    references: list[np.ndarray]
    performances: list[Performance]
    absent: dict[str, str]


def evaluate_tokenizer(
    tokenizer: Tokenizer, data: str, split: str, max_seconds: float, num_clips: int
) -> TokenizerQuality:
    """Encodes and decodes the tracks of a held-out split.

    Args:
      tokenizer: the model.
      data: folder of prepare_data at the tokenizer's sample rate.
      split: "validation" or "test".
      max_seconds: of each track, from its beginning: bounds time and memory.
      num_clips: tracks whose first seconds go into the report, one of each genre first.
    """
    layout, sample_rate = tokenizer.layout, tokenizer.layout.sample_rate
    audio_dataset.check_sample_rate(data, sample_rate)
    accumulators = {name: reconstruction.ReconstructionAccumulator() for name in layout.names}
    histograms = {one.name: np.zeros((one.num_codebooks, one.num_codes), np.int64) for one in layout.streams}
    players = _players(data, split, num_clips)
    clips, references, performances = [], [], []
    limit = max(round(max_seconds * sample_rate), 1)
    rows = [row for row in manifest.read(data) if row.status == "ok" and row.split == split]
    total = sum(min(row.num_samples, limit) for row in rows) / sample_rate
    with progress_report.Progress("reconstruct", total, "audio-s") as progress:
        for facts, blocks in audio_dataset.read_tracks(data, split):
            audio = np.concatenate(list(blocks))[:limit]
            references.append(audio)
            if (score := Score(facts.get("notes", ()))).notes.size:
                score = score.clipped(len(audio) / sample_rate)
                timbre = facts["labels"].get("genre", config.UNKNOWN_LABEL)
                performances.append(Performance(facts["track_id"], audio, sample_rate, timbre, score))
            sounds = {"original": audio}
            for tier, codes in tokenizer.encode(iter([audio])).items():
                histograms[tier] += codebook_usage.histograms([codes], layout.stream(tier).num_codes)
                sounds[tier] = tokenizer.decode(codes, tier)[: len(audio)]
                accumulators[tier].add(audio, sounds[tier])
            if facts["track_id"] in players:
                clips.append(_clips(_titled(facts), sounds, sample_rate))
            progress.update(len(audio) / sample_rate)
    measured = {tier: accumulators[tier].result() for tier in layout.names}
    silent = "all held-out tracks are silent: nothing compares with that"
    ratios = ("spectral_convergence_db", "si_sdr_db")
    return TokenizerQuality(
        reconstruction=measured,
        codebook={tier: codebook_usage.usage_statistics(histograms[tier]) for tier in layout.names},
        clips=clips,
        references=references,
        performances=performances,
        absent={
            f"reconstruction.{tier}.{name}": silent
            for tier, found in measured.items()
            for name in ratios
            if name not in found
        },
    )


def _titled(facts: dict[str, Any]) -> str:
    """A track's name with what is known of it."""
    known = [value for value in facts["labels"].values() if value not in ("", config.UNKNOWN_LABEL)]
    return f"{facts['track_id']} ({', '.join(known)})" if known else facts["track_id"]


def _clips(name: str, sounds: dict[str, np.ndarray], sample_rate: int) -> dict[str, report_media.Clip]:
    end = round(CLIP_SECONDS * sample_rate)
    return {key: report_media.Clip(name, sound[:end], sample_rate) for key, sound in sounds.items()}


def _players(data: str, split: str, num_clips: int) -> set[str]:
    """Track ids to listen to: the first of each genre, where genres are known, then the others in order."""
    rows = [row for row in manifest.read(data) if row.status == "ok" and row.split == split]
    seen: set[str] = set()
    first, rest = [], []
    for row in rows:
        (rest if row.labels.get("genre") in seen else first).append(row.track_id)
        seen.add(row.labels.get("genre"))
    return set((first + rest)[:num_clips])

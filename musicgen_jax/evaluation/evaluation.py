"""The whole judgement: tokenizer, priors and samples against held-out tracks -> metrics.json and report.html."""

import dataclasses
import datetime
import functools
import math
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

import musicgen_jax
from musicgen_jax import config
from musicgen_jax.codes.layout import Layout
from musicgen_jax.evaluation import (
    composer_likelihood,
    inputs,
    likelihood,
    paired,
    prior_likelihood,
    recordings,
    report,
    report_contents,
    report_media,
    sample_quality,
    score_quality,
    structure,
    tokenizer_quality,
    transcribed_notes,
)
from musicgen_jax.evaluation.embeddings import choice
from musicgen_jax.evaluation.samples import Sample
from musicgen_jax.priors import trained
from musicgen_jax.runtime import console, files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import transcription
from musicgen_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of an evaluation.

    Attributes:
      data: folder of prepare_data.
      samples: folder of sample, or of audio files, or "".
      references: folder of the recordings that samples of the same names are to sound like, or "".
      codes: folder of extract_codes, or "" for those that each prior was trained on.
      max_seconds: of each held-out track.
      max_codes: held-out codes that the finest prior is scored on; the others are on the same seconds of audio. 0: all.
      num_clips: held-out tracks to listen to in the report.
      transcribe: network that finds the notes of samples in any timbre, or "".
      embeddings: in which samples are compared with recordings, as `embeddings.choice` reads them.
      statistics: folder `embeddings` of an earlier evaluation, whose recordings are compared with in place of the
        held-out ones, or "".
    """

    data: str
    samples: str
    codes: str = ""
    max_seconds: float = 60.0
    max_codes: int = 200_000
    num_clips: int = 4
    transcribe: str = ""
    embeddings: tuple[str, ...] = (choice.DEFAULT,)
    references: str = ""
    statistics: str = ""

    def validate(self) -> None:
        """Raises UserError where a number is out of range."""
        positive = 0 < self.max_seconds < math.inf
        config.require(positive, f"`max_seconds`={self.max_seconds}: must be greater than 0, and finite")
        config.require(self.max_codes >= 0, f"`max_codes`={self.max_codes}: must be at least 1, or 0 for all")
        paired = bool(self.samples) or not self.references
        config.require(paired, f"`references`={self.references}: samples are compared with them: pass `samples` too")


def evaluate(
    tokenizer: Tokenizer,
    priors: Mapping[str, trained.TrainedPrior],
    settings: Settings,
    workdirs: Mapping[str, str],
    out: str,
    steps: Mapping[str, int] | None = None,
    unscored: Mapping[str, str] = MappingProxyType({}),
    composer: trained.TrainedPrior | None = None,
) -> dict[str, Any]:
    """Writes metrics.json and report.html to the folder `out` and returns the metrics.

    What cannot be measured is no error: it is absent, and `absent` has its name and the reason.

    Args:
      tokenizer: the VQ-VAE.
      priors: by tier; may be empty or partial.
      settings: data, samples, codes and bounds.
      workdirs: name -> training workdir, for the loss curves.
      out: the folder.
      steps: name -> training steps of that model, where they are known.
      unscored: stream -> why the model of it is not scored.
      composer: the model of scores, if there is one.

    Raises:
      NotFoundError: a folder is not there, or holds something else.
      UserError: a setting out of range, no held-out split; codes, priors or samples of another tokenizer; codes of
        other audio.
    """
    settings.validate()
    network = transcription.load(settings.transcribe) if settings.transcribe else None
    comparison = sample_quality.prepare(settings.embeddings, tokenizer, settings.statistics, out)
    given = inputs.open_all(
        tokenizer, priors, settings.data, settings.codes, settings.samples, workdirs, composer, settings.references
    )
    folder, samples = inputs.check_out(out), given.folder.samples
    held_out = recordings.HeldOut(settings.data, given.split, settings.max_seconds)
    quality = tokenizer_quality.evaluate_tokenizer(tokenizer, held_out, settings.num_clips)
    absent = quality.absent | given.absent | {f"prior.{name}": reason for name, reason in unscored.items()}
    metrics: dict[str, Any] = {"about": about(steps or {}), "split": given.split}
    metrics |= {"reconstruction": quality.reconstruction, "codebook": quality.codebook}
    if given.priors:
        metrics["prior"] = _score_priors(given.priors, tokenizer.layout, given.split, settings.max_codes, absent)
    if samples:
        _judge_samples(metrics, given, held_out, comparison, absent)
        _judge_scores(metrics, samples, held_out, absent, network)
    _judge_structure(metrics, samples, held_out, absent)
    if composer is not None and given.pieces is not None:
        _judge_composer(metrics, composer, given.pieces, absent)
    metrics["absent"] = absent
    write(folder, metrics, settings, workdirs, quality.clips, samples, given.curves)
    return metrics


def write(
    folder: pathlib.Path,
    metrics: dict[str, Any],
    settings: Settings,
    workdirs: Mapping[str, str],
    reconstructions: list[dict[str, report_media.Clip]],
    samples: list[Sample],
    curves: dict[str, list[dict[str, Any]]],
) -> None:
    """Writes metrics.json, then report.json with its media, then report.html; arguments as of `evaluate` and
    `report_contents.gather`."""
    files.write_json(folder / "metrics.json", metrics)
    shown = dataclasses.asdict(settings) | {"split": metrics["split"], "models": dict(workdirs)}
    contents = report_contents.gather(reconstructions, samples, curves, shown)
    report_contents.save(folder, contents)
    report.write_report(folder / "report.html", "musicgen_jax: from recordings to new music", contents, metrics)


def about(steps: Mapping[str, int]) -> dict[str, Any]:
    """Version, date, hardware and training steps, for the metrics' `about`."""
    return {
        "version": musicgen_jax.__version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hardware": console.describe_devices(),
        "training_steps": dict(steps),
    }


def _score_priors(
    priors: dict[str, trained.TrainedPrior],
    layout: Layout,
    split: str,
    max_codes: int,
    absent: dict[str, str],
) -> dict[str, Any]:
    """The metrics `prior`; adds to `absent`."""
    results: dict[str, Any]
    results, failed = prior_likelihood.evaluate_priors(priors, split, max_codes)
    absent |= {f"prior.{tier}.nats_per_code": reason for tier, reason in failed.items()}
    missing = [name for name in layout.names if name not in priors]
    if missing:
        absent["prior.bits_per_second"] = f"there is no {' and no '.join(missing)} prior: only all tiers make the music"
    elif failed:
        absent["prior.bits_per_second"] = f"{' and '.join(failed)} cannot be scored: only all tiers make the music"
    else:
        # A model of two channels has twice the codes that the layout knows of a frame.
        times = {tier: prior.config.num_codebooks / layout.stream(tier).num_codebooks for tier, prior in priors.items()}
        nats = {tier: results[tier]["nats_per_code"] * times[tier] for tier in priors}
        results["bits_per_second"] = likelihood.bits_per_second(nats, layout)
    return results


def _judge_samples(
    metrics: dict[str, Any],
    given: inputs.Inputs,
    held_out: recordings.HeldOut,
    comparison: sample_quality.Comparison,
    absent: dict[str, str],
) -> None:
    """Adds `samples` and the distances to the metrics, or the reason to `absent`."""
    waveforms = _waveforms(given.folder.samples)
    metrics["samples"] = {"num_samples": len(waveforms), "num_left_out": len(given.folder.left_out)}
    metrics["samples"]["notes"] = given.folder.notes
    if given.references:
        metrics["samples"]["reconstruction"], reasons = paired.compare(
            waveforms, given.references, held_out.sample_rate
        )
        absent |= {f"samples.reconstruction.{name}": reason for name, reason in reasons.items()}
    found, without = sample_quality.distances(waveforms, held_out.waveforms.values(), held_out.sample_rate, comparison)
    metrics |= found
    absent |= without


def _waveforms(samples: list[Sample]) -> recordings.Lazy[np.ndarray]:
    """Name -> float32 [S], of each sample."""
    return recordings.Lazy({one.sound.name: functools.partial(_audio, one) for one in samples})


def _audio(one: Sample) -> np.ndarray:
    return one.clip.audio


def _judge_structure(
    metrics: dict[str, Any], samples: list[Sample], held_out: recordings.HeldOut, absent: dict[str, str]
) -> None:
    """Adds `structure`, of the held-out recordings as far as they are no longer than the samples, and of these."""
    rate = held_out.sample_rate
    limit = max((round(one.sound.seconds * rate) for one in samples), default=None)
    beginnings = {
        name: functools.partial(lambda index: held_out.audio(index)[:limit], index)
        for index, name in enumerate(held_out.names)
    }
    sides = {"held_out": recordings.Lazy(beginnings)} | ({"samples": _waveforms(samples)} if samples else {})
    metrics["structure"] = {}
    for side, clips in sides.items():
        metrics["structure"][side], reasons = structure.of_clips(clips, rate)
        absent |= {f"structure.{side}.{name}": reason for name, reason in reasons.items()}


def _judge_composer(
    metrics: dict[str, Any],
    composer: trained.TrainedPrior,
    pieces: composer_likelihood.Pieces,
    absent: dict[str, str],
) -> None:
    """Adds the composer's figures to the metrics' `score`, or the reason to `absent`."""
    try:
        metrics["score"] = metrics.get("score", {}) | composer_likelihood.evaluate_composer(composer, pieces)
    except UserError as error:
        absent["score.nats_per_note"] = str(error)


def _judge_scores(
    metrics: dict[str, Any],
    samples: list[Sample],
    held_out: recordings.HeldOut,
    absent: dict[str, str],
    network: transcription.Network | None,
) -> None:
    """Adds `score` to the metrics where a sample has a score, and to `absent` what cannot be told of it."""
    performed = recordings.Lazy(
        {one.sound.name: functools.partial(_performance, one) for one in samples if one.score is not None}
    )
    if not performed:
        return
    references = held_out.performances
    try:
        metrics["score"], without = score_quality.judge(performed.values(), references.values())
        if network is not None:
            metrics["score"] |= transcribed_notes.judge(performed.values(), references.values(), network)
    except UserError as error:
        without = {"score.note_f1": str(error)}
    absent.update(without)


def _performance(one: Sample) -> score_quality.Performance:
    clip = one.clip
    return score_quality.Performance(clip.name, clip.audio, clip.sample_rate, one.timbre, one.score)

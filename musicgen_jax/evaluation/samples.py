"""A folder of samples as an evaluation looks at it: sound, settings, score, and what is wrong with the signal."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.evaluation import report_media
from musicgen_jax.runtime import records
from musicgen_jax.sampling import output
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One piece that was sampled.

    Attributes:
      clip: its sound.
      settings: what it was sampled with.
      timbre: the genre that was asked for; of the synthesizer's data sets, the timbre.
      score: what it performs; None where it was told none.
      flags: what `audio.signal_checks` found wrong with it.
    """

    clip: report_media.Clip
    settings: dict[str, Any]
    timbre: str = config.UNKNOWN_LABEL
    score: Score | None = None
    flags: tuple[str, ...] = ()


def read_samples(folder: str, tokenizer: Tokenizer) -> list[Sample]:
    """All samples of a folder that `sample` wrote.

    Raises:
      NotFoundError: no complete sampling run there.
      UserError: samples of another tokenizer; samples.json or a score is damaged.
    """
    info, waveforms = output.read(folder)
    own, rate = tokenizer.layout.fingerprint, tokenizer.layout.sample_rate
    made_with = info.get("vqvae_fingerprint", own)
    config.require(
        made_with == own and info["sample_rate"] == rate,
        f"`samples`={folder} were sampled with VQ-VAE {made_with} at {info['sample_rate']} Hz, but `vqvae` is {own} at "
        f"{rate} Hz: pass the one that they were sampled with",
    )
    return _described(folder, info, waveforms)


def read_composed(folder: str) -> list[Sample]:
    """All scores of a folder that a composer wrote, as the synthesizer plays them.

    Raises:
      NotFoundError: no complete sampling run there.
      UserError: samples of audio; samples.json or a score is damaged.
    """
    info, waveforms = output.read(folder)
    composed = info.get("decoded_tier") == config.STREAM and all("score" in item for item in info["samples"])
    config.require(
        composed, f"`samples`={folder} are no composed scores: pass `vqvae`, the tokenizer that they were sampled with"
    )
    return _described(folder, info, waveforms)


def _described(folder: str, info: dict[str, Any], waveforms: list[np.ndarray]) -> list[Sample]:
    """Samples with what samples.json says of them."""
    where = f"{folder}/{output.INFO_NAME}"
    request = records.check(dict[str, Any], info.get("request"), f"{where}: request")
    chosen = {name: request[name] for name in ("artist", "seed", "seconds", "hop_fraction") if name in request}
    chosen |= records.check(dict[str, Any], request.get("settings", {}), f"{where}: request.settings")
    found = []
    for index, (item, audio) in enumerate(zip(info["samples"], waveforms, strict=True)):
        genre = records.check(str, item.get("genre", config.UNKNOWN_LABEL), f"{where}: samples[{index}].genre")
        flags = records.check(tuple[str, ...], item.get("flags", []), f"{where}: samples[{index}].flags")
        labels = records.check(dict[str, str], item.get("labels", {}), f"{where}: samples[{index}].labels")
        settings = {"genre": genre} | labels | chosen | {"index": item.get("index", index)}
        clip = report_media.Clip(item["file"], audio, info["sample_rate"])
        found.append(Sample(clip, settings, genre, _score(folder, item, f"{where}: samples[{index}].score"), flags))
    return found


def _score(folder: str, item: dict[str, Any], where: str) -> Score | None:
    if "score" not in item:
        return None
    name = records.check(str, item["score"], where)
    beside = pathlib.PurePath(name).name == name and (pathlib.Path(folder) / name).is_file()
    config.require(beside, f"{where} is {name!r}, which is no file beside it")
    return midi.read(pathlib.Path(folder) / name, may_be_empty=True)  # of a rest nothing is performed

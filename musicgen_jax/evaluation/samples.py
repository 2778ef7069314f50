"""A folder of samples as an evaluation looks at it: sound, settings, score, and what is wrong with the signal."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.audio import signal_checks
from musicgen_jax.data import audio_io
from musicgen_jax.evaluation import report_media
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.sampling import output
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class FileClip:
    """A sound that stays in its file until it is looked at.

    Attributes:
      name: what a reader calls it.
      path: of the file.
      sample_rate: Hz, to which it is resampled.
      num_samples: at that rate.
    """

    name: str
    path: pathlib.Path
    sample_rate: int
    num_samples: int

    @property
    def clip(self) -> report_media.Clip:
        """Read from the file, mono."""
        return report_media.Clip(self.name, audio_io.read_audio(self.path, self.sample_rate), self.sample_rate)

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One piece that was sampled.

    Attributes:
      sound: a clip, or the file that has it.
      settings: what it was sampled with.
      timbre: the genre that was asked for; of the synthesizer's data sets, the timbre.
      score: what it performs; None where it was told none.
      flags: what `audio.signal_checks` found wrong with it.
    """

    sound: report_media.Clip | FileClip
    settings: dict[str, Any]
    timbre: str = config.UNKNOWN_LABEL
    score: Score | None = None
    flags: tuple[str, ...] = ()

    @property
    def clip(self) -> report_media.Clip:
        """Its sound; one that lies in a file is read each time."""
        return self.sound.clip if isinstance(self.sound, FileClip) else self.sound


@dataclasses.dataclass(frozen=True)
class Folder:
    """What is in a folder of samples.

    Attributes:
      samples: those that can be judged.
      left_out: file -> why it cannot.
      notes: file -> what is to be known of it.
    """

    samples: list[Sample]
    left_out: dict[str, str]
    notes: dict[str, str]


def read_samples(folder: str, tokenizer: Tokenizer) -> Folder:
    """The samples of a folder that `sample` wrote, or the audio files of any other.

    A file that is damaged, empty or not finite costs itself alone; one at another rate is resampled, which is noted,
    and so is a folder without samples.json: it is half written, or by another program.

    Raises:
      NotFoundError: no such folder, or no audio file in it.
      UserError: samples of another tokenizer; samples.json or a score is damaged; no file can be judged.
    """
    own, rate = tokenizer.layout.fingerprint, tokenizer.layout.sample_rate
    try:
        info, _ = output.read_info(folder)
    except NotFoundError as error:
        found = _any_audio(folder, rate, error)
    else:
        made_with = info.get("vqvae_fingerprint", own)
        config.require(
            made_with == own and info["sample_rate"] == rate,
            f"`samples`={folder} were sampled with VQ-VAE {made_with} at {info['sample_rate']} Hz, but `vqvae` is "
            f"{own} at {rate} Hz: pass the one that they were sampled with",
        )
        found = _described(folder, info)
    if not found.samples:
        first, reason = next(iter(found.left_out.items()), ("samples.json", "it names no sample"))
        raise UserError(f"`samples`={folder}: nothing in it can be judged; {first}: {reason}")
    return found


def read_composed(folder: str) -> list[Sample]:
    """All scores of a folder that a composer wrote, as the synthesizer plays them.

    Raises:
      NotFoundError: no complete sampling run there.
      UserError: samples of audio; samples.json, a score or its sound is damaged.
    """
    info, _ = output.read_info(folder)
    composed = info.get("decoded_tier") == config.STREAM and all("score" in item for item in info["samples"])
    config.require(
        composed, f"`samples`={folder} are no composed scores: pass `vqvae`, the tokenizer that they were sampled with"
    )
    found = _described(folder, info)
    for name, reason in found.left_out.items():
        raise UserError(f"{folder}/{name}: {reason}")
    return found.samples


def _any_audio(folder: str, sample_rate: int, error: NotFoundError) -> Folder:
    """The audio files of a folder without samples.json, by name."""
    place = pathlib.Path(folder)
    paths = (
        sorted(path for path in place.iterdir() if path.suffix.lower() in audio_io.EXTENSIONS) if place.is_dir() else []
    )
    if not paths:
        raise error
    samples, left_out, notes = [], {}, {}
    notes[output.INFO_NAME] = (
        f"there is none in {files.describe_path(folder)}, so sample has not finished it, or it is of another program: "
        f"its {len(paths)} audio files are judged, without their settings and scores; run the same sample again to "
        "finish it"
    )
    for index, path in enumerate(paths):
        try:
            clip, flags = _checked(path, sample_rate, notes)
        except UserError as unfit:
            left_out[path.name] = str(unfit)
        else:
            samples.append(Sample(clip, {"index": index}, flags=flags))
    return Folder(samples, left_out, notes)


def _described(folder: str, info: dict[str, Any]) -> Folder:
    """Samples with what samples.json says of them."""
    where = f"{folder}/{output.INFO_NAME}"
    request = records.check(dict[str, Any], info.get("request"), f"{where}: request")
    chosen = {name: request[name] for name in ("artist", "seed", "seconds", "hop_fraction") if name in request}
    chosen |= records.check(dict[str, Any], request.get("settings", {}), f"{where}: request.settings")
    samples, left_out, notes = [], {}, {}
    names = [item["file"] for item in info["samples"]]
    for name in names:
        config.require(names.count(name) == 1, f"{where} names {name} {names.count(name)} times: sample again")
    for index, item in enumerate(info["samples"]):
        genre = records.check(str, item.get("genre", config.UNKNOWN_LABEL), f"{where}: samples[{index}].genre")
        labels = records.check(dict[str, str], item.get("labels", {}), f"{where}: samples[{index}].labels")
        settings = {"genre": genre} | labels | chosen | {"index": item.get("index", index)}
        score = _score(folder, item, f"{where}: samples[{index}].score")
        told = records.check(tuple[str, ...], item.get("flags", []), f"{where}: samples[{index}].flags")
        try:
            clip, flags = _checked(pathlib.Path(folder, item["file"]), info["sample_rate"], notes)
        except (UserError, NotFoundError) as error:
            left_out[item["file"]] = str(error)
        else:
            samples.append(Sample(clip, settings, genre, score, told if "flags" in item else flags))
    return Folder(samples, left_out, notes)


def _checked(path: pathlib.Path, sample_rate: int, notes: dict[str, str]) -> tuple[FileClip, tuple[str, ...]]:
    """A file's sound, and what is wrong with the signal; adds to the notes.

    Raises:
      NotFoundError: there is no such file.
      UserError: it cannot be decoded, is empty, or has samples that are not finite.
    """
    with audio_io.open_audio(path) as file:
        found = file.sample_rate
        blocks = list(audio_io.mono_blocks(file, sample_rate))
    audio = np.concatenate([np.zeros(0, np.float32), *blocks])
    config.require(audio.size > 0, f"{path.name} has no samples: sample it again")
    wrong = np.count_nonzero(~np.isfinite(audio))
    config.require(
        not wrong, f"{wrong} of its {audio.size} samples are not finite: the model diverged; sample it again"
    )
    if found != sample_rate:
        notes[path.name] = f"is at {found} Hz, and is judged at {sample_rate} Hz, resampled"
    return FileClip(path.name, path, sample_rate, audio.size), signal_checks.check(audio, sample_rate).flags


def _score(folder: str, item: dict[str, Any], where: str) -> Score | None:
    if "score" not in item:
        return None
    name = records.check(str, item["score"], where)
    beside = pathlib.PurePath(name).name == name and (pathlib.Path(folder) / name).is_file()
    config.require(beside, f"{where} is {name!r}, which is no file beside it")
    return midi.read(pathlib.Path(folder) / name, may_be_empty=True)  # of a rest nothing is performed

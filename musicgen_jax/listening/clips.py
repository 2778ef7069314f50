"""The clips of the systems: found by equal names, read whole, and refused where no fair comparison is possible."""

import collections
import pathlib
from collections.abc import Mapping

import numpy as np

from musicgen_jax.data import audio_io, loudness
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

MIN_SECONDS = 1.0  # three beeps have room in it, and loudness a few blocks
MAX_TRIM_SECONDS = 0.1  # by which systems that decode in frames may differ in length


def find(folders: Mapping[str, str]) -> dict[str, dict[str, pathlib.Path]]:
    """The clips of each item, sorted by name.

    Args:
      folders: system, or "reference" -> its folder; subfolders are not searched.

    Returns:
      {item: {system: path}}; an item's name is that of its files, without their ending.

    Raises:
      UserError: a folder has no clips, two of one name, or others than the first folder.
    """
    found = {system: _in_folder(system, folder) for system, folder in folders.items()}
    first, *others = found
    for other in others:
        for has, lacks in ((first, other), (other, first)):
            if missing := sorted(found[has].keys() - found[lacks].keys()):
                shown = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
                raise UserError(
                    f"{folders[lacks]} lacks {len(missing)} clips that {folders[has]} has ({shown}): clips are "
                    "compared by equal file names; add them, or remove the others"
                )
    return {item: {system: clips[item] for system, clips in found.items()} for item in sorted(found[first])}


def _in_folder(system: str, folder: str) -> dict[str, pathlib.Path]:
    """{name without ending: path} of a system's clips."""
    path = files.local_path(folder, "systems")
    if not path.is_dir():
        raise UserError(f"{system}: {folder} is no folder: pass one with its wav, flac, ogg or mp3 files")
    paths = [one for one in sorted(path.iterdir()) if one.suffix.lower() in audio_io.EXTENSIONS and one.is_file()]
    if not paths:
        raise UserError(f"{system}: {folder} has no wav, flac, ogg or mp3 files (subfolders are not searched)")
    counts = collections.Counter(one.stem for one in paths)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise UserError(f"{system}: {folder} has two files named {twice[0]}: keep one of them")
    return {one.stem: one for one in paths}


def require_fit(items: Mapping[str, Mapping[str, pathlib.Path]]) -> tuple[int, int]:
    """(sample rate in Hz, channels) of all clips, by their headers alone.

    Raises:
      UserError: they differ between clips, or are such that loudness cannot be measured; a file is no audio.
    """
    rates: dict[int, str] = {}
    channels: dict[int, str] = {}
    for path in (path for clips in items.values() for path in clips.values()):
        with audio_io.open_audio(path) as file:
            rates.setdefault(file.sample_rate, file.name)
            channels.setdefault(file.channels, file.name)
    for what, values, remedy in (
        ("Hz", rates, "resample them to one rate, the same way for all systems"),
        ("channels", channels, "mix all of them down, or none"),
    ):
        if len(values) > 1:
            (one, name), (other, other_name), *_ = values.items()
            raise UserError(f"{name} has {one} {what} and {other_name} {other}: {remedy}")
    (rate,), (count,) = rates, channels
    if rate < loudness.MIN_SAMPLE_RATE:
        raise UserError(f"the clips have {rate} Hz: loudness is measured from {loudness.MIN_SAMPLE_RATE} Hz on")
    return rate, count


def read_item(clips: Mapping[str, pathlib.Path], sample_rate: int, max_seconds: float) -> dict[str, np.ndarray]:
    """The clips of an item, cut to the shortest: float32 [S, C] each, finite, none of them silent.

    Args:
      clips: system -> path.
      sample_rate: Hz of all of them.
      max_seconds: the longest that is taken.

    Raises:
      UserError: names the clip, what is wrong with it, and what to do.
    """
    audio = {system: _read(path, sample_rate, max_seconds) for system, path in clips.items()}
    shortest = min(audio, key=lambda system: len(audio[system]))
    longest = max(audio, key=lambda system: len(audio[system]))
    num_samples = len(audio[shortest])
    if len(audio[longest]) - num_samples > MAX_TRIM_SECONDS * sample_rate:
        lengths = [len(audio[system]) / sample_rate for system in (longest, shortest)]
        raise UserError(
            f"{files.describe_path(clips[longest])} has {lengths[0]:.2f} s and {files.describe_path(clips[shortest])} "
            f"{lengths[1]:.2f} s: cut them to one length, at most {MAX_TRIM_SECONDS} s apart"
        )
    return {system: one[:num_samples] for system, one in audio.items()}


def _read(path: pathlib.Path, sample_rate: int, max_seconds: float) -> np.ndarray:
    """One clip, float32 [S, C]."""
    blocks, total = [], 0
    with audio_io.open_audio(path) as file:
        name = file.name
        for block in file.blocks():
            blocks.append(block)
            total += len(block)
            if total > max_seconds * sample_rate:
                raise UserError(
                    f"{name} is longer than {max_seconds:g} s: cut the clips (ITU-R BS.1534 advises about 10 s), or "
                    "say a larger `max_seconds`"
                )
    if total < MIN_SECONDS * sample_rate:
        raise UserError(f"{name} has {total / sample_rate:.2f} s: a clip needs at least {MIN_SECONDS:g} s")
    audio = np.concatenate(blocks)
    if not np.isfinite(audio).all():
        raise UserError(
            f"{name} has samples that are NaN or infinite: find where they come from, or leave the item out"
        )
    if not audio.any():
        raise UserError(f"{name} is silent: there is nothing to judge; leave the item out of all systems")
    return audio

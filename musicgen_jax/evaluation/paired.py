"""Samples beside the recordings that they are to sound like: those of the same name in another folder."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from musicgen_jax.data import audio_io
from musicgen_jax.evaluation import bootstrap, reconstruction
from musicgen_jax.runtime.errors import NotFoundError, UserError

SAME_SECONDS = 0.1  # by which a sample may be longer or shorter than its recording without a word


def find(names: Sequence[str], folder: str) -> tuple[dict[str, pathlib.Path], dict[str, str]]:
    """The recording of each sample: the audio file of the same name in a folder, whatever the extension.

    Args:
      names: file names of the samples.
      folder: of the recordings.

    Returns:
      Sample -> file, and "samples.reconstruction.SAMPLE" -> why it has none.

    Raises:
      NotFoundError: there is no such folder.
      UserError: no sample has a recording.
    """
    place = pathlib.Path(folder)
    if not place.is_dir():
        raise NotFoundError(f"`references`={folder} is no folder: pass one with audio files of the samples' names")
    there = {path.stem: path for path in sorted(place.iterdir()) if path.suffix.lower() in audio_io.EXTENSIONS}
    stems = {name: pathlib.PurePath(name).stem for name in names}
    found = {name: there[stem] for name, stem in stems.items() if stem in there}
    if not found:
        raise UserError(
            f"`references`={folder}: none of its {len(there)} audio files ({_some(there)}) has the name of a sample "
            f"({_some(names)}): name each recording as the sample that it belongs to"
        )
    alone = {name: f"{folder} has no audio file {stem}.*" for name, stem in stems.items() if stem not in there}
    return found, {f"samples.reconstruction.{name}": reason for name, reason in alone.items()}


def compare(
    samples: Mapping[str, np.ndarray], references: Mapping[str, pathlib.Path], sample_rate: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """`reconstruction.summarize` of the samples that have a recording, and what is absent of it and why.

    Of a pair of different lengths the beginnings are compared.

    Args:
      samples: name -> float [S].
      references: name of a sample -> its recording, resampled to the samples' rate.
      sample_rate: Hz, of the samples.
    """
    rows, absent = [], {}
    for name, path in references.items():
        try:
            reference, audio = audio_io.read_audio(path, sample_rate), samples[name]
            length = min(len(reference), len(audio))
            (measures,) = reconstruction.compare(reference[:length], [audio[:length]], sample_rate)
        except UserError as error:
            absent[name] = str(error)
            continue
        rows.append({bootstrap.TRACK: name} | measures)
        longest = max(len(reference), len(audio))
        if longest - length > SAME_SECONDS * sample_rate:
            absent[f"{name}.rest"] = (
                f"it has {len(audio) / sample_rate:.2f} s, its recording {len(reference) / sample_rate:.2f} s: what is "
                "behind the shorter one's end compares with nothing"
            )
    found = reconstruction.summarize(rows)
    return found, absent | {name: why for name, why in reconstruction.MEASURES.items() if name not in found}


def _some(names: Sequence[str] | Mapping[str, Any]) -> str:
    """The first three names, for a message."""
    return ", ".join(list(names)[:3]) + (", ..." if len(names) > 3 else "") or "none"

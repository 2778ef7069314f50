"""Scores beside recordings: x.mid, or x.midi, is what is played in x.wav."""

import dataclasses
import functools
import os
from collections.abc import Mapping

from musicgen_jax.data import track, workers
from musicgen_jax.runtime import files
from musicgen_jax.scores import midi

KIND = "sidecar"


def find(path: str) -> str:
    """The MIDI file beside a recording; "" where there is none."""
    stem = os.path.splitext(path)[0]
    names = (stem + suffix for known in midi.SUFFIXES for suffix in (known, known.upper()))
    return next(filter(os.path.lexists, names), "")


def with_scores(tracks: Mapping[str, track.Track], num_workers: int) -> list[track.Track]:
    """The tracks of recordings, {file: track}, those that have a side-car with its score.

    Notes last while the sustain pedal is down, as they sound, and end with the recording. A side-car that cannot be
    read, or has no note within the recording, is left out with a warning: the recording stays.
    """
    paths = {path: beside for path in tracks if (beside := find(path))}
    if not paths:
        return list(tracks.values())
    read = functools.partial(midi.read_or_explain, apply_sustain=True)
    found = dict(zip(paths, workers.ordered_map(read, list(paths.values()), num_workers), strict=True))
    scored = []
    for path, item in tracks.items():
        result = found.get(path)
        if isinstance(result, workers.Lost):
            result = f"lost: {result.reason}"
        score = None if result is None or isinstance(result, str) else result.clipped(item.duration)
        if score is not None and score.empty:
            score, result = None, f"no note within the {item.duration:.2f} s of the recording"
        if score is not None:
            item = dataclasses.replace(item, score=score, score_kind=KIND)
        elif result is not None:
            warning = f"side-car left out: {files.describe_path(os.path.basename(paths[path]))}: {result}"
            item = dataclasses.replace(item, warning="; ".join(filter(None, [item.warning, warning])))
        scored.append(item)
    return scored

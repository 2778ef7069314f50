"""Scores beside recordings: x.mid, or x.midi, is what is played in x.wav."""

import dataclasses
import functools
import os
from collections.abc import Mapping

from musicgen_jax.data import track, workers
from musicgen_jax.runtime import files
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

KIND = "sidecar"


def find(path: str) -> str:
    """The MIDI file beside a recording; "" where there is none."""
    stem = os.path.splitext(path)[0]
    names = (stem + suffix for known in midi.SUFFIXES for suffix in (known, known.upper()))
    return next(filter(os.path.lexists, names), "")


def with_scores(tracks: Mapping[str, track.Track], num_workers: int) -> list[track.Track]:
    """The tracks of recordings, {file: track}, those that have a side-car with its score.

    Notes last while the sustain pedal is down, as they sound, and end with the recording. A side-car that cannot be
    read, or has no note within the recording, is left out with a warning, and so are notes behind its end.
    """
    paths = {path: beside for path in tracks if (beside := find(path))}
    if not paths:
        return list(tracks.values())
    read = functools.partial(midi.read_or_explain, apply_sustain=True)
    found = dict(zip(paths, workers.ordered_map(read, list(paths.values()), num_workers), strict=True))
    return [_scored(item, found[path], paths[path]) if path in paths else item for path, item in tracks.items()]


def _scored(item: track.Track, found: Score | str | workers.Lost, beside: str) -> track.Track:
    """A track with what was found in the file beside it, or with the reason why not as a warning."""
    name = files.describe_path(os.path.basename(beside))
    if isinstance(found, workers.Lost):
        return _warned(item, f"side-car left out: {name}: lost: {found.reason}")
    if isinstance(found, str):
        return _warned(item, f"side-car left out: {name}: {found}")
    score = found.clipped(item.duration)
    if score.empty:
        return _warned(item, f"side-car left out: {name}: no note within the {item.duration:.2f} s of the recording")
    scored = dataclasses.replace(item, score=score, score_kind=KIND)
    if late := len(found.notes) - len(score.notes):
        rule = f"{late} of {len(found.notes)} notes begin after the {item.duration:.2f} s of the recording"
        return _warned(scored, f"side-car cut: {name}: {rule}")
    return scored


def _warned(item: track.Track, warning: str) -> track.Track:
    return dataclasses.replace(item, warning="; ".join(filter(None, [item.warning, warning])))

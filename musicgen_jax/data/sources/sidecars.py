"""Beside recordings: x.mid, or x.midi, is what is played in x.wav; x.lrc, or x.txt, is what is sung in it."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence

from musicgen_jax.data import lyrics, track, workers
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

KIND = "sidecar"


def find(path: str, suffixes: Sequence[str] = midi.SUFFIXES) -> str:
    """The file beside a recording that ends in the first of these suffixes that one ends in; "" where there is none."""
    stem = os.path.splitext(path)[0]
    names = (stem + suffix for known in suffixes for suffix in (known, known.upper()))
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


def with_lyrics(tracks: Mapping[str, track.Track], num_workers: int) -> dict[str, track.Track]:
    """The tracks of recordings, {file: track}, with the lyrics beside them: of x.lrc, or where there is none of x.txt.

    A side-car that cannot be read, or has no words within the recording, is left out with a warning, and so are words
    behind its end.
    """
    paths = {path: beside for path in tracks if (beside := find(path, lyrics.SUFFIXES))}
    named = [(beside, tracks[path].duration) for path, beside in paths.items()]
    found = dict(zip(paths, workers.ordered_map(_read_lyrics, named, num_workers if named else 0), strict=True))
    return {path: _sung(item, found[path], paths[path]) if path in paths else item for path, item in tracks.items()}


def _read_lyrics(named: tuple[str, float]) -> tuple[lyrics.Lyrics, str, str] | str:
    """(what is sung, its kind, what is doubtful about it) of (file, seconds of the recording); or why it is unfit."""
    path, seconds = named
    try:
        text, doubt = lyrics.read(path)
        return lyrics.parse(text, seconds), "lrc" if lyrics.has_times(text) else "txt", doubt
    except UserError as error:
        return str(error).removeprefix(f"{files.describe_path(path)}: ")
    except OSError as error:
        return f"unreadable: {error.strerror or error}"


def _sung(item: track.Track, found: tuple[lyrics.Lyrics, str, str] | str | workers.Lost, beside: str) -> track.Track:
    """A track with the lyrics that were found beside it, or with the reason why not as a warning."""
    name = files.describe_path(os.path.basename(beside))
    if isinstance(found, str | workers.Lost):
        reason = found if isinstance(found, str) else f"lost: {found.reason}"
        return _warned(item, f"lyrics left out: {name}: {reason}")
    whole, kind, doubt = found
    heard = whole.within(0, item.duration)
    if not heard.text.strip():
        return _warned(item, f"lyrics left out: {name}: no words within the {item.duration:.2f} s of the recording")
    item = dataclasses.replace(item, lyrics=heard, lyrics_kind=kind)
    item = _warned(item, f"lyrics doubtful: {name}: {doubt}") if doubt else item
    if late := len(whole.text.rstrip()) - len(heard.text.rstrip()):
        rule = f"{late} of {len(whole)} characters begin after the {item.duration:.2f} s of the recording"
        return _warned(item, f"lyrics cut: {name}: {rule}")
    return item


def _warned(item: track.Track, warning: str) -> track.Track:
    return dataclasses.replace(item, warning="; ".join(filter(None, [item.warning, warning])))

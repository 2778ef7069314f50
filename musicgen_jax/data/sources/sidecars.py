"""Beside recordings: x.mid, or x.midi, is what is played in x.wav; x.lrc, or x.txt, is what is sung in it."""

import dataclasses
import os
from collections.abc import Sequence

from musicgen_jax.data import lyrics, track
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi

KIND = "sidecar"


def find(path: str, suffixes: Sequence[str] = midi.SUFFIXES) -> str:
    """The file beside a recording that ends in the first of these suffixes that one ends in; "" where there is none."""
    stem = os.path.splitext(path)[0]
    names = (stem + suffix for known in suffixes for suffix in (known, known.upper()))
    return next(filter(os.path.lexists, names), "")


def kinds(path: str) -> dict[str, str]:
    """The `score_kind` and `lyrics_kind` of the track of a recording, should what lies beside it be fit."""
    score, words = find(path), find(path, lyrics.SUFFIXES)
    return {"score_kind": KIND if score else "", "lyrics_kind": os.path.splitext(words)[1].lower().removeprefix(".")}


def with_score(item: track.Track, kind: str = KIND) -> track.Track:
    """The track of a recording that has been read, with the score beside it, of this kind, if there is one.

    Notes last while the sustain pedal is down, as they sound, and end with the recording. A side-car that cannot be
    read, or has no note within the recording, is left out with a warning, and so are notes behind its end.
    """
    beside = find(item.file)
    item = dataclasses.replace(item, score_kind="")
    if not beside:
        return item
    found, name = midi.read_or_explain(beside, apply_sustain=True), files.describe_path(os.path.basename(beside))
    if isinstance(found, str):
        return item.warned(f"side-car left out: {name}: {found}")
    score = found.clipped(item.duration)
    if score.empty:
        return item.warned(f"side-car left out: {name}: no note within the {item.duration:.2f} s of the recording")
    scored = dataclasses.replace(item, score=score, score_kind=kind)
    if late := len(found.notes) - len(score.notes):
        rule = f"{late} of {len(found.notes)} notes begin after the {item.duration:.2f} s of the recording"
        return scored.warned(f"side-car cut: {name}: {rule}")
    return scored


def with_lyrics(item: track.Track) -> track.Track:
    """The track of a recording that has been read, with the lyrics beside it: of x.lrc, or where there is none of
    x.txt.

    A side-car that cannot be read, or has no words within the recording, is left out with a warning, and so are words
    behind its end.
    """
    beside = find(item.file, lyrics.SUFFIXES)
    item = dataclasses.replace(item, lyrics_kind="")
    if not beside:
        return item
    name = files.describe_path(os.path.basename(beside))
    found = _read_lyrics(beside, item.duration)
    if isinstance(found, str):
        return item.warned(f"lyrics left out: {name}: {found}")
    whole, kind, doubt = found
    heard = whole.within(0, item.duration)
    if not heard.text.strip():
        return item.warned(f"lyrics left out: {name}: no words within the {item.duration:.2f} s of the recording")
    item = dataclasses.replace(item, lyrics=heard, lyrics_kind=kind)
    item = item.warned(f"lyrics doubtful: {name}: {doubt}") if doubt else item
    if late := len(whole.text.rstrip()) - len(heard.text.rstrip()):
        rule = f"{late} of {len(whole)} characters begin after the {item.duration:.2f} s of the recording"
        return item.warned(f"lyrics cut: {name}: {rule}")
    return item


def _read_lyrics(path: str, seconds: float) -> tuple[lyrics.Lyrics, str, str] | str:
    """(what is sung in a recording of so many seconds, its kind, what is doubtful about it); or why it is unfit."""
    try:
        text, doubt = lyrics.read(path)
        return lyrics.parse(text, seconds), "lrc" if lyrics.has_times(text) else "txt", doubt
    except UserError as error:
        return str(error).removeprefix(f"{files.describe_path(path)}: ")
    except OSError as error:
        return f"unreadable: {error.strerror or error}"

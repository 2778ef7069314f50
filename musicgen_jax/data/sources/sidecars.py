"""Beside recordings: x.mid, or x.midi, is what is played in x.wav; x.lrc, or x.txt, is what is sung in it; how it
sounds is told by x.caption.txt, or x.json, or by x.txt where that is said to have no lyrics."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from musicgen_jax.data import captions, lyrics, track
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi

KIND = "sidecar"


def find(path: str, suffixes: Sequence[str] = midi.SUFFIXES) -> str:
    """The file beside a recording that ends in the first of these suffixes that one ends in; "" where there is none."""
    stem = os.path.splitext(path)[0]
    names = (stem + suffix for known in suffixes for suffix in (known, known.upper()))
    return next(filter(os.path.lexists, names), "")


def kinds(path: str, texts_are_captions: bool = False) -> dict[str, Any]:
    """The `score_kind`, `lyrics_kind` and `caption` of the track of a recording, should what lies beside it be fit;
    whether x.txt is a caption, and no lyrics."""
    sung, described = lyrics.SUFFIXES, captions.SUFFIXES
    if texts_are_captions:
        sung, described = (one for one in sung if one != captions.PLAIN), (*described, captions.PLAIN)
    score, words = find(path), find(path, tuple(sung))
    return {
        "score_kind": KIND if score else "",
        "lyrics_kind": os.path.splitext(words)[1].lower().removeprefix("."),
        "caption": captions.Caption(os.path.basename(find(path, described))),
    }


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
    kind = f".{item.lyrics_kind}"
    beside = find(item.file, (kind,)) if kind in lyrics.SUFFIXES else ""
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


def with_caption(item: track.Track, title: str = "") -> track.Track:
    """The track of a recording with the caption that `kinds` found beside it; where there is none, with its title and
    labels. An unfit one is left out with a warning."""
    name = item.caption.kind
    item = dataclasses.replace(item, caption=captions.of_tags(title, item.labels))
    if not name:
        return item
    path, name = os.path.join(os.path.dirname(item.file), name), files.describe_path(name)
    try:
        found, doubt = captions.read(path)
    except UserError as error:
        reason = str(error).removeprefix(files.describe_path(path)).lstrip(": ")
        return item.warned(f"caption left out: {name}: {reason}")
    except OSError as error:
        return item.warned(f"caption left out: {name}: unreadable: {error.strerror or error}")
    item = dataclasses.replace(item, caption=found)
    return item.warned(f"caption doubtful: {name}: {doubt}") if doubt else item


def _read_lyrics(path: str, seconds: float) -> tuple[lyrics.Lyrics, str, str] | str:
    """(what is sung in a recording of so many seconds, its kind, what is doubtful about it); or why it is unfit."""
    try:
        text, doubt = lyrics.read(path)
        return lyrics.parse(text, seconds), "lrc" if lyrics.has_times(text) else "txt", doubt
    except UserError as error:
        return str(error).removeprefix(f"{files.describe_path(path)}: ")
    except OSError as error:
        return f"unreadable: {error.strerror or error}"

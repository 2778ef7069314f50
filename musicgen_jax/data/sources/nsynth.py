"""Source `nsynth`: the NSynth dataset in its archives of json and wav, unpacked: single notes of 1,006 instruments.

    nsynth-train/examples.json        note -> its pitch, velocity, instrument and so on; also nsynth-valid, nsynth-test
    nsynth-train/audio/NOTE.wav       4 s at 16 kHz: the key is held for 3 s

Any of the three folders will do, or one of them as the source itself. The splits are the official ones.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple

from musicgen_jax.data import audio_check, track
from musicgen_jax.data.sources import folder
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import MAX_PITCH, MAX_VELOCITY, Score

SPLITS = {"nsynth-train": "train", "nsynth-valid": "validation", "nsynth-test": "test"}
INDEX = "examples.json"
HELD_SECONDS = 3.0  # of each note; then the key is released
MAX_INDEX_BYTES = 1 << 30  # that of the training split has a quarter of it
# Field of a note in examples.json -> label.
LABELS = {
    "instrument_str": "instrument",
    "instrument_family_str": "family",
    "instrument_source_str": "source",
    "pitch": "pitch",
    "velocity": "velocity",
}
LICENCE = {
    "licence": "CC-BY-4.0",
    "licence_url": "https://creativecommons.org/licenses/by/4.0/",
    "attribution": "Engel et al., Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders, ICML 2017; NSynth "
    "is made available by Google Inc.",
}


class Note(NamedTuple):
    """What examples.json says of a note, in the order of LABELS; None each where it does not."""

    instrument: Any
    family: Any
    source: Any
    pitch: Any
    velocity: Any


def tracks(
    source: str, sample_rate: int, seed: int, num_workers: int
) -> tuple[list[track.Track], list[track.Rejection]]:
    """The notes that the indices name, split by split in the order of their names; their audio is not read yet.

    Args:
      source: the folder.
      sample_rate, seed, num_workers: unused: notes are what they are.

    Returns:
      The tracks; and a rejection for each note with a damaged entry, and each wav without one.

    Raises:
      UserError: no such folder, none of the three archives in it, or an index that is damaged.
    """
    del sample_rate, seed, num_workers
    kept, rejected = [], []
    for place in _places(source):
        notes_of = read_index(place / INDEX)
        for name in sorted(notes_of):
            reason = _objection(name, notes_of[name])
            if reason:
                shown = files.describe_path(name) if files.is_text(name) else ascii(name)
                rejected.append(track.Rejection(f"{place.name}/audio/{shown}.wav", f"damaged entry: {reason}"))
            else:
                kept.append(_track(place, name, notes_of[name]))
        rejected += _unnamed(place, notes_of)
    return kept, rejected


def checked(item: track.Track, facts: audio_check.AudioFacts) -> track.Track:
    """A note that has been read, with its score: one note."""
    pitch, velocity = float(item.labels["pitch"]), float(item.labels["velocity"])
    return dataclasses.replace(item, score=Score([[pitch, 0.0, HELD_SECONDS, velocity, 0]]).clipped(facts.duration))


def notes(source: str) -> dict[str, object]:
    """Facts for the report: the licence, a hash of the indices, and one of the recordings' names and sizes.

    Raises as `tracks`.
    """
    digest, recordings = hashlib.sha256(), []
    for place in _places(source):
        recordings += sorted((place / "audio").glob("*.wav"))
        with open(place / INDEX, "rb") as file:
            digest.update(f"{place.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    listing = folder.listing_hash(map(str, recordings), source)
    return LICENCE | {"indices_hash": digest.hexdigest(), "listing_hash": listing}


def read_index(path: pathlib.Path) -> dict[str, Any]:
    """The notes of an examples.json: name -> `Note`, or whatever else stands there.

    Raises:
      UserError: it is no JSON, no object, or far too large.
    """
    remedy = "unpack the archive again"
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise UserError(f"{path} has {path.stat().st_size} bytes; at most {MAX_INDEX_BYTES} are read: {remedy}")
    with files.reading(path, remedy), open(path, encoding="utf-8") as file:
        # Of hundreds of thousands of notes only what is used stays in memory.
        found = json.load(file, object_hook=_slim)
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold an object, note -> what is known of it: {remedy}")
    return found


def _slim(values: dict[str, Any]) -> Any:
    return Note(*map(values.get, LABELS)) if "note_str" in values else values


def _objection(name: str, note: Any) -> str:
    """What is wrong with an entry, or ""."""
    if not name or name != os.path.basename(name) or "\0" in name or not files.is_text(name):
        return f"{name!a} is no name of a file"
    if not isinstance(note, Note):
        return "it is not what is known of a note"
    for field, value in zip(LABELS, note, strict=True):
        most = {"pitch": MAX_PITCH, "velocity": MAX_VELOCITY}.get(field)
        least = 1 if field == "velocity" else 0
        if most:
            fits = type(value) is int and least <= value <= most
        else:
            fits = isinstance(value, str) and bool(value) and files.is_text(value)
        if not fits:
            rule = f"a whole number from {least} to {most}" if most else "a text"
            return f"{field} is {_shown(value)} and must be {rule}"
    return ""


def _shown(value: Any) -> str:
    text = str(value)[:40]
    return repr(text) if files.is_text(text) else ascii(text)


def _track(place: pathlib.Path, name: str, note: Note) -> track.Track:
    labels = {label: str(value) for label, value in zip(LABELS.values(), note, strict=True)}
    return track.of_file(
        str(place / "audio" / f"{name}.wav"),
        f"{place.name}/audio/{name}.wav",
        labels,
        group=note.instrument,
        split=SPLITS[place.name],
        score_kind="exact",
    )


def _unnamed(place: pathlib.Path, named: dict[str, Any]) -> list[track.Rejection]:
    """A rejection for each wav that the index does not name."""
    audio = place / "audio"
    stems = sorted(path.stem for path in audio.glob("*.wav")) if audio.is_dir() else ()
    reason = f"not in {INDEX}: nothing is known of it"
    return [
        track.Rejection(f"{place.name}/audio/{files.describe_path(stem)}.wav", reason)
        for stem in stems
        if stem not in named
    ]


def _places(source: str) -> list[pathlib.Path]:
    """The folders of splits, in the order of SPLITS."""
    if not source:
        raise UserError("`source` is empty; the dataset nsynth needs the folder that holds nsynth-train: `source`=DIR")
    if not os.path.isdir(source):
        raise UserError(f"`source`={source} is no folder; give the one that holds {', '.join(SPLITS)}")
    root = pathlib.Path(source)
    places = [root] if root.name in SPLITS else [root / name for name in SPLITS if (root / name).is_dir()]
    lacking = [place.name for place in places if not (place / INDEX).is_file()]
    if not places or lacking:
        rule = f"{lacking[0]} has no {INDEX}" if lacking else f"it holds none of {', '.join(SPLITS)}"
        raise UserError(f"`source`={source}: {rule}; unpack the archives of json and wav")
    return places

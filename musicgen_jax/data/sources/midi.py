"""Source `midi`: scores without audio. Any folder of MIDI files, or of published grids of chorales (JSON)."""

import dataclasses
import functools
import hashlib
import pathlib

from musicgen_jax.data import track, workers
from musicgen_jax.data.sources import folder
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import jsb, midi
from musicgen_jax.scores.grid import GridTokens
from musicgen_jax.scores.score import MAX_PITCH, Score

SUFFIXES = (*midi.SUFFIXES, ".json")
MIN_SECONDS = 1.0
GRID_BEATS_PER_MINUTE = 90.0  # of grids, which have no tempo
GRID_SPLITS = {"train": "train", "valid": "validation", "test": "test"}  # their own, for figures that compare


def tracks(
    source: str, sample_rate: int, seed: int, num_workers: int
) -> tuple[list[track.Track], list[track.Rejection]]:
    """Reads every file below `source`; both lists are in the order of the paths.

    Of MIDI files what the sustain pedal holds sounds on. The split of a grid is its own.

    Args:
      source: the folder.
      sample_rate, seed: unused: there is no audio, and scores are what they are.
      num_workers: processes that read files, 0 for none; the result does not depend on it.

    Returns:
      Tracks without blocks, whose scores stay in the MIDI files until they are written; and what was rejected:
      unreadable, shorter than a second, or with the notes of a file before it.

    Raises:
      UserError: no folder, or no such file in it.
    """
    del sample_rate, seed
    paths, _, unlisted = _find(source)
    rejected = [track.Rejection(path, f"folder unreadable: {why}") for path, why in unlisted]
    kept: list[track.Track] = []
    first_of: dict[str, str] = {}
    for path, result in zip(paths, workers.ordered_map(read_or_explain, paths, num_workers), strict=True):
        name = folder.name_of(path, source)
        if isinstance(result, workers.Lost | str):
            reason = f"lost: {result.reason}" if isinstance(result, workers.Lost) else result
            rejected.append(track.Rejection(name, reason))
            continue
        for part, split, score in result:
            item = _track(name + part, name, split, score)
            if not part:  # a file by itself, in which the score may stay
                item = dataclasses.replace(
                    item, score=None, score_from=functools.partial(midi.read, path, apply_sustain=True)
                )
            reason = f"shorter than {MIN_SECONDS:g} s" if score.seconds < MIN_SECONDS else ""
            if not reason and (first := first_of.setdefault(item.hash, item.track_id)) != item.track_id:
                reason = f"the same notes as: {first}"
            if reason:
                rejected.append(track.Rejection(item.track_id, reason, item.hash, item.duration))
            else:
                kept.append(item)
    return kept, rejected


def notes(source: str) -> dict[str, object]:
    """Facts for the report: files ignored by extension, and a hash of the paths and sizes. Raises as `tracks`."""
    paths, ignored, _ = _find(source)
    return {"ignored_files": ignored, "listing_hash": folder.listing_hash(paths, source)}


def read_or_explain(path: str) -> list[tuple[str, str, Score]] | str:
    """(what tells a score from the others of its file, its split or "", the score) of each; or why there is none."""
    if not path.lower().endswith(".json"):
        found = midi.read_or_explain(path, apply_sustain=True)
        return found if isinstance(found, str) else [("", "", found)]
    try:
        return [
            (f"/{split}/{number:03d}", GRID_SPLITS[split], _of_pitches(pitches))
            for split, pieces in jsb.read(path).items()
            for number, pitches in enumerate(pieces)
        ]
    except UserError as error:
        return str(error).removeprefix(f"{path} ")


def _of_pitches(pitches) -> Score:
    return _grid().decode(_grid().from_pitches(pitches), 60 / GRID_BEATS_PER_MINUTE)


@functools.cache
def _grid() -> GridTokens:
    return GridTokens(jsb.VOICES, 0, MAX_PITCH)


def _find(source: str) -> tuple[list[str], dict[str, int], list[tuple[str, str]]]:
    if not source:
        raise UserError("--source is empty; the dataset midi needs a folder of MIDI files: --source=DIR")
    paths, ignored, unlisted = folder.find_files(source, SUFFIXES)
    if not paths:
        raise UserError(f"no score in {source}: it holds no file that ends in {' '.join(SUFFIXES)}; check --source")
    return paths, ignored, unlisted


def _track(track_id: str, path: str, split: str, score: Score) -> track.Track:
    digest = hashlib.sha256(score.notes.tobytes()).hexdigest()
    parent = pathlib.PurePosixPath(path).parent.name
    return track.Track(
        track_id=track_id,
        path=path,
        group=digest,
        hash=digest,
        labels={"artist": "unknown", "genre": parent or "unknown"},
        duration=score.seconds,
        sample_rate=0,
        channels=0,
        blocks=None,
        score=score,
        score_kind="exact",
        split=split,
    )

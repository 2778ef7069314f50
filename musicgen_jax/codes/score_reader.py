"""The scores of a prepared data set: of audio, of codes, or of nothing but scores."""

import dataclasses
import pathlib

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import code_shards
from musicgen_jax.data import manifest, score_facts, shards
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import excerpts
from musicgen_jax.scores.score import Score

WRITERS = "prepare chorales, recordings beside which .mid files lie, or MIDI files (--dataset=midi)"


@dataclasses.dataclass(frozen=True)
class Piece:
    """A track and its score."""

    track_id: str
    labels: dict[str, str]
    score: Score


def read(directory: str, split: str) -> list[Piece]:
    """The tracks of a split that have a score, in the order of the records.

    Notes stand in the record of every segment that they sound in: here each stands once.

    Raises:
      NotFoundError: no complete data set in `directory`.
      UserError: it has no scores or not that split, or is damaged.
    """
    config.require("scores" in shards.read_metadata(directory), f"{directory} has no scores: {WRITERS}")
    facts = _facts(directory)
    parts: dict[str, list[np.ndarray]] = {}
    labels: dict[str, dict[str, str]] = {}
    for record in shards.open_split(directory, split, {"notes": shards.notes_feature()}):
        track = record["track_id"].decode()
        parts.setdefault(track, []).append(record["notes"])
        labels[track] = shards.labels_of(record)
    pieces = []
    for track, notes in parts.items():
        if track not in facts:
            raise UserError(f"{directory} has records of {track}, which its index does not name: {shards.REMEDY}")
        score = facts[track].score(excerpts.joined(notes))
        if score is not None:
            pieces.append(Piece(track, labels[track], score))
    return pieces


def _facts(directory: str) -> dict[str, score_facts.ScoreFacts]:
    """What the index says of every track's score."""
    if (pathlib.Path(directory) / code_shards.INDEX_NAME).is_file():
        return {entry.track_id: entry.score for entry in code_shards.read_index(directory)}
    return {row.track_id: row.score for row in manifest.read(directory) if row.status == "ok"}

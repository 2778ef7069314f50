"""The scores that samples perform, as the models are told them."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import reprlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from musicgen_jax import config
from musicgen_jax.priors import trained
from musicgen_jax.runtime import files
from musicgen_jax.scores import excerpts, midi, music_xml
from musicgen_jax.scores.score import Score

QUARTERS_PER_MINUTE = 90  # of a score on paper, which has no tempo


class Performable(Protocol):
    """Scores, written already (`Scores`) or yet to be composed (`commissions.Commission`).

    Attributes:
      name: where they come from, for messages.
      num_pieces: how many there are.
      facts: all that decides them, as JSON has it.
    """

    name: str

    @property
    def num_pieces(self) -> int: ...

    @property
    def facts(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """What the samples perform, from their beginning on, a prompt included.

    Attributes:
      name: where they come from, for messages.
      pieces: one score or several; sample i performs piece i modulo their number.
    """

    name: str
    pieces: tuple[Score, ...]

    def of(self, sample: int) -> Score:
        """The score of sample number `sample`."""
        return self.pieces[sample % len(self.pieces)]

    @property
    def num_pieces(self) -> int:
        """How many there are."""
        return len(self.pieces)

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides them, as JSON has it."""
        return {"seconds": self.seconds, "digest": self.digest}

    @property
    def seconds(self) -> float:
        """Of the longest; 0 where all are empty."""
        return max(piece.seconds for piece in self.pieces)

    @property
    def digest(self) -> str:
        """Hexadecimal digest of the notes, 16 characters."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(f"{piece.notes.shape}".encode() + piece.notes.tobytes())
        return digest.hexdigest()[:16]

    @functools.cached_property
    def crowds(self) -> list[tuple[int, ...]]:
        """`excerpts.crowds` of each piece."""
        return [excerpts.crowds(piece.notes) for piece in self.pieces]


def load(source: str | os.PathLike[str] | Score | Sequence[Score]) -> Scores:
    """The scores to perform.

    Args:
      source: a MIDI or MusicXML file, a score, or several.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is of another kind, damaged, or without a note.
    """
    if isinstance(source, Score):
        source = [source]
    if isinstance(source, str | os.PathLike):
        path = files.local_path(source, "score")
        name, pieces = files.describe_path(path), (_read(path),)
    else:
        several = isinstance(source, list | tuple) and len(source) > 0 and all(isinstance(x, Score) for x in source)
        config.require(several, f"score={reprlib.repr(source)}: must be a MIDI file, a score, or a list of scores")
        name, pieces = "the score", tuple(source)
    config.require(not any(piece.empty for piece in pieces), f"`score`={name}: there is no note to perform")
    return Scores(name, pieces)


def _read(path: pathlib.Path) -> Score:
    suffix = path.suffix.lower()
    if suffix in midi.SUFFIXES:
        return midi.read(path, apply_sustain=True)
    known = ", ".join((*midi.SUFFIXES, *music_xml.SUFFIXES))
    config.require(suffix in music_xml.SUFFIXES, f"`score`={path}: the name must end in one of {known}")
    quarter = 60 / QUARTERS_PER_MINUTE
    return music_xml.read(path).score.stretched(quarter)


def validate(models: Sequence[trained.TrainedPrior], num_samples: int, scores: Performable | None) -> None:
    """Raises UserError where the models that are sampled, coarse to fine, cannot perform these scores, or none."""
    told = [model.config for model in models if model.config.score]
    for model in told:
        config.require(
            scores is not None or model.score_dropout > 0,
            f"`score`: the {model.tier} prior was never trained without a score: pass one, or train it with "
            "--config.model.score_dropout=0.15",
        )
    if scores is None:
        return
    config.require(
        bool(told),
        f"`score`={scores.name}: none of the priors that are sampled is told the score: leave it out, or train them "
        "with --config=configs/prior.py:score=true",
    )
    config.require(
        num_samples >= scores.num_pieces,
        f"`num_samples`={num_samples}: {scores.name} holds {scores.num_pieces} scores: pass as many or more",
    )


def of_windows(
    model: config.PriorConfig, scores: Scores | None, rows: np.ndarray, start: np.ndarray
) -> dict[str, np.ndarray]:
    """What the condition `score` reads of B windows; nothing where the model is told no score.

    Args:
      model: of the stream.
      scores: what the samples perform; None is no score, which the models know from training.
      rows: int [B], which samples.
      start: int32 [B], frames of the stream at which the windows begin.

    Returns:
      "notes" float32 [B, N, 5] with onsets from the windows' beginnings, N as large as any window of these scores
      needs; "scored" bool [B].
    """
    if not model.score:
        return {}
    seconds = model.context / model.codes_per_second + model.score_ahead
    size = max(model.score_notes, excerpts.rows_for(scores.crowds if scores else [], seconds))
    notes = np.zeros((len(rows), size, 5), np.float32)
    for place, (row, frame) in enumerate(zip(rows, start, strict=True)) if scores else ():
        begin = float(frame) / model.codes_per_second
        sounding = excerpts.within(scores.of(int(row)).notes, begin, begin + seconds)
        notes[place] = excerpts.window(sounding, begin, size)
    return {"notes": notes, "scored": np.full(len(rows), scores is not None)}

"""How well a composer predicts held-out scores, beside a bigram model of the same training scores."""

import dataclasses
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import score_dataset
from musicgen_jax.evaluation import bootstrap, likelihood, prior_likelihood
from musicgen_jax.priors import trained

QUARTER_SECONDS = 0.5  # of a grid's tokens when their notes are counted; any tempo has as many


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The scores that a composer is judged on, and those that the bigram model learns from."""

    held_out: score_dataset.ScoreWindows
    train: score_dataset.ScoreWindows


def open_pieces(model: config.ComposerConfig, data: str, split: str) -> Pieces:
    """Reads the scores of a data set.

    Args:
      model: of the composer.
      data: folder of prepare_data or extract_codes, with scores.
      split: "validation" or "test".

    Raises:
      NotFoundError: no data set there.
      UserError: it has no scores, or none that these tokens can tell.
    """
    held_out, train = (score_dataset.ScoreWindows(data, name, model) for name in (split, "train"))
    return Pieces(held_out, train)


def evaluate_composer(composer: trained.TrainedPrior, pieces: Pieces) -> dict[str, Any]:
    """Scores whole pieces, in the windows of `prior_likelihood`.

    The bigram model knows what the same voice did a sixteenth ago, or of a performance the event before.

    Args:
      composer: the model.
      pieces: from `open_pieces`.

    Returns:
      "nats_per_token", "bigram_nats_per_token", the same of a note (`nats_per_note`, `bigram_nats_per_note`: all nats
      of a piece, divided by the notes that its tokens tell), "num_tokens", "num_notes", "num_pieces"; `note_nats` has
      the figures of a note per piece with intervals, see `bootstrap.of_tracks`: pieces count by their notes, and one
      without notes not at all.

    Raises:
      UserError: the model gives no finite likelihood.
    """
    model, windows = composer.config, pieces.held_out
    totals, counts = prior_likelihood.score(composer, windows, max(windows.lengths))
    bigram = likelihood.fit_bigram(_voices(pieces.train, model.voices), model.num_codes)
    nats = {"": totals, "bigram_": [_bigram_nats(bigram, codes) for codes in _voices_of_pieces(windows, model.voices)]}
    told = (windows.tokens.decode(windows.codes(index), QUARTER_SECONDS) for index in range(len(windows.pieces)))
    notes = np.array([len(score.notes) for score in told])
    num_tokens, num_notes = int(counts.sum()), int(notes.sum())
    found: dict[str, Any] = {"num_tokens": num_tokens, "num_notes": num_notes, "num_pieces": len(windows.pieces)}
    for name, each in nats.items():
        total = float(np.sum(each))
        found |= {f"{name}nats_per_token": total / num_tokens, f"{name}nats_per_note": total / max(num_notes, 1)}
    rows = [
        {bootstrap.TRACK: piece.track_id, "num_notes": int(notes[index])}
        | {f"{name}nats_per_note": float(each[index] / notes[index]) for name, each in nats.items()}
        for index, piece in enumerate(windows.pieces)
        if notes[index]
    ]
    return found | {"note_nats": bootstrap.of_tracks(rows, weight="num_notes")}


def _bigram_nats(bigram: likelihood.BigramModel, voices: list[np.ndarray]) -> float:
    """Of the voices of a piece together."""
    return likelihood.nats_per_code(bigram, voices) * sum(map(len, voices))


def _voices(windows: score_dataset.ScoreWindows, voices: int) -> list[np.ndarray]:
    """The tokens of each voice of each piece, int16 [T]."""
    return [codes for piece in _voices_of_pieces(windows, voices) for codes in piece]


def _voices_of_pieces(windows: score_dataset.ScoreWindows, voices: int) -> list[list[np.ndarray]]:
    """The tokens of each voice, int16 [T], piece by piece."""
    pieces = [windows.codes(index) for index in range(len(windows.pieces))]
    return [[codes[voice::voices] for voice in range(voices)] for codes in pieces]

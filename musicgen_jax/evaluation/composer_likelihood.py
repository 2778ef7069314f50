"""How well a composer predicts held-out scores, beside a bigram model of the same training scores."""

import dataclasses

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import score_dataset
from musicgen_jax.evaluation import likelihood, prior_likelihood
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


def evaluate_composer(composer: trained.TrainedPrior, pieces: Pieces) -> dict[str, float | int]:
    """Scores whole pieces, in the windows of `prior_likelihood`.

    The bigram model knows what the same voice did a sixteenth ago, or of a performance the event before.

    Args:
      composer: the model.
      pieces: from `open_pieces`.

    Returns:
      "nats_per_token", "bigram_nats_per_token", the same of a note (`nats_per_note`, `bigram_nats_per_note`: all nats
      of a piece, divided by the notes that its tokens tell), "num_tokens", "num_notes", "num_pieces".
    """
    model, windows = composer.config, pieces.held_out
    total, num_tokens = prior_likelihood.score(composer, windows, max(windows.lengths))
    bigram = likelihood.fit_bigram(_voices(pieces.train, model.voices), model.num_codes)
    bigram_total = likelihood.nats_per_code(bigram, _voices(windows, model.voices)) * num_tokens
    told = (windows.tokens.decode(windows.codes(index), QUARTER_SECONDS) for index in range(len(windows.pieces)))
    num_notes = sum(len(score.notes) for score in told)
    found = {"num_tokens": num_tokens, "num_notes": num_notes, "num_pieces": len(windows.pieces)}
    for name, nats in (("", total), ("bigram_", bigram_total)):
        found |= {f"{name}nats_per_token": nats / num_tokens, f"{name}nats_per_note": nats / max(num_notes, 1)}
    return found


def _voices(windows: score_dataset.ScoreWindows, voices: int) -> list[np.ndarray]:
    """The tokens of each voice of each piece, int16 [T]."""
    pieces = [windows.codes(index) for index in range(len(windows.pieces))]
    return [codes[voice::voices] for codes in pieces for voice in range(voices)]

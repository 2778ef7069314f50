"""How well a composer predicts held-out scores, beside a bigram model of the same training scores."""

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import score_dataset
from musicgen_jax.evaluation import likelihood, prior_likelihood
from musicgen_jax.priors import trained


def evaluate_composer(composer: trained.TrainedPrior, data: str, split: str) -> dict[str, float | int]:
    """Scores whole pieces of a held-out split, in the windows of `prior_likelihood`.

    The bigram model knows what the same voice did a sixteenth ago, or of a performance the event before.

    Args:
      composer: the model.
      data: folder of prepare_data or extract_codes, with scores.
      split: "validation" or "test".

    Returns:
      "nats_per_token", "bigram_nats_per_token", the same of a note (`nats_per_note`, `bigram_nats_per_note`: all nats
      of a piece, divided by its notes), "num_tokens", "num_notes", "num_pieces".

    Raises:
      NotFoundError: no data set there.
      UserError: it has no scores, or none that these tokens can tell.
    """
    model: config.ComposerConfig = composer.config
    windows = score_dataset.ScoreWindows(data, split, model)
    total, num_tokens = prior_likelihood.score(composer, windows, max(windows.lengths))
    train = _voices(score_dataset.ScoreWindows(data, "train", model), model.voices)
    bigram = likelihood.fit_bigram(train, model.num_codes)
    bigram_total = likelihood.nats_per_code(bigram, _voices(windows, model.voices)) * num_tokens
    num_notes = sum(len(piece.score.notes) for piece in windows.pieces)
    found = {"num_tokens": num_tokens, "num_notes": num_notes, "num_pieces": len(windows.pieces)}
    for name, nats in (("", total), ("bigram_", bigram_total)):
        found |= {f"{name}nats_per_token": nats / num_tokens, f"{name}nats_per_note": nats / max(num_notes, 1)}
    return found


def _voices(windows: score_dataset.ScoreWindows, voices: int) -> list[np.ndarray]:
    """The tokens of each voice of each piece, int16 [T]."""
    pieces = [windows.codes(index) for index in range(len(windows.pieces))]
    return [codes[voice::voices] for codes in pieces for voice in range(voices)]

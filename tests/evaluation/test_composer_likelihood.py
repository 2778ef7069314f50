"""Composers on held-out scores: every token once, in nats of a token and of a note."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scores

from musicgen_jax import config, kinds
from musicgen_jax.codes import score_dataset
from musicgen_jax.evaluation import composer_likelihood
from musicgen_jax.priors import trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_scores.prepare(tmp_path_factory.mktemp("scores") / "data")


@pytest.mark.parametrize("tokens", ["grid", "performance"])
def test_nats_of_tokens_and_notes(folder, tokens):
    """A model whose logits are all alike: log K a token, whatever the windows."""
    model = score_dataset.resolve(tiny_scores.model_config(tokens), folder)
    functional = kinds.KINDS["composer"].functional(config.ComposerTraining(model=model))
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(functional.init, jax.random.key(0)))
    composer = trained.TrainedPrior(model, functional, nothing, "")
    found = composer_likelihood.evaluate_composer(composer, folder, "test")
    windows = score_dataset.ScoreWindows(folder, "test", model)
    assert found["num_tokens"] == sum(windows.lengths)
    assert found["num_pieces"] == len(windows.pieces)
    assert found["nats_per_token"] == pytest.approx(np.log(model.num_codes), rel=1e-5)
    notes = sum(len(piece.score.notes) for piece in windows.pieces)
    assert found["nats_per_note"] == pytest.approx(np.log(model.num_codes) * sum(windows.lengths) / notes, rel=1e-5)
    # Phrases are repeated and mostly held: a bigram of each voice knows that.
    assert 0 < found["bigram_nats_per_note"] < 0.7 * found["nats_per_note"]

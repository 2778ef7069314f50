"""Composers on held-out scores: every token once, in nats of a token and of a note."""

import jax
import numpy as np
import pytest
import tiny_scores

from musicgen_jax.codes import score_dataset
from musicgen_jax.evaluation import composer_likelihood


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_scores.prepare(tmp_path_factory.mktemp("scores") / "data")


@pytest.mark.long
@pytest.mark.parametrize("tokens", ["grid", "performance"])
def test_nats_of_tokens_and_notes(folder, tokens):
    """A model whose logits are all alike: log K a token, whatever the windows."""
    model = score_dataset.resolve(tiny_scores.model_config(tokens), folder)
    pieces = composer_likelihood.open_pieces(model, folder, "test")
    found = composer_likelihood.evaluate_composer(tiny_scores.composer_of(model, tiny_scores.nothing), pieces)
    windows = pieces.held_out
    assert found["num_tokens"] == sum(windows.lengths)
    assert found["num_pieces"] == len(windows.pieces)
    assert found["nats_per_token"] == pytest.approx(np.log(model.num_codes), rel=1e-5)
    assert found["num_notes"] == sum(len(piece.score.notes) for piece in windows.pieces)
    nats = np.log(model.num_codes) * sum(windows.lengths)
    each = found["note_nats"]
    assert [row["track"] for row in each["tracks"]] == [piece.track_id for piece in windows.pieces]
    assert sum(row["num_notes"] for row in each["tracks"]) == found["num_notes"]
    for name in ("nats_per_note", "bigram_nats_per_note"):
        assert each["intervals"][name]["mean"] == pytest.approx(found[name])
        assert sum(row[name] * row["num_notes"] for row in each["tracks"]) / found["num_notes"] == pytest.approx(
            found[name]
        )
    assert found["nats_per_note"] == pytest.approx(nats / found["num_notes"], rel=1e-5)
    # Phrases are repeated and mostly held: a bigram of each voice knows that.
    assert 0 < found["bigram_nats_per_note"] < 0.7 * found["nats_per_note"]


@pytest.mark.long
@pytest.mark.parametrize("context", [64, 512])
def test_random_weights_score_each_token_once(folder, context):
    """Beside NumPy: the first window scores all of its tokens, the next ones, half a window on, those behind it; one
    of 512 tokens holds a whole piece."""
    model = score_dataset.resolve(tiny_scores.model_config("grid", context=context), folder)
    composer = tiny_scores.composer_of(model, lambda functional: functional.init(jax.random.key(1)))
    pieces = composer_likelihood.open_pieces(model, folder, "test")
    apply = jax.jit(lambda weights, batch: composer.functional.bind(*weights)(batch))
    expected = []
    for index, length in enumerate(pieces.held_out.lengths):
        start = scored = 0
        while scored < length:
            window = pieces.held_out.window(index, start)
            example = composer.judged({name: np.asarray(array)[None] for name, array in window.items()})
            logits = np.asarray(apply(composer.weights, example), np.float64).reshape(context, model.num_codes)
            nats = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(context), window["codes"][:, 0]]
            expected += nats[scored - start : length - start].tolist()
            scored, start = start + context, start + context // 2
    found = composer_likelihood.evaluate_composer(composer, pieces)
    assert found["num_tokens"] == len(expected)
    assert found["nats_per_token"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert np.std(expected) > 0.01  # the tokens are not alike

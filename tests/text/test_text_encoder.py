"""Texts through vocabulary and encoder."""

import numpy as np
import pytest
import tiny_text

from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.text import text_encoder, tokens

pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("vocabulary")
    (place / tokens.FILE_NAME).write_bytes(tiny_text.vocabulary())
    return place


@pytest.fixture(scope="module")
def encoder(folder):
    return tiny_text.encoder(tiny_text.model_config()).with_vocabulary(text_encoder.read_vocabulary(folder))


def test_texts_are_pieces_with_an_end(folder):
    vocabulary = tokens.Vocabulary(folder / tokens.FILE_NAME)
    numbers = vocabulary.numbers("calm piano")
    assert numbers[-1] == 1 and numbers.count(1) == 1 and len(numbers) > 2
    assert vocabulary.numbers("  calm   piano ") == numbers
    assert vocabulary.numbers("") == vocabulary.numbers(" \n") == []
    assert 2 in vocabulary.numbers("Ж")  # unknown, and not left out
    with pytest.raises(UserError, match=r"a text of 8000 characters, 'a b a b.* of at most 2048: say it shorter"):
        vocabulary.numbers("a b " * 2000)


def test_all_together_are_as_one_by_one(encoder):
    states, mask = encoder.encode(tiny_text.TEXTS)
    assert states.dtype == np.float32 and mask.dtype == bool and states.shape == (*mask.shape, encoder.width)
    assert mask.any(axis=1).tolist() == [True, False, True] and mask.all(axis=1).any()
    assert np.isfinite(states).all() and not states[~mask].any()
    for row, text in enumerate(tiny_text.TEXTS):
        alone, there = encoder.encode([text])
        size = max(1, mask[row].sum())
        assert alone.shape[1] == size and (there[0] == mask[row, :size]).all()
        np.testing.assert_allclose(alone[0], states[row, :size], atol=1e-5)


def test_many_texts_of_all_lengths_keep_their_order(encoder):
    texts = [("calm piano " * (1 + row * 7 % 5)).strip() for row in range(21)]
    states, mask = encoder.encode(texts)
    for row in range(5):
        same = [other for other in range(21) if texts[other] == texts[row]]
        assert len(same) > 3
        for other in same:
            np.testing.assert_allclose(states[other], states[row], atol=1e-5)
            assert (mask[other] == mask[row]).all()
    assert encoder.encode([])[0].shape == (0, 1, encoder.width)


def test_a_digest_of_weights_and_vocabulary(encoder, folder):
    assert len(encoder.fingerprint) == 16
    vocabulary = text_encoder.read_vocabulary(folder)
    again = tiny_text.encoder(encoder.config).with_vocabulary(vocabulary)
    assert again.fingerprint == encoder.fingerprint
    other = text_encoder.TextEncoder(encoder.config, (tiny_text.weights(encoder.config, seed=1), {}), vocabulary)
    assert other.fingerprint != encoder.fingerprint


def test_vocabularies_that_do_not_fit(folder, tmp_path):
    with pytest.raises(NotFoundError, match=r"no such file: .*spiece\.model, the vocabulary of the text encoder"):
        text_encoder.read_vocabulary(tmp_path)
    (tmp_path / tokens.FILE_NAME).write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"spiece\.model is damaged"):
        text_encoder.read_vocabulary(tmp_path)
    small = tiny_text.encoder(tiny_text.model_config(vocabulary=20))
    with pytest.raises(UserError, match=r"spiece\.model has more pieces than the 20 that the encoder knows"):
        small.with_vocabulary(text_encoder.read_vocabulary(folder))

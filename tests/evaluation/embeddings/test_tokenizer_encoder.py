"""A tokenizer's encoder as an embedding: frames of the coarsest stream, those that become its codes."""

import numpy as np
import pytest

from musicgen_jax.evaluation.embeddings import choice
from musicgen_jax.evaluation.embeddings.tokenizer_encoder import TokenizerEncoder


@pytest.fixture(scope="module")
def embedding(tiny_tokenizer):
    return TokenizerEncoder(tiny_tokenizer)


def test_frames_are_what_is_quantized(embedding, tiny_tokenizer):
    layout = tiny_tokenizer.layout
    coarsest = max(layout.streams, key=lambda stream: stream.hop_length)
    audio = np.random.default_rng(0).standard_normal(3 * layout.sample_rate + 5).astype(np.float32) * 0.1
    frames = embedding.embed(audio, layout.sample_rate)
    assert frames.shape == (len(audio) // coarsest.hop_length, embedding.dimensions) and frames.dtype == np.float32
    entries = tiny_tokenizer.codebooks()[coarsest.name][0]
    nearest = np.argmin(((frames[:, None] - entries) ** 2).sum(axis=-1), axis=1)
    codes = tiny_tokenizer.encode(iter([audio]))[coarsest.name][: len(frames), 0]
    np.testing.assert_array_equal(nearest, codes)


def test_it_says_what_it_is(embedding, tiny_tokenizer):
    hop = max(stream.hop_length for stream in tiny_tokenizer.layout.streams)
    assert embedding.hop_seconds == embedding.window_seconds == hop / tiny_tokenizer.layout.sample_rate
    assert embedding.distance == "FD-tokenizer-encoder" and len(embedding.version) == 16
    assert isinstance(choice.load(["tokenizer-encoder"], tiny_tokenizer)[0], TokenizerEncoder)

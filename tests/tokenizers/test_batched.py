"""Many recordings a step: the same codes as one by one, whatever they are encoded with."""

import numpy as np
import pytest
from conftest import SAMPLE_RATE, tones
from tiny_layouts import TIERS

from musicgen_jax.tokenizers import batched

WINDOW_SECONDS, BATCH_SIZE = 2.0, 4
# Shorter than the smallest window, of the windows between, of the usual one, and of many of them.
LENGTHS = (300, 3000, 1, 3 * SAMPLE_RATE, 3000, 7 * SAMPLE_RATE + 5, 8000, 1, 4500)


@pytest.fixture(scope="module")
def alone(tiny_tokenizer) -> list[dict[str, np.ndarray]]:
    return [tiny_tokenizer.encode(iter([tones(i, n)]), WINDOW_SECONDS) for i, n in enumerate(LENGTHS)]


@pytest.mark.long
def test_together_equals_one_by_one(tiny_tokenizer, alone):
    encoder, shapes = tiny_tokenizer.encoder(WINDOW_SECONDS), set()

    def run(audio: np.ndarray):
        shapes.add(audio.shape)
        return encoder.run(audio)

    watched = type(encoder)(encoder.layout, encoder.margin, encoder.window, run)
    recordings = (watched.windows(iter([tones(i, n)])) for i, n in enumerate(LENGTHS))
    found = list(batched.encode(watched, recordings, BATCH_SIZE))
    assert len(found) == len(alone)
    for got, want in zip(found, alone, strict=True):
        for tier in TIERS:
            assert got[tier].dtype == np.int16
            np.testing.assert_array_equal(got[tier], want[tier])
    assert {rows for rows, _ in shapes} == {BATCH_SIZE} and len(shapes) <= 5, "one program for each length of window"


def test_spans_that_are_known_beforehand_are_those_of_the_stream(tiny_tokenizer):
    encoder = tiny_tokenizer.encoder(WINDOW_SECONDS)
    for length in (*LENGTHS, encoder.window, encoder.window + 1, 2 * encoder.window):
        streamed = [window.span for window in encoder.windows(iter([np.zeros(length, np.float32)]))]
        assert list(encoder.spans(length)) == streamed, length


def test_few_recordings_wait_for_one_of_a_rare_length(tiny_tokenizer):
    encoder = tiny_tokenizer.encoder(WINDOW_SECONDS)
    asked = []

    def recordings():
        for index in range(100):
            asked.append(index)
            yield encoder.windows(iter([tones(index, 300 if index == 0 else encoder.window)]))

    codes = batched.encode(encoder, recordings(), 4)
    next(codes)
    assert len(asked) <= 4 * batched.MAX_WAITING + 1
    assert len(list(codes)) == 99

"""A score played window by window: every note whole, in bounded memory."""

import numpy as np
import pytest

from musicgen_jax.ddsp import performance, synthesizer, timbres
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import Score

RATE = 8000


@pytest.fixture(autouse=True)
def short_windows(monkeypatch):
    monkeypatch.setattr(synthesizer, "BUCKET_SECONDS", 4.0)
    monkeypatch.setattr(performance, "WINDOW_SECONDS", 2)


def note_alone(note: np.ndarray, window: int) -> np.ndarray:
    """What a note sounds like that begins `note[1] - window` seconds after nothing."""
    alone = Score(note[None] - np.float32([0, window, 0, 0, 0]))
    return synthesizer.unleveled(alone, timbres.ORGAN, alone.seconds, RATE)


@pytest.mark.long
def test_every_note_sounds_whole_wherever_windows_end():
    notes = np.float32([  # each in a part of its own, so that each is a voice
        [60, 0.5, 1.0, 90, 0],
        [64, 1.5, 1.0, 70, 1],  # into the second window
        [67, 1.75, 5.5, 80, 2],  # through the second and the third to the end
        [72, 4.5, 2.75, 100, 0],
    ])  # fmt: skip
    blocks = list(performance.blocks(Score(notes), timbres.ORGAN, 7.25, RATE))
    assert [len(block) for block in blocks] == [2 * RATE, 2 * RATE, 2 * RATE, 1.25 * RATE]
    expected = np.zeros(round(7.25 * RATE), np.float32)
    for note in notes:
        window = int(note[1] // 2) * 2
        audio = note_alone(note, window)
        expected[window * RATE : window * RATE + len(audio)] += audio
    audio = np.concatenate(blocks)
    np.testing.assert_allclose(audio, expected, atol=1e-5)
    assert np.abs(audio).max() > 0.1


def test_length_is_what_was_asked_for():
    score = Score([[60, 1.0, 9.0, 90, 0]])
    assert sum(map(len, performance.blocks(score, timbres.ORGAN, 3.0, RATE))) == 3 * RATE
    silent = np.concatenate(list(performance.blocks(Score(np.zeros((0, 5))), timbres.ORGAN, 3.0, RATE)))
    assert silent.shape == (3 * RATE,) and not silent.any()


def test_bad_input():
    crowd = Score([[60, 0.0, 1.0, 90, 0]] * 600)
    with pytest.raises(UserError, match="more than 512 notes at once"):
        next(performance.blocks(crowd, timbres.ORGAN, 1.0, RATE))

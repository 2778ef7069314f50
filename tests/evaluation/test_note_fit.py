"""Notes that were rendered are found again, and those of another score are not."""

import numpy as np
import pytest

from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.evaluation import note_fit
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import Score

SAMPLE_RATE = 8000
SECONDS = 4.0
CHORDS = ((48, 55, 64, 72), (50, 57, 65, 74), (43, 59, 62, 79), (48, 60, 64, 76))


def score(chords=CHORDS) -> Score:
    """A chord a second, a part a voice."""
    rows = [(pitch, index, 0.95, 100, part) for index, chord in enumerate(chords) for part, pitch in enumerate(chord)]
    return Score(np.array(rows, np.float32))


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    return synthesizer.render(synthesizer.pack(score().voices()), timbres.FLUTE, SECONDS, SAMPLE_RATE)


def test_rendered_notes_are_found(audio: np.ndarray):
    found = note_fit.fit(audio, SAMPLE_RATE, "flute")
    agreement = note_fit.agreement(found, score())
    assert agreement.f1 > 0.9
    assert agreement.f1 == pytest.approx(
        2 * agreement.precision * agreement.recall / (agreement.precision + agreement.recall)
    )
    assert found.tone > 0.9


def test_another_score_does_not_fit(audio: np.ndarray):
    found = note_fit.fit(audio, SAMPLE_RATE, "flute")
    other = score(tuple(tuple(pitch + 1 for pitch in chord) for chord in CHORDS))
    assert note_fit.agreement(found, other).f1 < 0.1


def test_noise_is_no_music(audio: np.ndarray):
    noise = np.random.default_rng(0).normal(0, 0.1, audio.size)
    assert note_fit.fit(noise, SAMPLE_RATE, "flute").tone < 0.7


def test_noise_under_music_is_not_taken_for_notes(audio: np.ndarray):
    """10 dB below it, as a tokenizer of few codes leaves it."""
    clean = note_fit.agreement(note_fit.fit(audio, SAMPLE_RATE, "flute"), score())
    noise = np.random.default_rng(0).normal(0, np.std(audio) * 10 ** (-10 / 20), audio.size)
    found = note_fit.agreement(note_fit.fit(audio + noise, SAMPLE_RATE, "flute"), score())
    assert found.f1 > clean.f1 - 0.05 and found.precision > clean.precision - 0.05


def test_a_note_that_blares_for_a_while_silences_no_others(audio: np.ndarray):
    louder = audio.copy()
    louder[: SAMPLE_RATE // 2] *= 8
    agreement = note_fit.agreement(note_fit.fit(louder, SAMPLE_RATE, "flute"), score())
    assert agreement.recall > 0.9


def test_silence_has_no_notes():
    found = note_fit.fit(np.zeros(SAMPLE_RATE), SAMPLE_RATE, "flute")
    assert found.tone == 0 and not found.sounding.any()
    assert note_fit.agreement(found, score()).f1 == 0
    assert note_fit.agreement(found, Score(np.zeros((0, 5)))).f1 == 1


def test_timbre_must_be_the_synthesizers(audio: np.ndarray):
    with pytest.raises(UserError, match=r"no timbre 'tuba'.*organ, flute, strings, voice"):
        note_fit.fit(audio, SAMPLE_RATE, "tuba")

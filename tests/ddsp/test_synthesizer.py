"""Notes to sound: pitch, timing, loudness, timbre, gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import Score, of_voices

SAMPLE_RATE = 16000
EACH_TIMBRE = pytest.mark.parametrize("timbre", timbres.ALL, ids=lambda timbre: timbre.name)


@pytest.fixture(autouse=True)
def short_bucket(monkeypatch):
    monkeypatch.setattr(synthesizer, "BUCKET_SECONDS", 4.0)


def piece(*voices):
    """Always four voices, so that the tests share a few compiled programs."""
    return synthesizer.pack([np.array(voice) for voice in voices] + [np.zeros((0, 4))] * (4 - len(voices)))


def chord(pitches=(48, 55, 64, 72), seconds=2.0):
    return piece(*([[pitch, 0.0, seconds, 0.8]] for pitch in pitches))


def organ(*voices):
    """Four seconds, not normalised."""
    return np.asarray(synthesizer.synthesize(piece(*voices), timbres.ORGAN, 4 * SAMPLE_RATE, SAMPLE_RATE))


def peak_hz(audio, low, high):
    """Frequency of the strongest peak between two frequencies, to a fraction of a hertz."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 16 * len(audio)))
    hertz = np.arange(len(spectrum)) * SAMPLE_RATE / (16 * len(audio))
    inside = (hertz > low) & (hertz < high)
    return hertz[inside][np.argmax(spectrum[inside])]


@pytest.mark.long
@EACH_TIMBRE
def test_every_voice_of_a_chord_sounds_at_its_pitch(timbre):
    audio = synthesizer.render(chord(), timbre, 2.0, SAMPLE_RATE)
    assert audio.dtype == np.float32
    assert audio.shape == (2 * SAMPLE_RATE,)
    for pitch in (48, 55, 64, 72):
        f0 = 440 * 2 ** ((pitch - 69) / 12)
        assert abs(1200 * np.log2(peak_hz(audio, 0.9 * f0, 1.1 * f0) / f0)) < 10  # cents: detune and vibrato included


def test_organ_plays_exactly_in_tune():
    audio = synthesizer.render(piece([[69, 0, 2, 1]]), timbres.ORGAN, 2.0, SAMPLE_RATE)
    assert peak_hz(audio, 400, 480) == pytest.approx(440, abs=0.05)


@pytest.mark.long
@EACH_TIMBRE
def test_loudness_is_the_same_and_nothing_clips(timbre):
    audio = synthesizer.render(chord(), timbre, 2.0, SAMPLE_RATE)
    assert np.sqrt(np.mean(audio**2)) == pytest.approx(synthesizer.TARGET_RMS, rel=1e-3)
    assert np.abs(audio).max() <= synthesizer.PEAK_LIMIT
    # A short note in a long silence: its peak, not the mean, sets the level.
    short = piece([[60, 1, 0.02, 0.8]])
    sparse = synthesizer.render(short, timbre, 4.0, SAMPLE_RATE)
    assert np.abs(sparse).max() == pytest.approx(synthesizer.PEAK_LIMIT, rel=1e-4)


@pytest.mark.long
def test_timbres_differ():
    spectra = []
    for timbre in timbres.ALL:
        magnitude = np.abs(np.fft.rfft(synthesizer.render(chord(), timbre, 2.0, SAMPLE_RATE)))
        spectra.append(magnitude / np.linalg.norm(magnitude))
    similarity = np.array(spectra) @ np.array(spectra).T
    assert similarity[~np.eye(len(similarity), dtype=bool)].max() < 0.95
    assert len({timbres.digest(timbre) for timbre in timbres.ALL}) == len(timbres.ALL)
    brighter = dataclasses.replace(timbres.ORGAN, attack=0.016)
    assert timbres.digest(brighter) != timbres.digest(timbres.ORGAN)


def test_notes_begin_and_end_when_they_should():
    audio = organ([[60, 0.5, 0.5, 1.0], [64, 1.0, 0.25, 1.0]])
    level = np.abs(audio).reshape(-1, SAMPLE_RATE // 100).max(axis=1)  # every 10 ms
    assert level[:49].max() == 0
    assert level[52:94].min() > 0.5 * level.max()
    assert level[99] < 0.3 * level.max()  # the release is over before the next note
    assert level[103:119].min() > 0.5 * level.max()
    assert level[127:].max() == 0


def test_voices_add_up_and_padding_is_silent():
    first, second, empty = [[60, 0, 1, 0.8]], [[67, 0.3, 0.5, 0.4]], np.zeros((0, 4))
    np.testing.assert_allclose(organ(first, second), organ(first, empty) + organ(empty, second), atol=1e-5)
    assert np.abs(organ(empty, second)[:4700]).max() == 0


def test_vowels_change_from_note_to_note():
    melody = np.array([[45, onset, 0.8, 0.8] for onset in np.arange(5) * 0.8])
    audio = synthesizer.render(piece(melody), timbres.VOICE, 4.0, SAMPLE_RATE)
    strongest = [peak_hz(audio[start + 3000 : start + 11000], 150, 1000) for start in range(0, 64000, 12800)]
    # The harmonics of 110 Hz nearest to the first formants of a, e, i, o and u: 730, 530, 270, 570, 300 Hz.
    np.testing.assert_allclose(strongest, [770, 550, 220, 550, 330], atol=60)


def test_no_note_of_a_voice_drowns_the_others():
    """Two octaves on five vowels, some of them on a formant: all about as loud, where that alone made 25 dB."""
    pitches = (54, 57, 61, 66, 69, 73, 78, 57, 78, 70)
    melody = np.array([[pitch, 0.8 * index, 0.8, 0.8] for index, pitch in enumerate(pitches)])
    audio = synthesizer.render(piece(melody), timbres.VOICE, 8.0, SAMPLE_RATE)
    levels = [np.std(audio[start + 3000 : start + 11000]) for start in range(0, 128000, 12800)]
    assert 20 * np.log10(max(levels) / min(levels)) < 3


def test_the_same_piece_is_the_same_bytes():
    first = synthesizer.render(chord(), timbres.VOICE, 2.0, SAMPLE_RATE)
    second = synthesizer.render(chord(), timbres.VOICE, 2.0, SAMPLE_RATE)
    assert first.tobytes() == second.tobytes()


def test_lengths_of_one_bucket_share_one_program():
    synthesizer.render(chord(), timbres.ORGAN, 2.1, SAMPLE_RATE)
    compiled = synthesizer.synthesize._cache_size()
    synthesizer.render(chord((50, 57, 62, 66), 3.0), timbres.ORGAN, 3.9, SAMPLE_RATE)
    assert synthesizer.synthesize._cache_size() == compiled


def test_a_short_piece_is_the_beginning_of_a_long_one():
    """It is rendered in half a bucket."""
    short, long = (synthesizer._unleveled(chord(), timbres.ORGAN, seconds, SAMPLE_RATE) for seconds in (1.5, 3.0))
    np.testing.assert_array_equal(short, long[: len(short)])


def test_silence_stays_silence():
    assert not synthesizer.render(piece([[60, 0, 1, 0.0]]), timbres.ORGAN, 1.0, SAMPLE_RATE).any()


@pytest.mark.long
def test_gradients_reach_every_number_of_the_timbre_and_are_finite_in_silence():
    @jax.jit
    @jax.grad
    def gradient(timbre, velocity):
        notes = synthesizer.Notes(*(jnp.array([[x]]) for x in (60.0, 0.05, 0.6)), velocity=velocity)
        return jnp.sum(synthesizer.synthesize(notes, timbre, 11200, SAMPLE_RATE) ** 2)

    timbre = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), timbres.VOICE)
    timbre = dataclasses.replace(timbre, harmonics=timbre.harmonics[:6].at[4].set(0.0))
    for velocity in (0.7, 0.0):
        for path, leaf in jax.tree_util.tree_flatten_with_path(gradient(timbre, jnp.array([[velocity]])))[0]:
            assert np.isfinite(leaf).all(), path
            assert np.any(np.asarray(leaf) != 0) == (velocity > 0), path


@pytest.mark.parametrize(
    "voices, message",
    [
        ([], "no voices"),
        ([np.array([[60, 0, 1]])], "four finite numbers"),
        ([np.array([[60, 0, np.nan, 1]])], "four finite numbers"),
        ([np.array([[60, -1, 1, 1]])], "onset >= 0"),
        ([np.array([[60, 0, 1, 100]])], r"velocity in \[0, 1\]"),
    ],
)
def test_bad_notes_are_refused(voices, message):
    with pytest.raises(ValueError, match=message):
        synthesizer.pack(voices)


def test_no_seconds_and_too_low_a_rate_are_refused():
    with pytest.raises(ValueError, match="seconds is 0"):
        synthesizer.render(chord(), timbres.ORGAN, 0.0, SAMPLE_RATE)
    with pytest.raises(ValueError, match="sample_rate is 100 Hz"):
        synthesizer.render(chord(), timbres.ORGAN, 1.0, 100)


def test_a_score_of_voices_sounds_as_the_voices():
    voices = [np.float32([[pitch, 0, 1, 0.5], [pitch + 2, 1, 1, 0.75]]) for pitch in (72, 64, 55, 48)]
    wanted = synthesizer.render(synthesizer.pack(voices), timbres.ORGAN, 2.0, SAMPLE_RATE)
    np.testing.assert_allclose(
        synthesizer.render_score(of_voices(voices), timbres.ORGAN, SAMPLE_RATE), wanted, atol=1e-5
    )


def test_a_part_of_many_notes_at_once_is_rendered_whole():
    pitches = (48, 55, 60, 64, 67, 72)  # more than are rendered at once
    score = Score([[pitch, -0.5, 2.5, 100, 0] for pitch in pitches])  # it sounds already
    audio = synthesizer.render_score(score, timbres.ORGAN, SAMPLE_RATE)
    assert audio.shape == (2 * SAMPLE_RATE,)
    assert np.sqrt(np.mean(audio.astype(float) ** 2)) == pytest.approx(synthesizer.TARGET_RMS, rel=0.01)
    for pitch in pitches:
        f0 = 440 * 2 ** ((pitch - 69) / 12)
        assert abs(1200 * np.log2(peak_hz(audio, 0.97 * f0, 1.03 * f0) / f0)) < 10
    longer = synthesizer.render_score(score, timbres.ORGAN, SAMPLE_RATE, seconds=3.0)
    assert longer.shape == (3 * SAMPLE_RATE,) and np.abs(longer[-SAMPLE_RATE // 2 :]).max() < 1e-4


def test_scores_that_cannot_be_rendered():
    assert not synthesizer.render_score(Score([]), timbres.ORGAN, SAMPLE_RATE, seconds=1.0).any()
    with pytest.raises(UserError, match=r"seconds is 0\.0; a piece must last"):
        synthesizer.render_score(Score([]), timbres.ORGAN, SAMPLE_RATE)
    with pytest.raises(UserError, match="at most 1200 s are rendered at once"):
        synthesizer.render_score(Score([[60, 0, 2000, 64, 0]]), timbres.ORGAN, SAMPLE_RATE)

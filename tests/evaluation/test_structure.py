"""Pieces that come back, modulate or speed up in a known way."""

import numpy as np
import pytest
from test_fundamental_frequency import tone

from musicgen_jax.evaluation import structure

RATE = 8000


def chords(*played: tuple[int, ...], seconds: float = 0.5) -> np.ndarray:
    """A chord of MIDI pitches after the other."""
    found = [
        sum(tone(440 * 2 ** ((midi - 69) / 12), RATE, seconds, harmonics=4) for midi in chord) / len(chord)
        for chord in played
    ]
    return np.concatenate(found).astype(np.float32)


def melody(seed: int, count: int = 16) -> np.ndarray:
    """8 s of random notes of all pitch classes."""
    rng = np.random.default_rng(seed)
    return chords(*((int(midi),) for midi in rng.integers(55, 79, count)))


def cadences(tonic: int, times: int) -> np.ndarray:
    """I IV V I I, 2.5 s each time."""
    steps = [(0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7), (0, 4, 7)]
    return chords(*(tuple(tonic + step for step in chord) for chord in steps * times))


def clicks(bpm: np.ndarray) -> np.ndarray:
    """A click whenever a beat is full, of tempo float [S]."""
    beats = np.cumsum(np.broadcast_to(bpm, 20 * RATE) / 60 / RATE)
    audio = np.zeros(len(beats), np.float32)
    audio[1:][np.diff(np.floor(beats)) > 0] = 1.0
    burst = np.exp(-np.arange(400) / 80) * np.random.default_rng(0).standard_normal(400)
    return 0.1 * np.convolve(audio, burst)[: len(audio)].astype(np.float32)


def test_a_theme_that_returns():
    """A B A, 8 s each: all of the second A was heard, a third of the piece; shuffled it was not."""
    a, b = melody(1), melody(2)
    found = structure.measure(np.concatenate([a, b, a]), RATE)
    frames, patterns = 4 * 8, structure.PATTERN_FRAMES
    heard = (frames - patterns + 1) / (3 * frames - 2 * patterns + 1)
    assert found["recurrence"] == pytest.approx(heard, abs=0.06)
    assert found["recurrence_shuffled"] < 0.05
    assert found["repetition"] == found["recurrence"] - found["recurrence_shuffled"]


def test_what_does_not_return_and_what_returns_all_the_time():
    assert structure.measure(np.concatenate([melody(1), melody(2), melody(3)]), RATE)["recurrence"] < 0.05
    assert structure.measure(np.tile(melody(1, 8), 5), RATE)["recurrence"] > 0.8


def test_segments_in_another_order_come_back_less():
    """The same sounds: only their order is lost."""
    piece = np.tile(melody(1), 3)
    frames = structure.chroma(piece, RATE)
    before = structure.recurrence(frames)
    assert before > 0.6
    segments = [frames[start : start + 2] for start in range(0, len(frames), 2)]
    order = np.random.default_rng(3).permutation(len(segments))
    assert structure.recurrence(np.concatenate([segments[index] for index in order])) < 0.2 * before


def test_a_held_tone_is_no_pattern():
    assert structure.measure(tone(220.0, RATE, 12.0), RATE)["recurrence"] == 0


def test_a_key_that_is_kept_and_one_that_is_left():
    """Half in C, half in F sharp, which has nothing of C: the windows between the two belong to one of them."""
    c, f_sharp = cadences(60, 8), cadences(66, 8)
    assert structure.measure(c, RATE)["key_stability"] == 1
    assert structure.measure(np.concatenate([c, f_sharp]), RATE)["key_stability"] == pytest.approx(0.5, abs=0.08)
    keys = structure.local_keys(structure.chroma(np.concatenate([c, f_sharp]), RATE))
    assert (keys[0], keys[-1]) == ("C major", "F# major")


def test_near_keys_count_in_part():
    assert structure.key_stability(["C major"] * 3 + ["G major"]) == pytest.approx((3 + 0.5) / 4)
    assert structure.key_stability(["C major"] * 3 + ["A minor"]) == pytest.approx((3 + 0.3) / 4)
    assert structure.key_stability(["C major"] * 3 + ["C minor"]) == pytest.approx((3 + 0.2) / 4)


@pytest.mark.parametrize("bpm", [80, 120, 150])
def test_a_steady_tempo(bpm):
    found = structure.measure(clicks(np.array(bpm)), RATE)
    assert found["tempo_stability"] == 1
    octaves = np.log2(found["tempo_bpm"] / bpm)
    assert octaves == pytest.approx(np.round(octaves), abs=0.03)


def test_a_tempo_that_drifts():
    """By a constant share every second, from 90 to 150: within 8 % of one tempo lies what log 1.08 is of that."""
    found = structure.measure(clicks(90 * (150 / 90) ** np.linspace(0, 1, 20 * RATE)), RATE)
    # The windows of 4 s at both ends are centred 2 s within: they see four fifths of the drift.
    expected = 2 * np.log(1.08) / (0.8 * np.log(150 / 90))
    assert found["tempo_stability"] == pytest.approx(expected, abs=0.08)


def test_twice_as_fast_is_the_same_tempo():
    assert structure.tempo_stability(np.array([60.0, 120, 240, 90]))[0] == 0.75


def test_short_and_silent_clips_have_no_structure():
    assert structure.measure(np.zeros(20 * RATE), RATE) == {}
    assert structure.measure(melody(1)[: RATE // 10], RATE) == {}
    assert structure.measure(melody(1)[: 5 * RATE], RATE).keys() == {
        *("recurrence", "recurrence_shuffled", "repetition", "tempo_stability", "tempo_bpm")
    }
    found, reasons = structure.of_clips({"a": melody(1), "b": np.zeros(RATE)}, RATE)
    assert reasons == {} and (found["num_clips"], found["clip_seconds"]) == (2, 4.5)
    assert found["tracks"][1] == {"track": "b"} and found["intervals"]["recurrence"]["num_pieces"] == 1
    assert structure.of_clips({"b": np.zeros(RATE)}, RATE)[1].keys() == structure.MEASURES.keys()

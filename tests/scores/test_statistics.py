"""Figures of scores whose figures are known."""

import numpy as np
import pytest

from musicgen_jax.scores import statistics
from musicgen_jax.scores.score import Score


def melody(pitches: list[int], seconds: float = 0.5) -> Score:
    rows = [(pitch, index * seconds, seconds, 100, 0) for index, pitch in enumerate(pitches)]
    return Score(np.array(rows, np.float32))


@pytest.mark.parametrize(
    ("pitches", "share"),
    [
        ([60, 62, 64, 65, 67, 69, 71, 72], 1.0),  # C major
        ([57, 59, 60, 62, 64, 65, 68, 69], 1.0),  # A harmonic minor
        (list(range(60, 72)), 7 / 12),  # chromatic
        ([60, 62, 64, 65, 67, 69, 71, 66], 7 / 8),  # one note out of the key: C with F sharp, or G with F
    ],
)
def test_key_share(pitches: list[int], share: float):
    assert statistics.key_share(melody(pitches)) == pytest.approx(share)


def test_degrees_do_not_depend_on_the_key():
    tune = [60, 62, 64, 65, 67, 67, 60]
    degrees = statistics.degrees(melody(tune))
    assert degrees[0] == pytest.approx(2 / 7) and degrees[7] == pytest.approx(2 / 7)
    np.testing.assert_allclose(statistics.degrees(melody([pitch + 5 for pitch in tune])), degrees)


def test_steps_are_counted_in_voices():
    """Two parts in contrary motion: half the steps go up a tone, half down an octave and more."""
    high, low = melody([60, 62, 64]).notes, melody([70, 55, 40]).notes + np.float32([0, 0, 0, 0, 1])
    found = statistics.intervals(Score(np.concatenate([high, low])))
    assert found[statistics.LARGEST_INTERVAL + 2] == 0.5
    assert found[0] == 0.5
    assert found.sum() == 1


def test_density_and_polyphony():
    """One note for a second, then two for a second, then silence that does not count."""
    score = Score(np.float32([[60, 0, 2, 100, 0], [64, 1, 1, 100, 1], [67, 3, 1, 100, 0]]))
    assert statistics.polyphony(score) == pytest.approx((1 + 2 + 1) / 3)
    assert statistics.notes_per_second(score) == pytest.approx(3 / 4)
    assert statistics.of(score)["note_seconds"] == pytest.approx(4 / 3)


def test_a_motif_that_comes_back_in_another_key_is_heard_again():
    """Twelve pitches, the last six a fourth above the first: of seven figures of five steps one is a repetition."""
    tune = [60, 62, 63, 67, 66, 71]
    assert statistics.recurrence(melody([*tune, *[pitch + 5 for pitch in tune]])) == pytest.approx(1 / 7)
    assert statistics.recurrence(melody([*tune, 50, 64, 52, 69, 55, 80])) == 0
    assert statistics.recurrence(melody(tune[:4])) == 0


def test_what_comes_back_by_chance_is_little_of_a_long_motif():
    rng = np.random.default_rng(0)
    phrase = list(rng.integers(50, 80, 16))
    score = melody(phrase * 4)
    assert statistics.recurrence(score) > 0.7
    assert statistics.recurrence(score, shuffled=True) < 0.2


def test_empty_score_has_zeros():
    empty = Score(np.zeros((0, 5)))
    assert set(statistics.of(empty).values()) == {0.0}
    assert statistics.intervals(empty).sum() == 0


def test_distance_of_histograms():
    assert statistics.distance(np.float64([1, 0]), np.float64([0, 1])) == 1
    assert statistics.distance(np.float64([0.5, 0.5]), np.float64([0.25, 0.75])) == 0.25

"""What of a score stays when its key, tempo and tracks change."""

import numpy as np
import tiny_scores

from musicgen_jax.scores import melodic_shingles
from musicgen_jax.scores.score import PART, Score


def tune(seed: int, part: int = 0) -> np.ndarray:
    """Notes [80, 5] of a melody over quarters of half a second, a third below it, by turns."""
    rng = np.random.default_rng(seed)
    onsets = np.arange(40) / 2
    high = 72 + rng.integers(-9, 10, 40)
    rows = [np.stack([pitch, onsets + late, np.full(40, 0.4), np.full(40, 80), np.full(40, part)], axis=1)
            for pitch, late in ((high, 0.0), (high - 4, 0.01))]  # fmt: skip
    return np.concatenate(rows)


def score(notes: np.ndarray) -> Score:
    return Score(notes, np.arange(60) / 2)


def shingles(value: Score) -> set[int]:
    return set(melodic_shingles.of(value).tolist())


def test_key_and_tempo_change_nothing():
    value = score(tune(0))
    assert len(shingles(value)) == 30  # 39 intervals; the lower notes of the chords do not count
    assert shingles(value.transposed(-5).stretched(1.7)) == shingles(value)
    real = tiny_scores.score(0)
    assert shingles(real) and shingles(real.transposed(3).stretched(0.5)) == shingles(real)


def test_tracks_add_and_take_away():
    one, other = tune(0), tune(1, part=1)
    both = shingles(score(np.concatenate([one, other])))
    assert both == shingles(score(one)) | shingles(score(other - [0, 0, 0, 0, 1]))
    swapped = np.concatenate([one, other])
    swapped[:, PART] = 1 - swapped[:, PART]
    assert shingles(score(swapped)) == both


def test_what_all_music_has_does_not_count():
    scale = tune(0)
    scale[:40, 0] = 40 + np.arange(40)
    scale[40:, 0] = 36 + np.arange(40)
    assert not shingles(score(scale))
    assert not shingles(Score(tune(0)[:5])) and not shingles(Score([]))

"""Stretches of a piece: whole notes, once each, and never more than was said."""

import numpy as np
import pytest

from musicgen_jax.scores import excerpts


@pytest.fixture(scope="module")
def notes() -> np.ndarray:
    """A minute of 300 notes, denser in its middle."""
    rng, num = np.random.default_rng(0), 300
    onset, duration = np.sort(rng.normal(30, 12, num).clip(0, 60)), rng.exponential(0.7, num)
    columns = rng.integers(30, 90, num), onset, duration, rng.integers(1, 128, num), rng.integers(4, size=num)
    return np.stack(columns, axis=1).astype(np.float32)


def test_a_stretch_has_what_sounds_in_it(notes):
    found = excerpts.within(notes, 20.0, 22.5)
    wanted = [row for row in notes.tolist() if row[1] < 22.5 and row[1] + row[2] > 20.0]
    assert found.tolist() == wanted and len(wanted) > 5
    assert (found[:, 1] < 20).any() and (found[:, 1] + found[:, 2] > 22.5).any()
    short = np.float32([[60, 1, 0, 80, 0]])
    assert [len(excerpts.within(short, *bounds)) for bounds in ((0, 1), (1, 2), (2, 3))] == [0, 1, 0]


def test_stretches_joined_are_the_piece(notes):
    ordered = notes[np.lexsort((notes[:, 4], notes[:, 0], notes[:, 1]))]
    parts = [excerpts.within(notes, start, start + 7.5) for start in np.arange(0, 80, 7.5)]
    assert sum(map(len, parts)) > len(notes)
    np.testing.assert_array_equal(excerpts.joined(parts), ordered)
    assert excerpts.joined([]).shape == (0, 5) and excerpts.joined([]).dtype == np.float32


def test_no_stretch_has_more_notes_than_its_crowd(notes):
    most = excerpts.crowds(notes)
    assert list(most) == sorted(most) and most[-1] == len(notes) > most[-2]
    starts = np.concatenate([np.linspace(-1, 60, 2000), notes[:, 1], notes[:, 1] + notes[:, 2]])
    for octave, limit in enumerate(most):
        counts = [len(excerpts.within(notes, s, s + 2.0**octave)) for s in starts]
        assert max(counts) <= limit
        if octave in (0, 3):  # and no fewer: one of a stretch that ends just behind an onset has as many
            ends = notes[:, 1].astype(np.float64) + 1e-6
            assert max(len(excerpts.within(notes, end - 2.0**octave, end)) for end in ends) == limit
    assert (excerpts.crowd(most, 0.3), excerpts.crowd(most, 3.0)) == (most[0], most[2])
    assert excerpts.crowd(most, 1e6) == len(notes) and excerpts.crowd((), 5.0) == 0
    assert excerpts.crowds(notes[:0]) == ()

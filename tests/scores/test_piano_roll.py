"""Piano rolls against the definition, note by note."""

import numpy as np
import pytest

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import piano_roll


@pytest.mark.parametrize("rate", [10.0, 31.25, 125.0])
def test_as_note_by_note(rate):
    rng = np.random.default_rng(0)
    count, num_frames = 200, 100
    seconds = num_frames / rate
    onsets = rng.uniform(-0.5 * seconds, 1.5 * seconds, count)
    columns = (
        rng.integers(0, 128, count),
        onsets,
        rng.exponential(0.1 * seconds, count),
        np.full(count, 64),
        count * [0],
    )
    notes = np.stack(columns, axis=1).astype(np.float32)
    sounding, begins = piano_roll.planes(notes, num_frames, rate)
    assert sounding.dtype == begins.dtype == bool
    wanted, starts = np.zeros((2, num_frames, 128), bool)
    for pitch, onset, duration, _, _ in notes.astype(np.float64).tolist():
        for t in range(num_frames):
            touched = onset < (t + 0.99) / rate and onset + duration > (t + 0.01) / rate
            starts[t, int(pitch)] |= t <= onset * rate + 0.01 < t + 1
            wanted[t, int(pitch)] |= touched or t <= onset * rate + 0.01 < t + 1
    np.testing.assert_array_equal(sounding, wanted)
    np.testing.assert_array_equal(begins, starts)


def test_borders_are_not_crossed_by_rounding():
    notes = np.float32([[60, 0.1, 0.2, 64, 0], [62, 0.3, 0.1, 64, 0], [60, 0.7, 1e-4, 64, 0], [64, 0.2, 0, 64, 0]])
    sounding, begins = piano_roll.planes(notes, 10, 10.0)
    assert np.flatnonzero(sounding[:, 60]).tolist() == [1, 2, 7]
    assert np.flatnonzero(sounding[:, 62]).tolist() == [3]
    assert np.flatnonzero(begins[:, 60]).tolist() == [1, 7]
    assert not sounding[:, 64].any()  # only fills up a batch


def test_nothing():
    sounding, begins = piano_roll.planes(np.zeros((0, 5)), 4, 10.0)
    assert sounding.shape == begins.shape == (4, 128) and not sounding.any()
    assert piano_roll.planes(np.float32([[60, 0, 1, 64, 0]]), 0, 10.0)[0].shape == (0, 128)


@pytest.mark.parametrize(("num_frames", "rate"), [(-1, 10.0), (4, 0.0), (4, np.nan), (1 << 40, 10.0)])
def test_bad_numbers(num_frames, rate):
    with pytest.raises(UserError, match="must be"):
        piano_roll.planes(np.zeros((0, 5)), num_frames, rate)

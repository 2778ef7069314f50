"""Overlap-add: windows that add to one, and frames that lie where they were cut."""

import numpy as np
import pytest

from musicgen_jax.ddsp import overlap_add


@pytest.mark.parametrize(("length", "hop_length"), [(32, 16), (64, 16), (96, 8)])
def test_windows_add_to_one(length, hop_length):
    frames = np.tile(overlap_add.hann(length, hop_length), (1, 12, 1))
    total = np.asarray(overlap_add.overlap_add(frames, hop_length))
    inside = slice(length, -length)
    np.testing.assert_allclose(total[:, inside], 1.0, atol=1e-6)


def test_a_window_that_is_no_even_multiple_is_refused():
    with pytest.raises(ValueError, match="48 samples is not an even multiple of the hop length 16"):
        overlap_add.hann(48, 16)


@pytest.mark.parametrize("hop_length", [4, 8])
@pytest.mark.parametrize("extra", [0, 2, 10, 34])
def test_every_frame_lands_centred_on_its_strip(hop_length, extra):
    length = 2 * hop_length + extra
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((2, 6, length)).astype(np.float32)
    want = np.zeros((2, 6 * hop_length + 2 * length), np.float32)
    for k in range(6):
        first = length + k * hop_length + (hop_length - length) // 2
        want[:, first : first + length] += frames[:, k]
    got = np.asarray(overlap_add.overlap_add(frames, hop_length))
    np.testing.assert_allclose(got, want[:, length : length + 6 * hop_length], atol=1e-5)


@pytest.mark.parametrize("hop_length", [4, 8])
def test_cut_and_add_gives_the_sound_back(hop_length):
    audio = np.random.default_rng(1).standard_normal((2, 9 * hop_length)).astype(np.float32)
    frames = overlap_add.cut(audio, hop_length) * overlap_add.hann(2 * hop_length, hop_length)
    assert frames.shape == (2, 9, 2 * hop_length)
    back = np.asarray(overlap_add.overlap_add(frames, hop_length))
    inside = slice(hop_length // 2, -(hop_length // 2))  # half a strip at each end lies under one window only
    np.testing.assert_allclose(back[:, inside], audio[:, inside], atol=1e-6)

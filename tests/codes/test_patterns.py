"""Patterns of several codebooks written out, and their inverses."""

import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.codes import patterns


def test_delay_written_out():
    pattern, codes = patterns.delay(3, 2), np.array([[[1, 10], [2, 20], [3, 30]]])
    np.testing.assert_array_equal(pattern.placed(codes, -1), [[[1, -1], [2, 10], [3, 20], [-1, 30]]])
    np.testing.assert_array_equal(pattern.newest, [0, 1, 2, 2])
    np.testing.assert_array_equal(pattern.steps, [[0, 1], [1, 2], [2, 3]])
    assert pattern.codebook is None


def test_flat_written_out():
    pattern, codes = patterns.flat(2, 2), np.array([[[1, 10], [2, 20]]])
    np.testing.assert_array_equal(pattern.placed(codes, -1), [[[1, -1], [-1, 10], [2, -1], [-1, 20]]])
    np.testing.assert_array_equal(pattern.newest, [0, 0, 1, 1])
    np.testing.assert_array_equal(pattern.codebook, [0, 1, 0, 1])


@pytest.mark.parametrize("name", ("delay", "flat"))
@pytest.mark.parametrize(("num_frames", "num_codebooks"), [(1, 1), (7, 1), (1, 4), (2, 5), (9, 4)])
def test_every_code_has_its_step_and_comes_back(name, num_frames, num_codebooks):
    pattern = patterns.of(name, num_frames, num_codebooks)
    codes = np.random.default_rng(0).integers(100, size=(3, num_frames, num_codebooks, 2))
    placed = pattern.placed(jnp.asarray(codes), -1)
    assert placed.shape[:3] == (3, *pattern.frames.shape)
    assert (np.asarray(placed) >= 0).sum() == codes.size
    np.testing.assert_array_equal(pattern.restored(placed), codes)
    # A code is predicted behind all codes of its codebook and of its frame that come before it.
    assert (np.diff(pattern.steps, axis=0) > 0).all() and (np.diff(pattern.steps, axis=1) > 0).all()
    expected = num_frames + num_codebooks - 1 if name == "delay" else num_frames * num_codebooks
    assert len(pattern.frames) == expected and (pattern.frames.max(axis=1) >= 0).all()


def test_one_codebook_is_left_as_it_is():
    codes = jnp.zeros((2, 5, 1), jnp.int32)
    for name in ("delay", "flat"):
        pattern = patterns.of(name, 5, 1)
        assert pattern.placed(codes, -1) is codes and pattern.restored(codes) is codes and pattern.codebook is None

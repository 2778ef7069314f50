"""Statistics that grow clip by clip equal those of all frames, and are on disk what they were."""

import types

import fuzzing
import numpy as np
import pytest

from musicgen_jax.evaluation import embedding_statistics, kernel_distance

RNG = np.random.default_rng(0)


def accumulated(clips, dimensions=6, version="abc"):
    embedding = types.SimpleNamespace(name="test", version=version, dimensions=dimensions, window_seconds=1.0)
    accumulator = embedding_statistics.Accumulator(embedding)
    for clip in clips:
        accumulator.add(clip)
    return accumulator.result()


def test_streamed_equals_at_once():
    # A mean far from 0: sums of squares would lose half of their digits.
    clips = [RNG.standard_normal((size, 6)) @ RNG.standard_normal((6, 6)) + 1e5 for size in (1, 7, 0, 300, 20)]
    found, frames = accumulated(clips), np.concatenate(clips)
    assert found.num_frames == 328 and found.reliable
    np.testing.assert_allclose(found.gaussian.mean, frames.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.gaussian.covariance, np.cov(frames, rowvar=False), rtol=1e-7, atol=1e-7)
    np.testing.assert_array_equal(found.frames, frames.astype(np.float32))
    np.testing.assert_array_equal(np.unique(found.clips, return_counts=True)[1], [1, 7, 300, 20])


def test_frames_that_are_kept_are_evenly_spaced_and_bounded():
    clips = [np.full((1000, 1), clip) + np.arange(1000)[:, None] / 1000 for clip in range(10)]
    found = accumulated(clips, dimensions=1)
    assert 2048 < len(found.frames) <= 4096 and found.num_frames == 10_000
    assert np.ptp(np.diff(found.frames[:, 0])) < 1e-5
    np.testing.assert_array_equal(found.clips, found.frames[:, 0].astype(int))


def test_fewer_frames_than_dimensions_are_unreliable():
    assert not accumulated([RNG.standard_normal((5, 6))]).reliable
    assert accumulated([RNG.standard_normal((6, 6))]).reliable


def test_saved_and_loaded(tmp_path):
    found = accumulated([RNG.standard_normal((50, 6)), RNG.standard_normal((9, 6))])
    found.save(tmp_path / "x.npz")
    again = embedding_statistics.load(tmp_path / "x.npz")
    assert (again.embedding, again.embedding_hash, again.num_frames) == ("test", "abc", 59)
    np.testing.assert_array_equal(again.gaussian.mean, found.gaussian.mean)
    np.testing.assert_array_equal(again.gaussian.covariance, found.gaussian.covariance)
    np.testing.assert_array_equal(again.frames, found.frames)
    np.testing.assert_array_equal(again.clips, found.clips)
    assert again.bandwidth == found.bandwidth == kernel_distance.median_distance(found.frames)
    with np.load(tmp_path / "x.npz") as arrays:
        assert {"mu", "cov", "n", "embedding_hash", "bandwidth"} <= set(arrays)


def test_other_embeddings_do_not_compare():
    one = accumulated([RNG.standard_normal((5, 6))])
    one.require_same_embedding(accumulated([RNG.standard_normal((8, 6))]))
    with pytest.raises(ValueError, match="statistics of test abc and of test abd do not compare"):
        one.require_same_embedding(accumulated([RNG.standard_normal((5, 6))], version="abd"))


def test_what_is_no_statistics_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", mu=np.zeros(3))
    with pytest.raises(ValueError, match="has no cov, n"):
        embedding_statistics.load(tmp_path / "x.npz")
    accumulated([RNG.standard_normal((5, 6))]).save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        changed = dict(arrays) | {"mu": np.zeros(5)}
    np.savez(tmp_path / "x.npz", **changed)
    with pytest.raises(ValueError, match="do not fit together"):
        embedding_statistics.load(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="not finite"):
        accumulated([np.full((2, 6), np.nan)])
    with pytest.raises(ValueError, match="1 frames of 1 s"):
        accumulated([np.zeros((1, 6))])


def test_damaged_files(tmp_path):
    accumulated([RNG.standard_normal((50, 6))]).save(tmp_path / "x.npz")
    content = (tmp_path / "x.npz").read_bytes()
    fuzzing.survey_file(tmp_path / "x.npz", embedding_statistics.load, fuzzing.zip_mutations(content, 0, 100))

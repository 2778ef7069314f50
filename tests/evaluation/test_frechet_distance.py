import numpy as np
import pytest
import scipy.linalg

from musicgen_jax.evaluation import frechet_distance

RNG = np.random.default_rng(0)


def _gaussian(mean, covariance):
    return frechet_distance.GaussianStatistics(np.asarray(mean, float), np.asarray(covariance, float), 100)


def _correlated(num_frames, dimensions):
    return RNG.standard_normal((num_frames, dimensions)) @ RNG.standard_normal((dimensions, dimensions)) + 1.0


def test_statistics_equal_numpy():
    frames = _correlated(50, 6)
    statistics = frechet_distance.gaussian_statistics(frames.astype(np.float32))
    np.testing.assert_allclose(statistics.mean, frames.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(statistics.covariance, np.cov(frames, rowvar=False), rtol=1e-4, atol=1e-5)
    assert statistics.covariance.dtype == np.float64
    assert statistics.num_frames == 50


def test_identical_sets_have_distance_zero():
    frames = _correlated(200, 8)
    assert frechet_distance.frechet_distance(frames, frames) == (pytest.approx(0.0, abs=1e-9), 200, 200)


def test_translation_adds_its_squared_length():
    frames, shift = _correlated(200, 8), RNG.standard_normal(8)
    assert frechet_distance.frechet_distance(frames + shift, frames).value == pytest.approx(shift @ shift, rel=1e-9)


def test_isotropic_gaussians():
    a, b = _gaussian([0, 0, 0], 4.0 * np.eye(3)), _gaussian([1, 2, 2], 0.25 * np.eye(3))
    assert frechet_distance.gaussian_distance(a, b) == pytest.approx(9 + 3 * (2 - 0.5) ** 2)


def test_commuting_covariances():
    a, b = _gaussian([0, 0], np.diag([1.0, 9.0])), _gaussian([0, 3], np.diag([4.0, 0.0]))
    assert frechet_distance.gaussian_distance(a, b) == pytest.approx(9 + (1 - 2) ** 2 + (3 - 0) ** 2)


def test_one_dimension():
    a, b = _gaussian([1.0], [[4.0]]), _gaussian([0.0], [[9.0]])
    assert frechet_distance.gaussian_distance(a, b) == pytest.approx(1 + (2 - 3) ** 2)


def test_symmetry_and_rotation_invariance():
    a, b = _correlated(100, 10), _correlated(80, 10)
    rotation, _ = np.linalg.qr(RNG.standard_normal((10, 10)))
    forward = frechet_distance.frechet_distance(a, b)
    backward = frechet_distance.frechet_distance(b, a)
    assert forward.value == pytest.approx(backward.value, rel=1e-9)
    assert (forward.num_frames, forward.num_reference_frames) == (100, 80)
    assert frechet_distance.frechet_distance(a @ rotation, b @ rotation).value == pytest.approx(forward.value, rel=1e-9)


@pytest.mark.parametrize("num_frames", [500, 20])
def test_equals_the_general_matrix_square_root(num_frames):
    # 20 frames of 32 dimensions: neither covariance has full rank.
    a, b = (frechet_distance.gaussian_statistics(_correlated(num_frames, 32)) for _ in range(2))
    cross = np.trace(scipy.linalg.sqrtm(a.covariance @ b.covariance)).real
    shift = a.mean - b.mean
    expected = shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross
    assert frechet_distance.gaussian_distance(a, b) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((1, 4)), np.zeros((5, 4)), "at least two frames"),
        (np.zeros((5, 4)), np.zeros(4), "at least two frames"),
        (np.zeros((5, 4)), np.zeros((5, 3)), "same embedding"),
        (np.full((5, 4), np.nan), np.zeros((5, 4)), "20 embedding values are not finite"),
    ],
)
def test_sets_without_a_distance_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance.frechet_distance(a, b)


def spectrum(dimensions, rng):
    """A mixing matrix whose covariance has a trace of about `dimensions`, some axes far larger than others."""
    return rng.standard_normal((dimensions, dimensions)) / np.sqrt(dimensions)


@pytest.mark.slow
def test_endlessly_many_frames_of_one_distribution_have_distance_zero():
    """1,000 frames of 128 dimensions: their distance is above 2.5 for their number alone."""
    rng = np.random.default_rng(0)
    mixing = spectrum(128, rng)
    truth = frechet_distance.Reference(_gaussian(np.zeros(128), mixing.T @ mixing))
    found, plain = [], []
    for _ in range(4):
        frames = rng.standard_normal((1000, 128)) @ mixing
        found.append(frechet_distance.extrapolated(frames, np.arange(1000), truth))
        plain.append(truth.distance(frechet_distance.gaussian_statistics(frames)))
    values = [one.value for one in found]
    assert min(plain) > 2.5
    assert abs(np.mean(values)) < 0.1 and max(np.abs(values)) < 0.2
    assert min(one.r_squared for one in found) > 0.99 and found[0].least_frames == 500


def test_extrapolation_keeps_what_is_different():
    rng = np.random.default_rng(0)
    truth = frechet_distance.Reference(_gaussian(np.zeros(8), np.eye(8)))
    frames = rng.standard_normal((400, 8)) + 1.0
    found = frechet_distance.extrapolated(frames, np.arange(400), truth)
    assert found.value == pytest.approx(8.0, abs=0.5)
    assert found == frechet_distance.extrapolated(frames, np.arange(400), truth)  # the same draws each time


def test_subsets_are_of_whole_clips():
    clips = np.repeat(np.arange(20), 5)
    order = frechet_distance._drawn(clips, np.random.default_rng(0))
    assert sorted(order) == list(range(100))
    drawn = clips[order].reshape(20, 5)
    assert (drawn == drawn[:, :1]).all() and not (drawn[:, 0] == np.arange(20)).all()


def test_too_few_frames_to_extrapolate():
    truth = frechet_distance.Reference(_gaussian(np.zeros(8), np.eye(8)))
    with pytest.raises(ValueError, match=r"15 frames of 8 dimensions: .* no fewer than 16"):
        frechet_distance.extrapolated(np.zeros((15, 8)), np.arange(15), truth)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 60])
def test_a_clip_has_the_distance_of_its_frames(num_frames):
    reference = frechet_distance.gaussian_statistics(_correlated(200, 12))
    frames = _correlated(num_frames, 12)
    found = frechet_distance.Reference(reference).clip_distance(frames)
    covariance = np.cov(frames, rowvar=False) if num_frames > 1 else np.zeros((12, 12))
    alone = _gaussian(frames.mean(axis=0), covariance)
    assert found == pytest.approx(frechet_distance.gaussian_distance(alone, reference), rel=1e-6)

"""Fréchet distance between Gaussians fitted to two sets of embedding frames, in float64."""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

from musicgen_jax.runtime.errors import UserError

NUM_SIZES, NUM_DRAWS = 12, 8  # of the subsets that a distance is extrapolated from


class GaussianStatistics(NamedTuple):
    """mean [D] and covariance [D, D] (divisor n - 1), float64, of `num_frames` embedding frames."""

    mean: np.ndarray
    covariance: np.ndarray
    num_frames: int


class FrechetDistance(NamedTuple):
    """The distance, and how many frames stand behind it: it is biased upwards by about 1/n, so n belongs beside it."""

    value: float
    num_frames: int
    num_reference_frames: int


def gaussian_statistics(embeddings: np.ndarray) -> GaussianStatistics:
    """Mean and covariance of embedding frames [N, D], pooled over all files of a set.

    Raises:
      UserError: not [N, D], fewer than two frames, or a value is not finite.
    """
    frames = np.asarray(embeddings, np.float64)
    if frames.ndim != 2 or frames.shape[0] < 2 or frames.shape[1] == 0:
        raise UserError(
            f"embeddings of shape {frames.shape}: a covariance needs [N, D] with at least two frames; "
            "use more or longer audio"
        )
    if not np.all(np.isfinite(frames)):
        raise UserError(f"{np.count_nonzero(~np.isfinite(frames))} embedding values are not finite")
    return _gaussian(frames)


def _gaussian(frames: np.ndarray) -> GaussianStatistics:
    mean = frames.mean(axis=0)
    centred = frames - mean
    return GaussianStatistics(mean, centred.T @ centred / (len(frames) - 1), len(frames))


def gaussian_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """|mu_a - mu_b|^2 + tr A + tr B - 2 tr (A B)^(1/2), clipped at 0 (Dowson and Landau 1982; Heusel et al. 2017).

    Raises:
      UserError: the dimensions differ.
    """
    return Reference(b).distance(a)


class Reference:
    """A Gaussian that many others are compared with: what depends on it alone is computed once.

    The trace of the root of A B is the sum of the square roots of the eigenvalues of the symmetric R^T A R, where
    R R^T = B, which stays real where A or B has no full rank; the general matrix square root does not.

    Args:
      statistics: of the reference.
    """

    def __init__(self, statistics: GaussianStatistics):
        self._statistics, self._trace = statistics, np.trace(statistics.covariance)
        self._root = _root(statistics.covariance)

    def distance(self, other: GaussianStatistics) -> float:
        """As `gaussian_distance`."""
        if other.mean.shape != self._statistics.mean.shape:
            raise UserError(
                f"embeddings of {other.mean.size} and {self._statistics.mean.size} dimensions: both sets must come "
                "from the same embedding"
            )
        cross = np.sum(np.sqrt(np.clip(_eigenvalues(self._root, other.covariance), 0.0, None)))
        shift = other.mean - self._statistics.mean
        return max(float(shift @ shift + np.trace(other.covariance) + self._trace - 2 * cross), 0.0)

    def clip_distance(self, frames: np.ndarray) -> float:
        """The distance of one clip's frames [N, D] alone, N >= 1.

        So few frames determine no covariance: the value ranks clips of one length, and says nothing by itself.
        """
        frames = np.asarray(frames, np.float64)
        mean = frames.mean(axis=0)
        # R^T A R is this matrix times itself: the roots of its eigenvalues that are not 0 are the singular values.
        spread = (frames - mean) @ self._root / np.sqrt(max(len(frames) - 1, 1))
        shift = mean - self._statistics.mean
        variance = np.sum((frames - mean) ** 2) / max(len(frames) - 1, 1)
        value = shift @ shift + variance + self._trace - 2 * np.linalg.svd(spread, compute_uv=False).sum()
        return max(float(value), 0.0)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Lower triangular R [D, D] with R R^T = covariance, in the order of memory that LAPACK has."""
    try:
        return scipy.linalg.cholesky(covariance.T, lower=True, check_finite=False)  # several times faster
    except np.linalg.LinAlgError:  # it has no full rank
        eigenvalues, vectors = np.linalg.eigh(covariance)
        return np.linalg.qr((vectors * np.sqrt(np.clip(eigenvalues, 0.0, None))).T, mode="r").T


def _eigenvalues(root: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Of R^T A R, float64 [D], R lower triangular and A symmetric, all [D, D].

    LAPACK's steps by themselves: products with a triangle are half of the work, and of the eigenvalues no more is done
    than to bring the matrix to three diagonals and these to one. Transposed, a symmetric matrix need not be copied.
    """
    half = blas.dtrmm(1.0, root, covariance.T, side=1, lower=1)
    product = blas.dtrmm(1.0, root, half, side=0, lower=1, trans_a=1, overwrite_b=1)
    work = max(int(lapack.dsytrd_lwork(len(root), lower=1)[0]), 1)
    _, diagonal, beside, _, _ = lapack.dsytrd(product, lower=1, lwork=work, overwrite_a=1)
    if len(root) == 1:
        return diagonal
    found, info = lapack.dsterf(diagonal, beside)
    if info:
        raise np.linalg.LinAlgError("the eigenvalues of the product of two covariances did not converge")
    return found


class Extrapolation(NamedTuple):
    """The distance that endlessly many frames would have.

    Attributes:
      value: of the line at 1/n = 0. It may lie below 0, by as much as chance moves it.
      r_squared: how well the line fits, 1 at best.
      least_frames: of the subsets that the line was fitted to.
    """

    value: float
    r_squared: float
    least_frames: int


def extrapolated(frames: np.ndarray, clips: np.ndarray, reference: Reference) -> Extrapolation:
    """Fréchet distance of a set, without the bias of its number of frames (Chong and Forsyth 2020, FID infinity).

    Distances of subsets of n frames, from half of them to all, lie on a line over 1/n. Subsets are drawn without
    replacement: with it, the line would lead to the distance of the set as it is. They are made of whole clips up to
    the last one, as frames of one clip say nearly the same. What the reference's own number of frames adds stays.

    Args:
      frames: [N, D].
      clips: [N], which clip each frame is of.
      reference: what they are compared with.

    Raises:
      UserError: half of the frames are fewer than dimensions.
    """
    count, dimensions = frames.shape
    if count < 2 * dimensions:
        raise UserError(
            f"{count} frames of {dimensions} dimensions: endlessly many are extrapolated from no fewer than "
            f"{2 * dimensions}; use more or longer audio"
        )
    frames = np.asarray(frames, np.float64)
    rng = np.random.default_rng(0)
    sizes = np.round(1 / np.linspace(2 / count, 1 / count, NUM_SIZES)).astype(int)
    values = []
    for size in sizes:
        draws = [reference.distance(_gaussian(frames[_drawn(clips, rng)[:size]])) for _ in range(NUM_DRAWS)]
        values.append(np.mean(draws))
    slope, value = np.polyfit(1 / sizes, values, 1)
    residual = np.sum((np.array(values) - (slope / sizes + value)) ** 2)
    spread = np.sum((np.array(values) - np.mean(values)) ** 2)
    r_squared = 1 - residual / spread if spread > 0 else 1.0
    return Extrapolation(float(value), float(r_squared), int(sizes[0]))


def _drawn(clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of all frames, [N], those of a clip behind each other and the clips in random order."""
    numbers, of_frame = np.unique(clips, return_inverse=True)
    return np.argsort(rng.permutation(len(numbers))[of_frame], kind="stable")


def frechet_distance(embeddings: np.ndarray, reference: np.ndarray) -> FrechetDistance:
    """Fréchet distance between two sets of embedding frames [N, D] and [M, D]. Lower is better, 0 is identical.

    Values compare only between sets of equal N and M, of the same embedding and against the same reference.

    Raises:
      UserError: fewer than two frames in a set, differing D, or values that are not finite.
    """
    a, b = gaussian_statistics(embeddings), gaussian_statistics(reference)
    return FrechetDistance(gaussian_distance(a, b), a.num_frames, b.num_frames)

"""Fréchet distance between Gaussians fitted to two sets of embedding frames, in float64."""

from typing import NamedTuple

import numpy as np

from musicgen_jax.runtime.errors import UserError


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
    mean = frames.mean(axis=0)
    centred = frames - mean
    return GaussianStatistics(mean, centred.T @ centred / (len(frames) - 1), len(frames))


def gaussian_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """|mu_a - mu_b|^2 + tr A + tr B - 2 tr (A B)^(1/2), clipped at 0 (Dowson and Landau 1982; Heusel et al. 2017).

    The trace of the root is the sum of the square roots of the eigenvalues of the symmetric A^(1/2) B A^(1/2), which
    stays real where A or B has no full rank; the general matrix square root does not.

    Raises:
      UserError: the dimensions differ.
    """
    if a.mean.shape != b.mean.shape:
        raise UserError(
            f"embeddings of {a.mean.size} and {b.mean.size} dimensions: both sets must come from the same embedding"
        )
    eigenvalues, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.clip(eigenvalues, 0.0, None))) @ vectors.T
    product = root @ b.covariance @ root
    cross = np.sum(np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0.0, None)))
    shift = a.mean - b.mean
    value = shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross
    return max(float(value), 0.0)


def frechet_distance(embeddings: np.ndarray, reference: np.ndarray) -> FrechetDistance:
    """Fréchet distance between two sets of embedding frames [N, D] and [M, D]. Lower is better, 0 is identical.

    Values compare only between sets of equal N and M, of the same embedding and against the same reference.

    Raises:
      UserError: fewer than two frames in a set, differing D, or values that are not finite.
    """
    a, b = gaussian_statistics(embeddings), gaussian_statistics(reference)
    return FrechetDistance(gaussian_distance(a, b), a.num_frames, b.num_frames)

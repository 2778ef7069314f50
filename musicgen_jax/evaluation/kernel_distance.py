"""Kernel Audio Distance between two sets of embedding frames (Chung et al. 2025, arXiv:2502.15602), in float64.

It asks no Gaussian of the frames, and does not depend on how many there are but for its noise.
"""

import numpy as np

from musicgen_jax.runtime.errors import UserError

SCALE = 100.0
MAX_PAIRED = 2048  # frames whose distances the median is of
BLOCK = 1024  # rows of a kernel at a time


def median_distance(frames: np.ndarray) -> float:
    """Median Euclidean distance of two frames of [N, D], of at most 2,048 evenly spaced ones; 0 where there is one."""
    frames = np.asarray(frames, np.float64)[:: -(-len(frames) // MAX_PAIRED)]
    pairs = np.triu_indices(len(frames), 1)
    return float(np.median(np.sqrt(_squared(frames, frames)[pairs]))) if len(frames) > 1 else 0.0


def kernel_distance(frames: np.ndarray, reference: np.ndarray, bandwidth: float) -> float:
    """100 times the squared maximum mean discrepancy, without bias (Gretton et al. 2012, eq. 3), of [N, D] and [M, D].

    The kernel is exp(-|x - y|^2 / (2 bandwidth^2)). Lower is better; 0 on average for sets of one distribution, so it
    may be negative. Values compare only where bandwidth and reference are the same.

    Args:
      frames: of the set that is judged.
      reference: of the one that it is compared with.
      bandwidth: of the kernel: `median_distance` of the reference.

    Raises:
      UserError: fewer than two frames in a set, or a bandwidth that is not greater than 0.
    """
    if min(len(frames), len(reference)) < 2:
        raise UserError(
            f"{len(frames)} frames against {len(reference)}: a kernel distance needs two of each; use more or longer "
            "audio"
        )
    if not bandwidth > 0:
        raise UserError("most frames of the reference are equal: its median distance of 0 is no bandwidth of a kernel")
    frames, reference = np.asarray(frames, np.float64), np.asarray(reference, np.float64)
    within = [
        (_kernel_sum(one, one, bandwidth) - len(one)) / (len(one) * (len(one) - 1)) for one in (frames, reference)
    ]
    across = _kernel_sum(frames, reference, bandwidth) / (len(frames) * len(reference))
    return SCALE * (sum(within) - 2 * across)


def _kernel_sum(a: np.ndarray, b: np.ndarray, bandwidth: float) -> float:
    """Sum of the kernel over all pairs, in memory that grows with one side alone."""
    return sum(
        float(np.exp(_squared(a[start : start + BLOCK], b) / (-2 * bandwidth**2)).sum())
        for start in range(0, len(a), BLOCK)
    )


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [N, M]."""
    centre = b.mean(axis=0)  # small numbers lose less when they are subtracted
    a, b = a - centre, b - centre
    return np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T, 0)

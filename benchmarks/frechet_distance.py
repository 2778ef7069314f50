"""How long does the Fréchet distance of two Gaussians take, and does it agree with the general matrix root?

    python -m benchmarks.frechet_distance --dimensions=128,200,512

Ours, by eigenvalues of a symmetric matrix, beside the peer: scipy.linalg.sqrtm of the product, as the packages
frechet_audio_distance and fadtk have it. A JSON line a size: `value` is CPU seconds of ours, the least of --repeats by
turns with the peer's, `ratio_to_peer` how many times longer that takes, `ratio_with_known_reference` the same where the
reference has been used before, as in an evaluation it has; `relative_difference` that of the two distances. Run it with
OPENBLAS_NUM_THREADS=1: CPU seconds of several threads count what they wait.
"""

import json
import pathlib
import sys
import time

import numpy as np
import scipy.linalg
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.evaluation.frechet_distance import (
    GaussianStatistics,
    Reference,
    gaussian_distance,
    gaussian_statistics,
)

_DIMENSIONS = flags.DEFINE_list("dimensions", ["128", "200", "512"], "D.")
_FRAMES = flags.DEFINE_integer("frames", 4000, "Of each of the two sets.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Of each side.", lower_bound=1)


def main() -> None:
    """Flags -> JSON lines."""
    for size in _DIMENSIONS.value:
        config.require(size.isdecimal() and int(size) > 0, f"--dimensions: {size!r} must be a whole number above 0")
        line = {"benchmark": "frechet_distance", "unit": "s"} | measured(int(size), _FRAMES.value, _REPEATS.value)
        print(json.dumps(line), flush=True)


def measured(dimensions: int, frames: int, repeats: int) -> dict:
    """The figures of a size."""
    rng = np.random.default_rng(0)
    a, b = (
        gaussian_statistics(rng.standard_normal((frames, dimensions)) @ rng.standard_normal((dimensions, dimensions)))
        for _ in range(2)
    )
    reference = Reference(b)
    distances = (gaussian_distance, by_matrix_root, lambda a, _: reference.distance(a))
    seconds, values = np.zeros((repeats, len(distances))), np.zeros(len(distances))
    for repeat in range(repeats):
        for side, distance in enumerate(distances):
            start = time.process_time()
            values[side] = distance(a, b)
            seconds[repeat, side] = time.process_time() - start
    ours, peer, known = seconds.min(axis=0)
    return {
        "value": ours,
        "ratio_to_peer": peer / ours,
        "ratio_with_known_reference": peer / known,
        "dimensions": dimensions,
        "frames": frames,
        "relative_difference": float(np.max(np.abs(values / values[0] - 1))),
    }


def by_matrix_root(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """The peer's formula; where no root is found, with 1e-6 on the diagonals."""
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    if not np.isfinite(root).all():
        offset = 1e-6 * np.eye(len(root))
        root = scipy.linalg.sqrtm((a.covariance + offset) @ (b.covariance + offset))
    shift = a.mean - b.mean
    return float(shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.trace(root.real))


if __name__ == "__main__":
    cli.run(main)

"""How long does the Fréchet distance of two Gaussians take, and does it agree with the general matrix root?

    python -m benchmarks.frechet_distance --dimensions=128,200,512

Ours, by eigenvalues of a symmetric matrix, beside scipy.linalg.sqrtm of the product: in complex numbers, as the package
frechet_audio_distance has it (the peer), and in real ones. A JSON line a size: `value` is CPU seconds of ours, the
least of --repeats by turns with the others', `ratio_to_peer` and `ratio_to_real_root` how many times longer those take,
`relative_difference` the larger one between the distances. Run it with OPENBLAS_NUM_THREADS=1: CPU seconds of several
threads count what they wait.
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
from musicgen_jax.evaluation.frechet_distance import GaussianStatistics, gaussian_distance, gaussian_statistics

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
    distances = (
        gaussian_distance,
        lambda a, b: by_matrix_root(a, b, complex),
        lambda a, b: by_matrix_root(a, b, float),
    )
    seconds, values = np.zeros((repeats, 3)), np.zeros(3)
    for repeat in range(repeats):
        for side, distance in enumerate(distances):
            start = time.process_time()
            values[side] = distance(a, b)
            seconds[repeat, side] = time.process_time() - start
    ours, peer, real_root = seconds.min(axis=0)
    return {
        "value": ours,
        "ratio_to_peer": peer / ours,
        "ratio_to_real_root": real_root / ours,
        "dimensions": dimensions,
        "frames": frames,
        "relative_difference": float(np.max(np.abs(values[1:] / values[0] - 1))),
    }


def by_matrix_root(a: GaussianStatistics, b: GaussianStatistics, dtype: type) -> float:
    """The formula of the others."""
    root = scipy.linalg.sqrtm((a.covariance @ b.covariance).astype(dtype))
    shift = a.mean - b.mean
    return float(shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.trace(root.real))


if __name__ == "__main__":
    cli.run(main)

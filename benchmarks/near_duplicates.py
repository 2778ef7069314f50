"""How does the time of finding near duplicates grow with the number of files?

    python -m benchmarks.near_duplicates --counts=11000,44000,176581

Half of so many sketches are random, the others agree with one of them at half of their places. A JSON line a count:
`value` is seconds of this process's time to find the pairs, `per_file` microseconds, `found` the share that was found,
`false_clusters` how many clusters are not one pair, `peak_bytes` the most that the process had.
"""

import collections
import json
import pathlib
import resource
import sys
import time

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.data import near_duplicates

_COUNTS = flags.DEFINE_list("counts", ["11000", "44000", "176581"], "Numbers of files.")
AGREEMENT = 0.25


def main() -> None:
    """Flags -> JSON lines."""
    for count in _COUNTS.value:
        config.require(count.isdecimal() and int(count) > 1, f"--counts: {count!r} must be a whole number above 1")
        print(json.dumps({"benchmark": "near_duplicates", "unit": "s"} | measured(int(count) // 2)), flush=True)


def measured(pairs: int) -> dict:
    """The figures of so many pairs."""
    clusters, sketches = near_duplicates.Clusters(2 * pairs), list(table(pairs))
    start = time.process_time()
    clusters.unite_alike(sketches, AGREEMENT)
    seconds, roots = time.process_time() - start, clusters.roots()
    sizes = collections.Counter(collections.Counter(roots).values())
    return {
        "value": seconds,
        "count": 2 * pairs,
        "per_file": 1e6 * seconds / (2 * pairs),
        "found": float(np.mean([roots[n] == roots[n + pairs] for n in range(pairs)])),
        "false_clusters": sum(number for size, number in sizes.items() if size > 2),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def table(pairs: int) -> np.ndarray:
    """Sketches, uint32 [2 * pairs, NUM_HASHES]: the second half is made of the first."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, 2**32, (2 * pairs, near_duplicates.NUM_HASHES), np.uint32)
    half = near_duplicates.NUM_HASHES // 2
    found[pairs:, :half] = found[:pairs, :half]
    return found


if __name__ == "__main__":
    cli.run(main)

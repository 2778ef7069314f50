"""Do the statistics of listening tests keep what they promise? Simulated studies whose truth is known.

    python -m benchmarks.listening_statistics --studies=1000

Prints one JSON line for each kind of study: the share of studies whose 95 % interval of the mean holds the true mean
(`value`), beside intervals that know listeners but no items (`listeners_only`) and that take ratings as independent
(`independent`, 1.96 s / sqrt(N)). Then, for systems that do not differ, how often the signed-rank test at 5 % finds a
difference all the same: with one value a listener (`value`) and with one a rating (`each_rating`). Deviations are the
standard deviations of listeners, items and single ratings; a study with a scale is rounded to 1, 2, 3, 4 and 5.
"""

import json
import pathlib
import sys

import numpy as np
from absl import flags
from scipy import stats

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax.command_line import cli
from musicgen_jax.listening import crossed_means, paired_tests

_STUDIES = flags.DEFINE_integer("studies", 1000, "Simulated studies of each kind.")

# Listeners, items, deviations, share of missing ratings, whether there are five grades.
KINDS = [
    (20, 10, (0.5, 0.5, 0.8), 0.0, False),
    (20, 10, (0.5, 0.5, 0.8), 0.3, False),
    (10, 10, (0.5, 0.3, 0.8), 0.0, False),
    (20, 5, (0.5, 0.5, 0.8), 0.0, False),
    (20, 20, (0.5, 0.2, 0.8), 0.0, False),
    (8, 6, (0.5, 0.5, 0.8), 0.0, False),
    (30, 10, (0.3, 0.6, 0.8), 0.5, False),
    (30, 8, (0.5, 0.4, 0.7), 0.0, True),
    (20, 1, (0.5, 0.0, 0.8), 0.0, False),
    (5, 5, (0.5, 0.5, 0.8), 0.0, False),
    (20, 10, (0.0, 0.0, 1.0), 0.0, False),
]


def main() -> None:
    """Flags -> JSON lines."""
    flag_values.require_positive(_STUDIES)
    for kind in KINDS:
        print(json.dumps({"benchmark": "interval_coverage", **coverage(*kind, _STUDIES.value)}))
    print(json.dumps({"benchmark": "signed_rank_false_alarms", **false_alarms(_STUDIES.value)}))


def coverage(
    num_listeners: int,
    num_items: int,
    deviations: tuple[float, float, float],
    missing: float,
    grades: bool,
    studies: int,
) -> dict[str, object]:
    """Shares of studies whose interval holds the true mean, which is 3 here."""
    rng = np.random.default_rng(0)
    held = np.zeros(3)
    for _ in range(studies):
        values, listeners, items = study(rng, num_listeners, num_items, deviations, missing, grades)
        means = np.bincount(listeners, values) / np.bincount(listeners)
        halves = (
            crossed_means.half_width(values, listeners, items),
            stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / len(means) ** 0.5,
            1.96 * values.std(ddof=1) / len(values) ** 0.5,
        )
        held += [abs(values.mean() - 3) <= half for half in halves]
    ours, by_listener, independent = (held / studies).tolist()
    return {
        "value": ours,
        "unit": "share of studies",
        "listeners_only": by_listener,
        "independent": independent,
        "listeners": num_listeners,
        "items": num_items,
        "deviations": deviations,
        "missing": missing,
        "grades": grades,
    }


def study(
    rng: np.random.Generator,
    num_listeners: int,
    num_items: int,
    deviations: tuple[float, float, float],
    missing: float = 0.0,
    grades: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratings around 3 [N], and the numbers of who rated what [N], [N]."""
    listeners, items = np.divmod(np.arange(num_listeners * num_items), num_items)
    values = 3 + deviations[0] * rng.normal(size=num_listeners)[listeners]
    values = values + deviations[1] * rng.normal(size=num_items)[items] + deviations[2] * rng.normal(size=len(items))
    values = np.clip(np.round(values), 1, 5) if grades else values
    kept = rng.random(len(items)) >= missing
    return values[kept], *(np.unique(codes[kept], return_inverse=True)[1] for codes in (listeners, items))


def false_alarms(studies: int, num_listeners: int = 16, num_items: int = 8) -> dict[str, object]:
    """How often a difference is found between systems that do not differ, though each listener prefers one a little."""
    rng = np.random.default_rng(0)
    found = np.zeros(2)
    for _ in range(studies):
        differences = rng.normal(0, 8, (num_listeners, 1)) + rng.normal(0, 15, (num_listeners, num_items))
        samples = (differences.mean(axis=1), differences.ravel())
        found += [paired_tests.signed_rank(one)["p"] < 0.05 for one in samples]
    by_listener, by_rating = (found / studies).tolist()
    found = {"value": by_listener, "unit": "share of studies", "each_rating": by_rating}
    return found | {"listeners": num_listeners, "items": num_items}


if __name__ == "__main__":
    cli.run(main)

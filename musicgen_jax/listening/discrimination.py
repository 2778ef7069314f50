"""Whether two systems can be told apart: design `abx`, by the exact binomial test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from musicgen_jax.listening import crossed_means, paired_tests
from musicgen_jax.listening.findings import Findings
from musicgen_jax.listening.ratings import Discrimination

ALPHA = 0.05
SHUFFLES = 10_000
CAUTION = (
    "The pooled test counts every trial as if a listener of its own had answered it. Read it with the test of equal "
    "listeners, the interval clustered by listener and each listener's own result; and only if the number of trials "
    "was fixed before the first answer."
)


def critical_correct(trials: int, alpha: float = ALPHA) -> int | None:
    """The fewest right answers of so many that guessing gives with a probability below alpha; None: not even all."""
    needed = int(stats.binom.isf(alpha, trials, 0.5)) + 1
    while needed > 0 and stats.binom.sf(needed - 2, trials, 0.5) < alpha:
        needed -= 1
    while needed <= trials and stats.binom.sf(needed - 1, trials, 0.5) >= alpha:
        needed += 1
    return needed if needed <= trials else None


def summarize(answers: Sequence[Discrimination], findings: Findings) -> None:
    """Adds `pairs` to the findings: one entry a pair of systems, p-values adjusted for all pairs together."""
    pairs: dict[str, list[Discrimination]] = {}
    for answer in answers:
        pairs.setdefault(" vs ".join(sorted((answer.system_a, answer.system_b))), []).append(answer)
    for name in sorted(pairs):
        findings.add(("pairs", name), lambda name=name: _of_pair(pairs[name]))
    adjusted = paired_tests.holm({name: found["p"] for name, found in findings.figures.get("pairs", {}).items()})
    for name, p in adjusted.items():
        findings.figures["pairs"][name]["p_holm"] = p
    if pairs:
        findings.figures["caution"] = CAUTION


def _of_pair(answers: Sequence[Discrimination]) -> dict[str, Any]:
    """The pooled test, the interval of the share of right answers, and each listener's own test."""
    listeners = [answer.listener for answer in answers]
    right = np.array([answer.correct for answer in answers], np.float64)
    share = crossed_means.mean(right, listeners, [answer.item for answer in answers])
    for end in ("low", "high"):
        if share[end] is not None:
            share[end] = min(max(share[end], 0.0), 1.0)
    own = {name: [answer.correct for answer in answers if answer.listener == name] for name in sorted(set(listeners))}
    by_listener = {name: _test(sum(given), len(given)) for name, given in own.items()}
    found = _test(int(right.sum()), len(right)) | {"share": share}
    found["critical"] = critical_correct(len(right))
    found["by_listener"] = by_listener
    found["equal_listeners_p"] = equal_listeners([sum(given) for given in own.values()], [len(g) for g in own.values()])
    return found


def _test(correct: int, trials: int) -> dict[str, Any]:
    p = float(stats.binomtest(correct, trials, 0.5, alternative="greater").pvalue)
    return {"correct": correct, "trials": trials, "p": p}


def equal_listeners(correct: Sequence[int], trials: Sequence[int]) -> float | None:
    """p-value of all listeners answering rightly equally often: if low, pooling their trials misleads.

    Pearson's statistic against its distribution where the right answers are dealt to the trials at random, by 10,000
    draws (few trials a listener are too few for the chi-square approximation).

    Args:
      correct: L, right answers of each listener.
      trials: L, of how many.

    Returns:
      None where there is nothing to compare: one listener, or all answers right or all wrong.
    """
    correct, trials = np.asarray(correct), np.asarray(trials)
    share = correct.sum() / trials.sum()
    if len(trials) < 2 or share in (0.0, 1.0):
        return None
    dealt = np.random.default_rng(0).multivariate_hypergeometric(trials, int(correct.sum()), size=SHUFFLES)

    def statistic(right: np.ndarray) -> np.ndarray:
        return np.sum((right - trials * share) ** 2 / (trials * share * (1 - share)), axis=-1)

    extreme = np.sum(statistic(dealt) >= statistic(correct) * (1 - 1e-12))
    return float((extreme + 1) / (SHUFFLES + 1))

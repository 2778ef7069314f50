"""Which of two systems is preferred: design `ab`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from musicgen_jax.listening import agreement, crossed_means, paired_tests
from musicgen_jax.listening.findings import Findings, NotComputable
from musicgen_jax.listening.ratings import Choice


def summarize(answers: Sequence[Choice], systems: Sequence[str], findings: Findings) -> None:
    """Adds `pairs`, `agreement` and `first_position` to the findings.

    Args:
      answers: all of the study.
      systems: names; of a pair the one that comes first here is the one whose share is given.
      findings: to add to.
    """
    order = {name: place for place, name in enumerate(systems)}
    pairs: dict[tuple[str, str], list[tuple[Choice, float]]] = {}
    for answer in answers:
        pair = tuple(sorted((answer.first, answer.second), key=lambda name: (order.get(name, len(order)), name)))
        sign = {"first": 1.0, "second": -1.0, "none": 0.0}[answer.chosen]
        pairs.setdefault(pair, []).append((answer, sign if answer.first == pair[0] else -sign))
    tests: dict[str, dict[str, float]] = {"sign_test": {}, "wilcoxon": {}}
    for pair in sorted(pairs, key=lambda pair: [order.get(name, len(order)) for name in pair] + list(pair)):
        for kind, p in _add_pair(pair, pairs[pair], findings).items():
            tests[kind][" vs ".join(pair)] = p
    for kind, p_values in tests.items():
        for name, adjusted in paired_tests.holm(p_values).items():
            findings.figures["pairs"][name][kind]["p_holm"] = adjusted
    findings.add(("agreement", "krippendorff_alpha_nominal"), lambda: _alpha(pairs))
    findings.add(("first_position",), lambda: _position(answers))


def _add_pair(pair: tuple[str, str], found: Sequence[tuple[Choice, float]], findings: Findings) -> dict[str, float]:
    """Adds one pair of systems; returns the p-values."""
    name = " vs ".join(pair)
    signs = np.array([sign for _, sign in found])
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    listeners = [answer.listener for answer, _ in found]
    share = crossed_means.mean((signs + 1) / 2, listeners, [answer.item for answer, _ in found])
    for end in ("low", "high"):
        if share[end] is not None:
            share[end] = min(max(share[end], 0.0), 1.0)
    found_of_pair = {"preferred": {pair[0]: wins, pair[1]: losses, "none": len(signs) - wins - losses}, "share": share}
    findings.add(("pairs", name), lambda: found_of_pair)
    net = [float(np.mean([sign for answer, sign in found if answer.listener == who])) for who in sorted(set(listeners))]
    tests = {"sign_test": lambda: _sign_test(wins, losses), "wilcoxon": lambda: paired_tests.signed_rank(net)}
    results = {kind: findings.add(("pairs", name, kind), test) for kind, test in tests.items()}
    return {kind: result["p"] for kind, result in results.items() if result}


def _sign_test(wins: int, losses: int) -> dict[str, Any]:
    """Exact, two-sided, over all trials as if they were independent; those without a preference are left out."""
    if not wins + losses:
        raise NotComputable("no listener preferred either: all pairs are ties")
    return {"p": float(stats.binomtest(wins, wins + losses, 0.5).pvalue), "num_trials": wins + losses}


def _alpha(pairs: dict[tuple[str, str], list[tuple[Choice, float]]]) -> float:
    """Agreement on each pair of each item; a listener's repeated choices are one, the sign of their sum."""
    sums: dict[tuple[str, str], float] = {}
    for pair, found in pairs.items():
        for answer, sign in found:
            key = ("\n".join((*pair, answer.item)), answer.listener)
            sums[key] = sums.get(key, 0.0) + sign
    if not sums:
        raise NotComputable("no answers")
    units, listeners = zip(*sums, strict=True)
    return agreement.krippendorff_alpha(units, listeners, np.sign(list(sums.values())), "nominal")


def _position(answers: Sequence[Choice]) -> dict[str, Any]:
    """Whether what was heard first is preferred for being first; both orders should be as frequent."""
    first = sum(answer.chosen == "first" for answer in answers)
    decided = first + sum(answer.chosen == "second" for answer in answers)
    if not decided:
        raise NotComputable("no listener preferred either")
    p = float(stats.binomtest(first, decided, 0.5).pvalue)
    return {"chosen": first, "num_trials": decided, "share": first / decided, "p": p}

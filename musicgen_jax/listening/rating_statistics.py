"""What ratings on a scale say of systems: designs `mos` and `mushra`."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from musicgen_jax.listening import agreement, crossed_means, paired_tests, power, screening
from musicgen_jax.listening.findings import Findings, NotComputable
from musicgen_jax.listening.ratings import CONTROLS, REFERENCE, SCALES, Rating

Cells = dict[str, dict[tuple[str, str], float]]


def summarize(design: str, ratings: Sequence[Rating], systems: Sequence[str], findings: Findings) -> None:
    """Adds `screening`, `systems`, `friedman`, `pairs`, `agreement` and `power` to the findings.

    Args:
      design: "mushra", whose listeners are screened first, or "mos".
      ratings: all of the study; a listener's repeated ratings of one signal count as their mean.
      systems: names, in the order in which to list them; controls of MUSHRA that were rated follow.
      findings: to add to.
    """
    if design == "mushra":
        ratings = _screened(ratings, findings)
    cells = _cells(ratings)
    names = [*systems, *(name for name in CONTROLS if name in cells and name not in systems)]
    for name in names:
        findings.add(("systems", name), lambda name=name: _of_system(cells.get(name, {}), SCALES[design]))
    compared = [name for name in names if name in cells and (name in systems or name == REFERENCE)]
    findings.add(("friedman",), lambda: paired_tests.friedman(_means(cells, compared)))
    _compare(cells, compared, findings)
    for scale in ("interval", "ordinal"):
        findings.add(("agreement", f"krippendorff_alpha_{scale}"), lambda scale=scale: _alpha(cells, scale))
    findings.add(("power",), lambda: _power(design, cells, [name for name in compared if name in systems]))


def _screened(ratings: Sequence[Rating], findings: Findings) -> list[Rating]:
    """The ratings of the listeners who pass."""
    found = screening.screen(ratings)
    findings.figures["screening"] = found
    kept = [rating for rating in ratings if not found[rating.listener]["excluded"]]
    if ratings and not kept:
        findings.absent["screening"] = (
            f"post-screening left none of {len(found)} listeners: nobody found the hidden reference often enough"
        )
    if any(one["reference_below_90"] is None for one in found.values()):
        findings.absent["screening.reference"] = "someone rated no hidden reference, and was not screened by it"
    return kept


def _cells(ratings: Sequence[Rating]) -> Cells:
    """system -> (listener, item) -> score."""
    scores: dict[str, dict[tuple[str, str], list[float]]] = {}
    for rating in ratings:
        scores.setdefault(rating.system, {}).setdefault((rating.listener, rating.item), []).append(rating.score)
    return {
        system: {key: float(np.mean(found[key])) for key in sorted(found)} for system, found in sorted(scores.items())
    }


def _of_system(cells: dict[tuple[str, str], float], scale: tuple[float, float]) -> dict[str, Any]:
    """Mean with its interval, within the scale, and quartiles."""
    listeners, items = [key[0] for key in cells], [key[1] for key in cells]
    found = crossed_means.mean(list(cells.values()), listeners, items)
    for end in ("low", "high"):
        if found[end] is not None:
            found[end] = min(max(found[end], scale[0]), scale[1])
    first, middle, third = map(float, np.quantile(list(cells.values()), [0.25, 0.5, 0.75]))
    return found | {"median": middle, "quartile_1": first, "quartile_3": third, "iqr": third - first}


def _means(cells: Cells, names: Sequence[str]) -> np.ndarray:
    """[listeners, systems] means over the items that a listener rated for all these systems; others have no row."""
    shared = _shared(cells, names)
    listeners = sorted({listener for listener, _ in shared})
    rows = [
        [np.mean([cells[name][key] for key in shared if key[0] == listener]) for name in names]
        for listener in listeners
    ]
    return np.array(rows).reshape(len(listeners), len(names))


def _shared(cells: Cells, names: Sequence[str]) -> list[tuple[str, str]]:
    """(listener, item) rated for each of the systems."""
    if not names:
        return []
    return sorted(set.intersection(*(set(cells[name]) for name in names)))


def _compare(cells: Cells, names: Sequence[str], findings: Findings) -> None:
    """Adds each pair of systems; p-values are adjusted for all pairs together."""
    p_values = {}
    for first, second in itertools.combinations(names, 2):
        path = ("pairs", f"{first} vs {second}")
        shared = _shared(cells, (first, second))
        differences = [cells[first][key] - cells[second][key] for key in shared]
        listeners, items = [key[0] for key in shared], [key[1] for key in shared]
        findings.add((*path, "difference"), lambda given=(differences, listeners, items): crossed_means.mean(*given))
        table = _means(cells, (first, second))
        tested = findings.add(
            (*path, "wilcoxon"), lambda table=table: paired_tests.signed_rank(table[:, 0] - table[:, 1])
        )
        if tested:
            p_values[path[1]] = tested["p"]
    for name, adjusted in paired_tests.holm(p_values).items():
        findings.figures["pairs"][name]["wilcoxon"]["p_holm"] = adjusted


def _alpha(cells: Cells, scale: str) -> float:
    """Agreement on all signals, a unit each on each item."""
    flat = [(f"{system}\n{item}", listener, score)
            for system, found in cells.items() for (listener, item), score in found.items()]  # fmt: skip
    if not flat:
        raise NotComputable("no answers")
    return agreement.krippendorff_alpha(*zip(*flat, strict=True), scale)


def _power(design: str, cells: Cells, names: Sequence[str]) -> dict[str, Any]:
    """What a next study of as many items needs, if its differences spread as those between these systems did."""
    found = []
    for pair in itertools.combinations(names, 2):
        shared = _shared(cells, pair)
        if not shared:
            continue
        differences = np.array([cells[pair[0]][key] - cells[pair[1]][key] for key in shared])
        codes = [np.unique([key[place] for key in shared], return_inverse=True)[1] for place in (0, 1)]
        found.append((crossed_means.spread(differences, *codes), len(set(codes[1]))))
    if not found:
        raise NotComputable("no two systems were rated by the same listeners on the same items")
    fields = ("listener", "item", "residual")
    spread = crossed_means.Spread(*(float(np.mean([getattr(one, name) for one, _ in found])) for name in fields))
    items = max(number for _, number in found)
    return {
        "variances_of_a_difference": {name: getattr(spread, name) for name in fields},
        "items": items,
        "listeners_needed": power.table(design, items, spread),
    }

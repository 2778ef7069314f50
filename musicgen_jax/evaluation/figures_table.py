"""The figures of one or several metrics.json as a table, with their intervals and the differences between runs."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from musicgen_jax.evaluation import bootstrap, figures, report_tables
from musicgen_jax.evaluation.figures import Figure, Meaning

MIN_PAIRS = 3  # pieces that two runs must share for a difference to have an interval


def table(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of the main figures by groups, and one of all others below a fold, as HTML.

    A cell has the mean, its interval and, in columns behind the first, the mean difference from the first column, piece
    by piece, with its interval: it tells two runs apart where the intervals of their means overlap.

    Args:
      runs: name -> metrics.json.
    """
    measured = [figures.figures_of(metrics) for metrics in runs.values()]
    groups: dict[str, list[str]] = {}
    others = []
    for path in dict.fromkeys(path for one in measured for path in one):
        meaning, values = figures.meaning(path), [one.get(path) for one in measured]
        cells = "".join(f"<td>{cell}</td>" for cell in _cells(values, meaning.better))
        row = f'<tr><th scope="row">{_row_name(meaning, path)}</th>{cells}</tr>'
        (groups.setdefault(meaning.group, []) if meaning.main else others).append(row)
    if not groups:
        return report_tables.absent("Nothing was measured.")
    rows = ""
    for group, own in groups.items():
        rows += f'<tr class="group"><th colspan="{len(runs) + 1}" scope="colgroup">{group}</th></tr>{"".join(own)}'
    fold = f"<details><summary>{len(others)} more figures: baselines, floors, counts</summary>"
    return _table(list(runs), rows) + (f"{fold}{_table(list(runs), ''.join(others))}</details>" if others else "")


def key(place: int) -> str:
    """The colour of a run, in all charts and headings."""
    return f'<i class="key key{place % 6}" aria-hidden="true"></i>'


def _table(names: Sequence[str], rows: str) -> str:
    colours = [key(place) if len(names) > 1 else "" for place in range(len(names))]
    pairs = zip(colours, names, strict=True)
    heads = "".join(f'<th scope="col">{colour}{html.escape(name)}</th>' for colour, name in pairs)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="figures"><table class="compared">'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row_name(meaning: Meaning, path: tuple[str, ...]) -> str:
    arrow = {figures.LOWER: "&nbsp;↓", figures.HIGHER: "&nbsp;↑"}.get(meaning.better, "")
    of = meaning.of if meaning.main else ".".join(path[:-1])
    return html.escape(meaning.title) + arrow + (f"<small>{html.escape(of)}</small>" if of else "")


def _cells(values: Sequence[Figure | None], better: str) -> list[str]:
    known = [figure.value for figure in values if figure is not None]
    best = {figures.LOWER: min, figures.HIGHER: max}.get(better, lambda _: None)(known)
    first, differ = values[0], len(set(known)) > 1
    cells = []
    for place, figure in enumerate(values):
        if figure is None:
            cells.append(report_tables.number(None, ""))
            continue
        cell = report_tables.readable(figure.value)
        cell = f"<b>{cell}</b>" if differ and figure.value == best else cell
        if figure.low is not None:
            cell += f"<small>{_interval(figure.low, figure.high)}</small>"
        cells.append(cell + (_difference(first, figure, better) if place and first is not None else ""))
    return cells


def _difference(first: Figure, figure: Figure, better: str) -> str:
    """How far a run is from the first one, piece by piece; "" where they share too few pieces, or are alike."""
    shared = [name for name in first.pieces if name in figure.pieces]
    differences = [figure.pieces[name] - first.pieces[name] for name in shared]
    if len(shared) < MIN_PAIRS or not any(differences):
        return ""
    found = bootstrap.mean(differences)
    sure = found["low"] > 0 or found["high"] < 0
    good = (found["mean"] > 0) == (better == figures.HIGHER)
    verdict = "" if not (sure and better) else ("good" if good else "bad")
    text = f"{_signed(found['mean'])} ({_interval(found['low'], found['high'], _signed)})"
    return f'<small class="{verdict}" title="from the first column, mean over {len(shared)} pieces">{text}</small>'


def _interval(low: float, high: float, written: Any = report_tables.readable) -> str:
    return f"{written(low)} to {written(high)}"


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + report_tables.readable(float(f"{value:.2g}"))

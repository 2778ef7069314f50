"""Bar charts and histograms as inline SVG, which follow the page's light or dark colours."""

import html
import itertools
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 14, 44
WIDEST = 60  # of a bar
LABELS = 14  # at most so many below a chart


def histogram(edges: Sequence[float], counts: Sequence[int], unit: str, name: str) -> str:
    """One bar a bin; a bin may be of any width, all bars are as wide.

    Args:
      edges: [N + 1], in `unit`.
      counts: [N].
      unit: of the edges.
      name: what is counted, for those who do not see the picture.
    """
    ranges = [f"{low:g} to {high:g} {unit}" for low, high in itertools.pairwise(edges)]
    ticks = {place: f"{edge:g}" for place, edge in enumerate(edges) if place % _stride(len(edges)) == 0}
    marks = "".join(_label(LEFT + place * _step(len(counts)), text) for place, text in ticks.items())
    axis = f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{html.escape(unit)}</text>'
    return _svg(_bars(counts, ranges) + marks + axis, name)


def bars(counts: Mapping[str, int], name: str) -> str:
    """One bar a value, in the order of the mapping; `name` is what is counted."""
    step, every = _step(len(counts)), _stride(len(counts))
    marks = "".join(
        _label(LEFT + (place + 0.5) * step, value if len(value) <= 12 else value[:11] + "…")
        for place, value in enumerate(counts)
        if place % every == 0
    )
    return _svg(_bars(list(counts.values()), list(counts)) + marks, name)


def _bars(counts: Sequence[int], names: Sequence[str]) -> str:
    step, tallest = _step(len(counts)), max(1, *counts)
    parts = []
    for value in sorted({0, tallest // 2, tallest}):
        height = HEIGHT - BOTTOM - value / tallest * (HEIGHT - TOP - BOTTOM)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}" class="grid"/>'
            f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{value:,}</text>'
        )
    for place, (count, name) in enumerate(zip(counts, names, strict=True)):
        height = count / tallest * (HEIGHT - TOP - BOTTOM)
        parts.append(
            f'<rect class="bar" x="{LEFT + place * step + step * 0.08:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" '
            f'width="{step * 0.84:.1f}" height="{height:.1f}"><title>{html.escape(name)}: {count:,}</title></rect>'
        )
    return "".join(parts)


def _step(number: int) -> float:
    return min(WIDEST, (WIDTH - LEFT - RIGHT) / max(number, 1))


def _stride(number: int) -> int:
    return -(-number // LABELS)


def _label(across: float, text: str) -> str:
    return f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{html.escape(text)}</text>'


def _svg(content: str, name: str) -> str:
    label = html.escape(name, quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{content}</svg>'

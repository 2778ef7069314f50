"""Means, intervals and quartiles side by side as one SVG, a row a system."""

import dataclasses
import html
import math
from collections.abc import Callable, Sequence

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 400, 44, 16, 16, 8, 36
LONGEST = 70  # characters of a name
# Of a file by itself; on a page the page's style decides.
STYLE = """<style>
svg { background: #ffffff; --ink: #1b1e28; --soft: #5d6475; --rule: #e2e5ed; --c0: #5b5bd6; }
@media (prefers-color-scheme: dark) {
  svg { background: #191c26; --ink: #e9ebf2; --soft: #9aa2b5; --rule: #2b3040; --c0: #9d9dff; }
}
text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.grid { stroke: var(--rule); }
.line { fill: none; stroke: var(--c0); stroke-width: 2; }
</style>"""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row; what is None is not drawn.

    Attributes:
      name: of the system or pair.
      mean: a dot.
      low: of the interval around the mean, a whisker.
      high: of the interval.
      quartiles: first, second and third, a box with a line.
    """

    name: str
    mean: float | None
    low: float | None = None
    high: float | None = None
    quartiles: tuple[float, float, float] | None = None

    def reach(self) -> list[float]:
        """All numbers that the picture must hold."""
        return [value for value in (self.mean, self.low, self.high, *(self.quartiles or ())) if value is not None]


def draw(rows: Sequence[Row], label: str, scale: tuple[float, float] | None = None, mark: float | None = None) -> str:
    """The chart, whose colours follow the page.

    Args:
      rows: at least one, with at least one number among them.
      label: below the axis, and the picture's name for those who don't see it.
      scale: ends of the axis; None: around all numbers and the mark.
      mark: where nothing would be found, such as no difference: a dashed line.
    """
    numbers = [value for row in rows for value in row.reach()] + ([] if mark is None else [mark])
    low, high = scale or _around(min(numbers), max(numbers))
    bottom = TOP + ROW * len(rows)

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = []
    for tick in _ticks(low, high):
        parts.append(f'<line class="grid" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{across(tick):.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    if mark is not None:
        place = f'x1="{across(mark):.1f}" x2="{across(mark):.1f}" y1="{TOP}" y2="{bottom}"'
        parts.append(f'<line {place} stroke="var(--soft)" stroke-dasharray="4 3"/>')
    for number, row in enumerate(rows):
        parts.append(_row(row, TOP + ROW * number + 28, across))
    name = html.escape(label, quote=True)
    axis = (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{bottom + 30}" text-anchor="middle">{html.escape(label)}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {bottom + BOTTOM}" role="img" aria-label="{name}">'
        f"{''.join(parts)}{axis}</svg>"
    )


def file(svg: str) -> str:
    """The picture as a file of its own, with its colours."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" '
    return svg.replace("<svg ", head, 1).replace(">", f">{STYLE}", 1) + "\n"


def _row(row: Row, middle: float, across: Callable[[float], float]) -> str:
    """Name, box, whisker and dot of one row."""
    name = "".join(letter if letter.isprintable() else "?" for letter in row.name)  # XML has no others
    shown = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    parts = [f'<text x="{LEFT}" y="{middle - 14:.1f}">{html.escape(shown)}</text>']
    numbers = {"mean": row.mean, "from": row.low, "to": row.high}
    if row.quartiles:
        first, second, third = map(across, row.quartiles)
        box = f'x="{first:.1f}" y="{middle - 9:.1f}" width="{third - first:.1f}" height="18"'
        parts.append(f'<rect {box} fill="var(--c0)" fill-opacity="0.18"/>')
        parts.append(_line(second, second, middle - 9, middle + 9, "1"))
        numbers["median"] = row.quartiles[1]
    if row.low is not None and row.high is not None:
        low, high = across(row.low), across(row.high)
        parts.append(_line(low, high, middle, middle))
        parts += [_line(end, end, middle - 5, middle + 5) for end in (low, high)]
    if row.mean is not None:
        parts.append(f'<circle cx="{across(row.mean):.1f}" cy="{middle:.1f}" r="4" fill="var(--c0)"/>')
    told = ", ".join(f"{what} {value:.3g}" for what, value in numbers.items() if value is not None)
    return f"<g><title>{html.escape(name)}: {told or 'no figure'}</title>{''.join(parts)}</g>"


def _line(x1: float, x2: float, y1: float, y2: float, width: str = "2") -> str:
    place = f'x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"'
    return f'<line class="line" stroke="var(--c0)" stroke-width="{width}" {place}/>'


def _around(low: float, high: float) -> tuple[float, float]:
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers within the axis."""
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(step * factor for factor in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0) if (high - low) / (step * factor) <= 6)
    count = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [round(index * step, 12) + 0.0 for index in count]

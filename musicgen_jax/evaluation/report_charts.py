"""Line charts of training runs as inline SVG, which follows the page's light or dark colours."""

import html
import math
from collections.abc import Sequence

import numpy as np

from musicgen_jax.runtime.errors import UserError

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 30
MAX_POINTS = 300
# A span beyond this many times the smallest value is drawn on a logarithmic axis.
LOG_SPAN = 30.0

Point = tuple[float, float]


def run_charts(name: str, records: Sequence[dict]) -> str:
    """The charts of one training run, as HTML.

    Values named `loss` or `nats_per_code`, alone or after a prefix such as `validation/`, share the chart that is
    always shown; every other number gets a small chart of its own below a fold.

    Args:
      name: the run.
      records: metrics.jsonl, one dict a logged step, each with "step". Values that are not finite numbers are left
        out of the picture and counted in the caption.

    Raises:
      UserError: a record without "step".
    """
    missing = sum("step" not in record for record in records)
    if missing:
        raise UserError(f"training run {name!r}: {missing} of {len(records)} records have no 'step'")
    series, dropped = _series(records)
    main = {key: points for key, points in series.items() if _is_objective(key)}
    if not main and series:
        main = dict([next(iter(series.items()))])
    if not main:
        return f'<div class="card"><h3>{html.escape(name)}</h3><p class="muted">No numbers were logged.</p></div>'
    others = {key: points for key, points in series.items() if key not in main}
    note = f'<p class="warn">Not drawn, because not a finite number: {dropped}.</p>' if dropped else ""
    fold = ""
    if others:
        small = "".join(f"<div><h4>{html.escape(key)}</h4>{line_chart({key: others[key]})}</div>" for key in others)
        fold = (
            f'<details><summary>{len(others)} more logged values</summary><div class="charts">{small}</div></details>'
        )
    return f'<div class="card"><h3>{html.escape(name)}</h3>{line_chart(main)}{note}{fold}</div>'


def line_chart(series: dict[str, list[Point]]) -> str:
    """Lines over training steps as one SVG with a legend; series: name -> (step, value) points, finite, in order."""
    lines = {name: _thin(points) for name, points in series.items()}
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    logarithmic = min(ys) > 1e-30 and max(ys) / min(ys) > LOG_SPAN
    warp = math.log10 if logarithmic else float
    low, high = warp(min(ys)), warp(max(ys))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin
    x_low, x_high = min(xs), max(xs)
    x_high = x_high if x_high > x_low else x_low + 1

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (warp(y) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for y in _log_ticks(low, high) if logarithmic else _ticks(low, high):
        parts.append(_horizontal_tick(place(x_low, y)[1], y))
    for x in (x_low, (x_low + x_high) / 2, x_high):
        anchor = "middle" if x_low < x < x_high else ("start" if x == x_low else "end")
        label = f"{x:,.0f}" + (" steps" if x == x_high else "")
        parts.append(
            f'<text x="{place(x, min(ys))[0]:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{html.escape(label)}</text>'
        )
    for index, points in enumerate(lines.values()):
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points)
        shape = (
            f'<polyline points="{path}"'
            if len(points) > 1
            else '<circle r="3" cx="{:.1f}" cy="{:.1f}"'.format(*place(*points[0]))
        )
        parts.append(f'{shape} class="line line{index % 6}"/>')
    names = html.escape(", ".join(series), quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{names} over training steps">'
        f"{''.join(parts)}</svg>{_legend(series, logarithmic)}"
    )


def _legend(series: dict[str, list[Point]], logarithmic: bool) -> str:
    """Names, colours and last values of the lines."""
    legend = "".join(
        f'<span><i class="key key{index % 6}"></i>{html.escape(name)} <b>{points[-1][1]:.4g}</b></span>'
        for index, (name, points) in enumerate(series.items())
    )
    scale = "<span>logarithmic axis</span>" if logarithmic else ""
    return f'<p class="legend">{legend}{scale}</p>'


def _horizontal_tick(height: float, value: float) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}" class="grid"/>'
        f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers inside [low, high]."""
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(step * factor for factor in (0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / (step * factor) <= 6)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between 10^low and 10^high: 1, 2 and 5 of each decade, or whole decades where those are many."""
    factors = (1, 2, 5) if high - low <= 2 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1)
    exponents = [decade + math.log10(factor) for decade in decades for factor in factors]
    inside = [exponent for exponent in exponents if low <= exponent <= high]
    return [10.0**exponent for exponent in inside[:: -(-len(inside) // 7)]]


def _series(records: Sequence[dict]) -> tuple[dict[str, list[Point]], int]:
    """name -> (step, value) in order of steps, and how many values are no finite numbers."""
    series: dict[str, list[Point]] = {}
    dropped = 0
    for record in sorted(records, key=lambda record: record["step"]):
        for key, value in record.items():
            if key == "step":
                continue
            if isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(key, []).append((float(record["step"]), float(value)))
            else:
                dropped += 1
    return series, dropped


def _is_objective(key: str) -> bool:
    return key.replace(".", "/").replace("-", "_").split("/")[-1] in ("loss", "nats_per_code", "validation_loss")


def _thin(points: list[Point]) -> list[Point]:
    """At most MAX_POINTS points, each the mean of its neighbours: a long run stays a small page."""
    if len(points) <= MAX_POINTS:
        return points
    return [tuple(chunk.mean(axis=0)) for chunk in np.array_split(np.asarray(points), MAX_POINTS)]

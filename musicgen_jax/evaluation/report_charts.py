"""Line charts of training runs as inline SVG, which follows the page's light or dark colours."""

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from musicgen_jax.runtime.errors import UserError

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 30
MAX_POINTS = 300
# A span beyond this many times the smallest value is drawn on a logarithmic axis.
LOG_SPAN = 30.0
LARGEST = 2.0**63  # what is not below, as NaN is not, is not drawn

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training run logged.

    Attributes:
      series: name of a value -> (step, value), finite, in order of steps; of long runs at most MAX_POINTS.
      num_dropped: values that were no finite numbers.
    """

    series: dict[str, tuple[Point, ...]]
    num_dropped: int = 0


def run_of(name: str, records: Sequence[dict]) -> Run:
    """The series of a run.

    Args:
      name: of the run, for messages.
      records: metrics.jsonl, one dict a logged step, each with "step".

    Raises:
      UserError: a record without "step".
    """
    missing = sum("step" not in record for record in records)
    if missing:
        raise UserError(f"training run {name!r}: {missing} of {len(records)} records have no 'step'")
    series, dropped = _series(records)
    # The last value is shown as it is, not as a mean of its neighbours.
    return Run({key: (*_thin(points)[:-1], points[-1]) for key, points in series.items()}, dropped)


def run_charts(name: str, run: Run) -> str:
    """The charts of one training run, as HTML.

    Values named `loss` or `nats_per_code`, alone or after a prefix such as `validation/`, share the chart that is
    always shown; every other number gets a small chart of its own below a fold.
    """
    main = {key: points for key, points in run.series.items() if is_objective(key)}
    if not main and run.series:
        main = dict([next(iter(run.series.items()))])
    if not main:
        return f'<div class="card"><h3>{html.escape(name)}</h3><p class="muted">No numbers were logged.</p></div>'
    others = {key: points for key, points in run.series.items() if key not in main}
    note = f'<p class="warn">Not drawn, because not a finite number: {run.num_dropped}.</p>' if run.num_dropped else ""
    fold = ""
    if others:
        small = "".join(f"<div><h4>{html.escape(key)}</h4>{line_chart({key: others[key]})}</div>" for key in others)
        fold = (
            f'<details><summary>{len(others)} more logged values</summary><div class="charts">{small}</div></details>'
        )
    return f'<div class="card"><h3>{html.escape(name)}</h3>{line_chart(main)}{note}{fold}</div>'


def line_chart(series: Mapping[str, Sequence[Point]]) -> str:
    """Lines over training steps as one SVG with a legend; series: name -> (step, value) points, finite, in order."""
    axes = _Axes.around([point for points in series.values() for point in points])
    parts = [axes.drawn()]
    for index, points in enumerate(series.values()):
        path = " ".join("{:.1f},{:.1f}".format(*axes.place(*point)) for point in points)
        shape = (
            f'<polyline points="{path}"'
            if len(points) > 1
            else '<circle r="3" cx="{:.1f}" cy="{:.1f}"'.format(*axes.place(*points[0]))
        )
        parts.append(f'{shape} class="line line{index % 6}"/>')
    return _svg(parts, f"{', '.join(series)} over training steps") + _legend(series, axes.logarithmic)


def quality_chart(name: str, points: Mapping[str, tuple[float, float, float, float]]) -> str:
    """A figure of several runs over the steps that each was trained for, with intervals, as one SVG with a legend.

    Args:
      name: of the figure.
      points: run -> (steps, value, low, high), finite.
    """
    axes = _Axes.around([(steps, y) for steps, *values in points.values() for y in values])
    parts = [axes.drawn()]
    for index, (steps, value, low, high) in enumerate(points.values()):
        across, height = axes.place(steps, value)
        lowest, highest = axes.place(steps, low)[1], axes.place(steps, high)[1]
        parts.append(
            f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{lowest:.1f}" y2="{highest:.1f}" '
            f'class="line line{index % 6}"/><circle r="3" cx="{across:.1f}" cy="{height:.1f}" '
            f'class="line line{index % 6}"/>'
        )
    series = {run: [(steps, value)] for run, (steps, value, _, _) in points.items()}
    return _svg(parts, f"{name} of {', '.join(points)} over training steps") + _legend(series, axes.logarithmic)


@dataclasses.dataclass(frozen=True)
class _Axes:
    """Steps to the right, values upwards, on a logarithmic axis where they span much."""

    x_low: float
    x_high: float
    low: float
    high: float
    logarithmic: bool

    @classmethod
    def around(cls, points: Sequence[Point]) -> "_Axes":
        xs, ys = zip(*points, strict=True)
        logarithmic = min(ys) > 1e-30 and max(ys) / min(ys) > LOG_SPAN
        low, high = (math.log10(y) if logarithmic else y for y in (min(ys), max(ys)))
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        x_high = max(xs) if max(xs) > min(xs) else min(xs) + 1
        return cls(min(xs), x_high, low - margin, high + margin, logarithmic)

    def place(self, x: float, y: float) -> Point:
        """Of a point in the picture."""
        share = ((math.log10(y) if self.logarithmic else y) - self.low) / (self.high - self.low)
        across = LEFT + (x - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def drawn(self) -> str:
        """Horizontal lines with their values, and three numbers of steps, as SVG."""
        values = _log_ticks(self.low, self.high) if self.logarithmic else _ticks(self.low, self.high)
        parts = [_horizontal_tick(self.place(self.x_low, y)[1], y) for y in values]
        places = {self.x_low: "start", (self.x_low + self.x_high) / 2: "middle", self.x_high: "end"}
        for x, anchor in places.items():
            across = LEFT + (x - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)
            label = f"{x:,.0f}" + (" steps" if x == self.x_high else "")
            parts.append(f'<text x="{across:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{label}</text>')
        return "".join(parts)


def _svg(parts: Sequence[str], label: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


def _legend(series: Mapping[str, Sequence[Point]], logarithmic: bool) -> str:
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
            if isinstance(value, int | float) and abs(value) < LARGEST:
                series.setdefault(key, []).append((float(record["step"]), float(value)))
            else:
                dropped += 1
    return series, dropped


def is_objective(key: str) -> bool:
    return key.replace(".", "/").replace("-", "_").split("/")[-1] in ("loss", "nats_per_code", "validation_loss")


def _thin(points: list[Point]) -> list[Point]:
    """At most MAX_POINTS points, each the mean of its neighbours: a long run stays a small page."""
    if len(points) <= MAX_POINTS:
        return points
    return [tuple(chunk.mean(axis=0).tolist()) for chunk in np.array_split(np.asarray(points), MAX_POINTS)]

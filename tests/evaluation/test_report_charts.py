import re

import numpy as np
import pytest

from musicgen_jax.evaluation import report_charts


def _charts(name, records):
    return report_charts.run_charts(name, report_charts.run_of(name, records))


def _points(svg):
    return [[tuple(map(float, p.split(","))) for p in line.split()] for line in re.findall(r'points="([^"]+)"', svg)]


def test_a_falling_loss_falls_inside_the_picture():
    svg = report_charts.line_chart({"loss": [(0.0, 3.0), (10.0, 2.0), (20.0, 1.0)]})
    [line] = _points(svg)
    xs, ys = zip(*line, strict=True)
    assert xs[0] == report_charts.LEFT
    assert xs[-1] == report_charts.WIDTH - report_charts.RIGHT
    assert np.all(np.diff(ys) > 0)  # SVG counts downwards
    assert report_charts.TOP <= min(ys) < max(ys) <= report_charts.HEIGHT - report_charts.BOTTOM
    assert "logarithmic" not in svg


def test_a_wide_span_is_drawn_on_a_logarithmic_axis():
    svg = report_charts.line_chart({"loss": [(0.0, 100.0), (1.0, 10.0), (2.0, 1.0)]})
    [line] = _points(svg)
    steps = np.diff([y for _, y in line])
    assert steps[0] == pytest.approx(steps[1], abs=0.2)
    assert "logarithmic" in svg


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0], [0.0, 0.0], [-1.0, 1.0], [1e-9, 1e9], [5e-324, 1.0]])
def test_awkward_values_are_drawn(values):
    svg = report_charts.line_chart({"x": [(float(step), value) for step, value in enumerate(values)]})
    assert "nan" not in svg.lower()
    assert "inf" not in svg.lower()
    assert "<polyline" in svg or "<circle" in svg


def test_objectives_share_a_chart_and_the_rest_is_folded():
    records = [{"step": step, "loss": 2.0, "validation/loss": 3.0, "learning_rate": 0.1} for step in range(3)]
    shown, _, folded = _charts("prior <top>", records).partition("<details>")
    assert "prior &lt;top&gt;" in shown
    assert shown.count("<svg") == 1
    assert shown.count("<polyline") == 2
    assert folded.count("<svg") == 1
    assert "learning_rate" in folded


def test_values_that_are_no_numbers_are_counted_not_drawn():
    records = [{"step": 0, "loss": 1.0}, {"step": 1, "loss": float("nan")}, {"step": 2, "loss": None}]
    page = _charts("run", records)
    assert "not a finite number: 2" in page
    assert "nan" not in page.lower()
    assert "No numbers" in _charts("run", [])


def test_a_long_run_stays_small_and_keeps_its_mean():
    points = [(float(step), float(step % 2)) for step in range(100_000)]
    thin = report_charts._thin(points)
    assert len(thin) == report_charts.MAX_POINTS
    np.testing.assert_allclose([y for _, y in thin], 0.5, atol=0.01)


def test_the_last_value_of_a_long_run_is_no_mean():
    records = [{"step": step, "loss": float(step % 7)} for step in range(10_001)]
    run = report_charts.run_of("run", records)
    assert len(run.series["loss"]) == report_charts.MAX_POINTS and run.series["loss"][-1] == (10_000.0, 10_000 % 7)


def test_quality_over_steps():
    """Runs stand where their steps and values are, and a bar is as long as the interval."""
    svg = report_charts.quality_chart("loss", {"A": (100.0, 2.0, 1.5, 2.5), "B": (300.0, 1.0, 1.0, 1.0)})
    number = r"([\d.]+)"
    lines = re.findall(rf'<line x1="{number}" x2="{number}" y1="{number}" y2="{number}" class="line', svg)
    bars = [(float(x), float(low), float(high)) for x, _, low, high in lines]
    dots = [tuple(map(float, found)) for found in re.findall(rf'cx="{number}" cy="{number}"', svg)]
    assert [across for across, *_ in bars] == [report_charts.LEFT, report_charts.WIDTH - report_charts.RIGHT]
    assert dots[0][1] == pytest.approx((bars[0][1] + bars[0][2]) / 2, abs=0.1) and bars[1][1] == bars[1][2]
    assert dots[0][1] < dots[1][1]


def test_a_record_without_a_step_is_refused():
    with pytest.raises(ValueError, match="1 of 2 records have no 'step'"):
        _charts("run", [{"step": 0, "loss": 1.0}, {"loss": 2.0}])

import re

import numpy as np
import pytest

from musicgen_jax.evaluation import report_charts


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
    shown, _, folded = report_charts.run_charts("prior <top>", records).partition("<details>")
    assert "prior &lt;top&gt;" in shown
    assert shown.count("<svg") == 1
    assert shown.count("<polyline") == 2
    assert folded.count("<svg") == 1
    assert "learning_rate" in folded


def test_values_that_are_no_numbers_are_counted_not_drawn():
    records = [{"step": 0, "loss": 1.0}, {"step": 1, "loss": float("nan")}, {"step": 2, "loss": None}]
    page = report_charts.run_charts("run", records)
    assert "not a finite number: 2" in page
    assert "nan" not in page.lower()
    assert "No numbers" in report_charts.run_charts("run", [])


def test_a_long_run_stays_small_and_keeps_its_mean():
    points = [(float(step), float(step % 2)) for step in range(100_000)]
    thin = report_charts._thin(points)
    assert len(thin) == report_charts.MAX_POINTS
    np.testing.assert_allclose([y for _, y in thin], 0.5, atol=0.01)


def test_a_record_without_a_step_is_refused():
    with pytest.raises(ValueError, match="1 of 2 records have no 'step'"):
        report_charts.run_charts("run", [{"step": 0, "loss": 1.0}, {"loss": 2.0}])

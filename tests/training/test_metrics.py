"""metrics.jsonl: JSON always, each step once, whatever killed the run before."""

import json
import math

from musicgen_jax.training import metrics


def test_averages_and_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = metrics.MetricsWriter(path, 0)
    writer.accumulate({"loss": 1.0, "grad_norm": math.nan})
    writer.accumulate({"loss": 3.0, "grad_norm": 1.0})
    writer.write(2, writer.averages())
    writer.accumulate({"loss": 7.0, "grad_norm": math.inf})
    writer.write(3, writer.averages())
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert metrics.read(path) == [
        {"step": 2, "loss": 2.0, "grad_norm": None},
        {"step": 3, "loss": 7.0, "grad_norm": None},
    ]


def test_resume_drops_later_lines_and_a_torn_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = metrics.MetricsWriter(path, 0)
    for step in (2, 4, 6, 8):
        writer.write(step, {"loss": float(step)})
    path.write_text(path.read_text() + '{"step": 10, "lo')
    assert [line["step"] for line in metrics.read(path)] == [2, 4, 6, 8]
    writer = metrics.MetricsWriter(path, 6)
    writer.write(8, {"loss": 80.0})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 2, "loss": 2.0},
        {"step": 4, "loss": 4.0},
        {"step": 6, "loss": 6.0},
        {"step": 8, "loss": 80.0},
    ]
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_no_file_is_no_lines(tmp_path):
    assert metrics.read(tmp_path / "metrics.jsonl") == []

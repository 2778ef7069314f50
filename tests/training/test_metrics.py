"""metrics.jsonl: JSON always, each step once, whatever killed the run before."""

import json
import math

import pytest

from musicgen_jax.runtime.errors import UserError
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


def test_steps_without_a_checkpoint_are_kept_under_another_name(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    for life in (1, 2, 3):
        writer = metrics.MetricsWriter(path, 0)
        writer.write(1, {"loss": float(life)})
    assert metrics.read(path) == [{"step": 1, "loss": 3.0}]
    assert metrics.read(tmp_path / "metrics.jsonl.1") == [{"step": 1, "loss": 1.0}]
    assert metrics.read(tmp_path / "metrics.jsonl.2") == [{"step": 1, "loss": 2.0}]
    assert (
        capsys.readouterr().err.count("steps up to 1, of which there is no checkpoint; it is now metrics.jsonl.") == 2
    )


def test_a_damaged_line_is_said_and_kept(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    damaged = '{"step": 2, "a\u2028b": 1.0}\n{"step": 4, "l\n{"step": 6}\n'
    path.write_text(damaged, encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2, is damaged"):
        metrics.read(path)
    metrics.MetricsWriter(path, 6).write(8, {"loss": 1.0})
    assert metrics.read(path) == [{"step": 8, "loss": 1.0}]
    assert (tmp_path / "metrics.jsonl.1").read_text(encoding="utf-8") == damaged
    assert "line 2, is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[2]", "it must hold a JSON object, not list"),
        ('{"loss": 2.0}', "it has no step"),
        ('{"step": true}', "it has no step"),
        ('{"step": 2, "loss": "2.0"}', "loss is no number"),
        ('{"step": 2, "eval/loss": [2.0]}', "eval/loss is no number"),
    ],
)
def test_a_line_of_other_things_is_damage_and_is_kept_aside(line, reason, tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "loss": null}}\n{line}\n{{"step": 3, "loss": 1}}\n')
    with pytest.raises(UserError, match=f"metrics.jsonl, line 2, is damaged: {reason}"):
        metrics.read(path)
    metrics.MetricsWriter(path, 3)
    assert line in (tmp_path / "metrics.jsonl.1").read_text() and not path.exists()
    assert f"{reason}; it is now metrics.jsonl.1" in capsys.readouterr().err

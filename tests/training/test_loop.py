"""The loop with a toy task: divergence, resume, logging."""

import pathlib

import jax
import numpy as np
import pytest
import toy

from musicgen_jax import config
from musicgen_jax.training import checkpointing, loop, metrics


def run(workdir: pathlib.Path, bad: tuple[int, ...] = (), **training):
    values = {"num_steps": 6, "log_every": 2, "eval_every": 4, "checkpoint_every": 3} | training
    settings = toy.Run(training=config.TrainingConfig(**values))
    return loop.train(
        toy.task(), settings, workdir, toy.mesh(), toy.batches_from(bad), lambda: iter([toy.batch(-1 % 99)])
    )


def test_ten_bad_steps_in_a_row_stop_the_run(tmp_path):
    bad = (1, *range(3, 13))
    with pytest.raises(loop.DivergenceError, match=r"step 13: 10 updates in a row.*grad_norm, loss, ") as caught:
        run(tmp_path, bad, num_steps=30, checkpoint_every=5)
    assert "learning_rate" in str(caught.value)
    lines = metrics.read(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8, 10, 12]
    assert [line["skipped"] for line in lines if "loss" in line] == [1, 2, 4, 6, 8, 10]


def test_nine_are_forgiven(tmp_path):
    current = run(tmp_path, tuple(range(1, 10)), num_steps=12)
    assert (int(current.step), int(current.skipped), int(current.skipped_in_a_row)) == (12, 9, 0)


def test_divergence_in_the_very_last_step(tmp_path):
    with pytest.raises(loop.DivergenceError, match="step 10: "):
        run(tmp_path, tuple(range(10)), num_steps=10, eval_every=0, checkpoint_every=100)


def test_interrupted_equals_uninterrupted(tmp_path):
    whole = run(tmp_path / "whole", num_steps=7)

    def dies(step):
        for index, batch in enumerate(toy.batches_from()(step)):
            if index + step == 5:
                raise RuntimeError("killed")
            yield batch

    settings = toy.Run(training=config.TrainingConfig(num_steps=7, log_every=2, eval_every=4, checkpoint_every=3))
    with pytest.raises(RuntimeError):
        loop.train(toy.task(), settings, tmp_path / "parts", toy.mesh(), dies, lambda: iter([toy.batch(98)]))
    with checkpointing.Checkpointer(tmp_path / "parts") as checkpointer:
        assert checkpointer.latest_step() == 3
    assert [line["step"] for line in metrics.read(tmp_path / "parts" / "metrics.jsonl")] == [2, 4, 4]
    resumed = run(tmp_path / "parts", num_steps=7)
    assert toy.equal(whole, resumed)
    lines = [metrics.read(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    steps = [[(line["step"], "eval/loss" in line) for line in part] for part in lines]
    expected = [(2, False), (4, False), (4, True), (6, False), (7, False), (7, True)]
    assert steps == [expected, expected]
    assert lines[0][2] == lines[1][2] and lines[0][-1] == lines[1][-1]  # evaluation, to the last bit


def test_done_is_done(tmp_path):
    run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert int(run(tmp_path).step) == 6
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_no_evaluation_where_it_is_off(tmp_path):
    run(tmp_path, eval_every=0)
    assert not any("eval/loss" in line for line in metrics.read(tmp_path / "metrics.jsonl"))


def test_what_a_line_holds(tmp_path):
    run(tmp_path, num_steps=2, eval_every=0)
    (line,) = metrics.read(tmp_path / "metrics.jsonl")
    assert set(line) >= {"step", "loss", "grad_norm", "learning_rate", "loss_scale", "skipped", "examples_per_second"}
    assert (tmp_path / "config.json").is_file()
    assert np.isfinite(list(line.values())).all()
    assert jax.process_count() == 1

"""The loop with a toy task: divergence, resume, logging."""

import os
import pathlib
import signal

import jax
import numpy as np
import pytest
import toy

from musicgen_jax import config
from musicgen_jax.runtime import folder_lock
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.training import checkpointing, damage, loop, metrics, preemption, start


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

    settings = toy.Run(training=config.TrainingConfig(num_steps=7, log_every=2, eval_every=4, checkpoint_every=3))
    with pytest.raises(RuntimeError):
        loop.train(toy.task(), settings, tmp_path / "parts", toy.mesh(), toy.dies_at(5), lambda: iter([toy.batch(98)]))
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


def test_done_is_done(tmp_path, capsys):
    run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert "num_steps" not in capsys.readouterr().err
    assert int(run(tmp_path).step) == 6
    assert "resuming from step 6, and num_steps=6 asks for no more: set" in capsys.readouterr().err
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


def interrupting(at: int, signum: int = signal.SIGINT, times: int = 1):
    """Batches during the reading of which, before step `at`, a signal comes."""

    def batches(step):
        for index, batch in enumerate(toy.batches_from()(step), start=step + 1):
            for _ in range(times if index == at else 0):
                signal.raise_signal(signum)
            yield batch

    return batches


def train(workdir: pathlib.Path, batches=None, **training):
    settings = toy.Run(training=config.TrainingConfig(**({"num_steps": 6, "log_every": 1, "eval_every": 0} | training)))
    return loop.train(toy.task(), settings, workdir, toy.mesh(), batches or toy.batches_from(), lambda: iter(()))


def steps_saved(workdir: pathlib.Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def test_ctrl_c_finishes_the_step_and_saves(tmp_path, capfd):
    whole = train(tmp_path / "whole")
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", interrupting(at=3))
    said = capfd.readouterr().err
    assert "once more ends it at once" in said and "Ctrl-C: saved step 3; run the same command again" in said
    assert steps_saved(tmp_path / "parts") == ["3"]
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before
    assert toy.equal(train(tmp_path / "parts"), whole)
    lines = [metrics.read(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert [line["loss"] for line in lines[0]] == [line["loss"] for line in lines[1]]


def test_sigterm_saves_and_returns(tmp_path, capfd):
    assert int(train(tmp_path, interrupting(at=2, signum=signal.SIGTERM)).step) == 2
    assert steps_saved(tmp_path) == ["2"] and "SIGTERM: saved step 2" in capfd.readouterr().err


def test_a_second_ctrl_c_ends_at_once(tmp_path, monkeypatch, capfd):
    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(preemption.os, "_exit", leave)
    with pytest.raises(SystemExit) as caught:
        train(tmp_path, interrupting(at=3, times=2))
    assert caught.value.code == 130 and "what was not saved yet is lost" in capfd.readouterr().err
    assert steps_saved(tmp_path) == []


def test_a_read_error_at_restore_changes_nothing(tmp_path, monkeypatch):
    """The folder stays as it is, to the last byte; the next run goes on."""
    train(tmp_path, num_steps=4, checkpoint_every=2)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    load = checkpointing.ocp.load_checkpointables

    def fail(*args):
        raise ValueError("UNAVAILABLE: Error reading local file: connection reset")

    monkeypatch.setattr(checkpointing.ocp, "load_checkpointables", fail)
    with pytest.raises(damage.UnreadableError, match=r"checkpoint 4 in .* could not be read: UNAVAILABLE: "):
        train(tmp_path, num_steps=6, checkpoint_every=2)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    monkeypatch.setattr(checkpointing.ocp, "load_checkpointables", load)
    assert int(train(tmp_path, num_steps=6, checkpoint_every=2).step) == 6
    assert [line["step"] for line in metrics.read(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_one_run_a_folder(tmp_path):
    with (
        folder_lock.hold(tmp_path, "training"),
        pytest.raises(UserError, match=rf"is in use: training by process {os.getpid()} on .* since"),
    ):
        train(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with start.only_one(tmp_path):  # as a verb holds it that does more than train
        train(tmp_path)
        with pytest.raises(UserError, match="is in use"), folder_lock.hold(tmp_path, "training"):
            pass
    assert steps_saved(tmp_path) == ["6"]


def test_a_run_never_begins_anew_beside_damaged_checkpoints(tmp_path):
    train(tmp_path, num_steps=2)
    (tmp_path / "checkpoints" / "2" / "_CHECKPOINT_METADATA").unlink()
    before = (tmp_path / "metrics.jsonl").read_text()
    for _ in range(2):
        with pytest.raises(damage.DamagedError, match="put a copy back, or start anew in another folder"):
            train(tmp_path)
        assert (tmp_path / "metrics.jsonl").read_text() == before

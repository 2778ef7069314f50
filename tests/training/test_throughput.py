"""Rates and waits by a clock that the test turns; the peak against a product timed here and against the planner's."""

import dataclasses
import time

import jax
import numpy as np
import pytest
import toy

from musicgen_jax import config
from musicgen_jax.nn.flops import StepFlops
from musicgen_jax.planning import chips
from musicgen_jax.sharding import meshes
from musicgen_jax.training import loop, metrics, throughput

FLOPS = 3e6


class Clock:
    def __init__(self):
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(throughput.time, "perf_counter", clock.perf_counter)
    return clock


def run_steps(speed: throughput.Throughput, clock: Clock, steps: range, data: float, rest: float) -> None:
    for step in steps:
        with speed.waiting("data"):
            clock.now += data
        clock.now += rest
        speed.finished(step)


def task() -> throughput.state.Task:
    return dataclasses.replace(toy.task(), flops=lambda: StepFlops(FLOPS, 0.0))


def test_a_line_by_hand(clock):
    speed = throughput.Throughput(task(), FLOPS, peak=1e7, step=40)
    run_steps(speed, clock, range(41, 42), data=5.0, rest=55.0)  # compiles: not counted
    run_steps(speed, clock, range(42, 46), data=0.1, rest=0.4)
    with speed.waiting("evaluation"):
        clock.now += 70.0
    with speed.waiting("checkpoint"):
        clock.now += 0.5
    run_steps(speed, clock, range(46, 51), data=0.0, rest=0.4)
    assert speed.line(50) == pytest.approx(
        {
            "step_seconds": 4.5 / 9,
            "examples_per_second": 8 * 9 / 4.5,
            "data_wait_fraction": 0.4 / 4.5,
            "checkpoint_wait_fraction": 0.5 / 4.5,
            "share_of_peak": FLOPS / (0.5 * 1e7),
        }
    )
    run_steps(speed, clock, range(51, 53), data=0.0, rest=1.0)
    assert speed.line(52) == pytest.approx(
        {
            "step_seconds": 1.0,
            "examples_per_second": 8.0,
            "data_wait_fraction": 0.0,
            "checkpoint_wait_fraction": 0.0,
            "share_of_peak": 0.3,
        }
    )


def test_a_line_of_the_first_step_alone_includes_compiling(clock):
    speed = throughput.Throughput(toy.task(), 0.0, peak=0.0, step=0)
    run_steps(speed, clock, range(1, 2), data=1.0, rest=3.0)
    assert speed.line(1)["step_seconds"] == 4.0
    run_steps(speed, clock, range(2, 3), data=0.0, rest=2.0)
    assert speed.line(2)["step_seconds"] == 2.0


def test_no_share_where_nobody_has_counted(clock):
    speed = throughput.Throughput(toy.task(), 0.0, peak=0.0, step=0)
    run_steps(speed, clock, range(1, 3), data=0.0, rest=1.0)
    assert "share_of_peak" not in speed.line(2)


def test_a_slow_source_shows_in_the_line_that_the_loop_writes(tmp_path):
    def batches(step):
        for batch in toy.batches_from()(step):
            time.sleep(0.1)
            yield batch

    settings = toy.Run(training=config.TrainingConfig(num_steps=6, log_every=6, eval_every=0))
    loop.train(task(), settings, tmp_path, toy.mesh(), batches, lambda: iter([]))
    (line,) = metrics.read(tmp_path / "metrics.jsonl")
    assert line["data_wait_fraction"] > 0.7  # of five steps after the first, the waits of four are in the time counted
    assert line["step_seconds"] > 0.08
    assert line["share_of_peak"] > 0 and line["checkpoint_wait_fraction"] == 0


def test_the_measured_peak_is_that_of_a_matrix_product():
    device = jax.devices()[0]
    peak = throughput.measured_flops(device)
    x = jax.device_put(np.full((1024, 1024), 1 / 1024, np.float32), device)
    product = jax.jit(lambda x: x @ x)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        product(x).block_until_ready()
        seconds.append(time.perf_counter() - start)
    assert 0.2 < peak * min(seconds) / (2 * 1024**3) < 5
    start = time.perf_counter()
    assert throughput.measured_flops(device) == peak
    assert time.perf_counter() - start < 0.01  # measured once


def test_cpu_devices_share_their_cores():
    one, eight = (meshes.make_mesh(config.MeshConfig(), jax.devices()[:count]) for count in (1, 8))
    assert throughput.peak_flops(eight) == throughput.peak_flops(one)


def test_data_sheets_agree_with_the_planner():
    known = sorted({chip.flops for chip in chips.CHIPS.values()})
    assert sorted(set(throughput.DATASHEET_FLOPS.values())) == known

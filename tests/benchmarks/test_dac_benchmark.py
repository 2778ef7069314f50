"""The benchmark of DAC, at a size that means nothing."""

import json
from collections.abc import Callable

import pytest


@pytest.mark.long
def test_both_directions_are_measured(benchmark: Callable):
    done = benchmark("dac", "--scale=tiny", "--seconds=0.1", "--rounds=1")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["benchmark"] for line in lines] == ["dac encode", "dac decode"]
    assert all(line["value"] > 0 and line["audio_seconds"] == pytest.approx(0.1) for line in lines)


def test_no_audio_is_refused(benchmark: Callable):
    done = benchmark("dac", "--scale=tiny", "--seconds=0")
    assert done.returncode == 1 and "--seconds=0.0: must be above 0" in done.stderr

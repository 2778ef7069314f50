"""The ladder of damages does what it says, and both benchmarks print their lines."""

import json

import numpy as np
import pytest
import soundfile

from benchmarks import damages

RATE = 16_000


def tone(hz: float, seconds: float = 2.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def test_low_pass_keeps_what_is_below_and_drops_what_is_above():
    middle = slice(RATE // 2, -RATE // 2)
    low, high = (damages.low_passed(tone(hz), RATE, 1000)[middle] for hz in (300, 3000))
    np.testing.assert_allclose(low, tone(300)[middle], atol=1e-3)
    assert np.abs(high).max() < 1e-3


def test_noise_has_the_ratio():
    noise = damages.noisy(tone(440), RATE, 20) - tone(440)
    assert 20 * np.log10(np.std(tone(440)) / np.std(noise)) == pytest.approx(20, abs=1e-6)


def test_wobble_swings_by_so_many_cents():
    wobbling = damages.wobbling(tone(100), RATE, 100)
    crossings = np.flatnonzero((wobbling[:-1] < 0) & (wobbling[1:] >= 0))
    exact = crossings + wobbling[crossings] / (wobbling[crossings] - wobbling[crossings + 1])
    cents = 1200 * np.log2(RATE / np.diff(exact) / 100)
    assert max(cents) == pytest.approx(100, rel=0.05) and min(cents) == pytest.approx(-105, rel=0.05)


def test_shuffled_segments_are_all_there():
    steps = np.repeat(np.arange(8.0), RATE // 4)
    shuffled = damages.shuffled(np.append(steps, np.zeros(RATE)), RATE, 0.25)
    found = shuffled[RATE // 8 :: RATE // 4]
    assert sorted(found) == sorted([*range(8), *([0.0] * (len(found) - 8))]) and list(found[:8]) != list(range(8))


def test_clipped_is_as_loud_as_before():
    clipped = damages.clipped(tone(440), RATE, 0.1)
    assert np.std(clipped) == pytest.approx(np.std(tone(440)))
    assert np.mean(np.abs(clipped) > 0.999 * clipped.max()) > 0.9


@pytest.mark.slow
def test_prints_a_line_for_each_damage_and_distance(benchmark, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(2):
        notes = np.concatenate([tone(hz, 0.5) for hz in rng.uniform(100, 2000, 60)])
        soundfile.write(tmp_path / f"{index}.wav", notes + 1e-3 * rng.standard_normal(len(notes)), RATE)
    done = benchmark("degradation_ladder", f"--recordings={tmp_path}", "--clip_seconds=9")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 10 and {line["damage"] for line in lines} == set(damages.DAMAGES)
    assert all(len(line["values"]) == 5 and line["num_frames"] > 50 for line in lines)
    assert "| noise | FD-log-mel-statistics |" in done.stderr


def test_a_clip_has_more_than_one_segment(benchmark, tmp_path):
    done = benchmark("degradation_ladder", f"--recordings={tmp_path}", "--clip_seconds=8")
    assert done.returncode == 1 and "--clip_seconds=8.0: must be more than two segments of 4 s" in done.stderr


@pytest.mark.slow
def test_both_ways_to_the_distance_agree(benchmark):
    done = benchmark("frechet_distance", "--dimensions=8,32", "--frames=64", "--repeats=1")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["dimensions"] for line in lines] == [8, 32]
    assert max(line["relative_difference"] for line in lines) < 1e-6

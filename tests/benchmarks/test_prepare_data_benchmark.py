"""The benchmark of prepare_data on a few seconds of noise."""

import json

import numpy as np
import pytest
import soundfile


@pytest.mark.slow
def test_lines(benchmark, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).standard_normal((20 * 8000, 2)) * 0.1, 8000)
    flags = [f"--recording={tmp_path / 'a.wav'}", "--copies=2", "--sample_rate=4000", "--long_minutes=1"]
    done = benchmark("prepare_data", *flags, "--many_files=5")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("container") for line in lines] == ["wav", "flac", "mp3", None, None]
    assert all(line["value"] > 10 and 0 < line["share_of_limit"] < 1 for line in lines[:3])
    assert [line["recordings"] for line in lines[3:]] == ["long", "many"] and all(
        line["value"] > 50 for line in lines[3:]
    )

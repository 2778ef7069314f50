"""The benchmark of batches on a few recordings."""

import json

import numpy as np
import pytest
import soundfile


@pytest.mark.slow
def test_a_line_for_audio_and_one_for_codes(benchmark, tiny_codes, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed: pip install '.[parity]'")
    for index in range(3):
        soundfile.write(tmp_path / f"{index}.flac", np.random.default_rng(index).uniform(-1, 1, 40000), 8000)
    few = ["--batches=3", "--batch_size=2", "--clip_seconds=1", "--sample_rate=8000"]
    done = benchmark("data_pipeline", f"--files={tmp_path}", "--peer", f"--codes={tiny_codes}", "--context=16", *few)
    assert done.returncode == 0, done.stderr
    audio, codes = map(json.loads, done.stdout.splitlines())
    assert audio["value"] > 0 and audio["peer"] > 0 and audio["ratio_to_peer"] == audio["value"] / audio["peer"]
    assert codes["value"] > 0 and codes["unit"] == "codes/core-s"


def test_bad_numbers_are_refused(benchmark, tmp_path):
    done = benchmark("data_pipeline", f"--files={tmp_path}", "--clip_seconds=0")
    assert done.returncode == 1 and "--clip_seconds=0.0: must be greater than 0" in done.stderr

"""The benchmarks of near duplicates, at their smallest."""

import json

import numpy as np
import pytest
import soundfile
import tiny_music


def test_pairs_are_found(benchmark):
    done = benchmark("near_duplicates", "--counts=100,200")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["count"] for line in lines] == [100, 200]
    assert all(line["found"] == 1 and line["false_clusters"] == 0 and line["value"] > 0 for line in lines)
    refused = benchmark("near_duplicates", "--counts=many")
    assert refused.returncode == 1 and "--counts: 'many' must be a whole number above 1" in refused.stderr


@pytest.mark.long
def test_recordings_encoded_again(benchmark, tmp_path):
    for seed in range(2):
        audio = tiny_music.music(seed, 12.0)
        soundfile.write(tmp_path / f"{seed}.flac", np.stack([audio, audio], axis=1), tiny_music.RATE)
    done = benchmark("fingerprints", f"--recordings={tmp_path}", "--seconds=10")
    assert done.returncode == 0, done.stderr
    *ways, pairs, speed = (json.loads(line) for line in done.stdout.splitlines())
    assert len(ways) == 16 and {"way": "mp3 0.2", "value": 1.0}.items() <= ways[1].items()
    assert pairs["false_positives"] == 0 and pairs["pairs_of_one_recording"] == 2 * 17 * 16 // 2
    assert speed["value"] > 1
    (tmp_path / "0.flac").unlink()
    assert "holds 1 recordings; two are needed" in benchmark("fingerprints", f"--recordings={tmp_path}").stderr

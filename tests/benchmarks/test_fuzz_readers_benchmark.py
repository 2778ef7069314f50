"""No damaged file crashes, hangs or fills the memory of its reader."""

import json

import pytest

READERS = ("wav", "flac", "ogg", "mp3", "mid", "csv", "json", "match_scores.json", "lrc")


@pytest.mark.slow
def test_every_reader_answers_every_input(benchmark):
    done = benchmark("fuzz_readers", "--count=40", "--seed=1")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert tuple(line["reader"] for line in lines) == READERS
    for line in lines:
        assert line["value"] == 40 and line["faults"] == [], line
        assert line["refused"] > 0 and line["slowest_seconds"] < 5 and line["peak_bytes"] < 2**30


def test_unknown_readers(benchmark):
    done = benchmark("fuzz_readers", "--readers=wave")
    assert done.returncode == 1 and "--readers: 'wave' is none of wav, flac" in done.stderr

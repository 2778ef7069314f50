"""The benchmark's one line at the smallest size; the programs that it times have tests of their own."""

import json

import pytest

SMALL = ("--scale=tiny", "--seconds=0.05", "--rounds=1", "--matmul_size=64")


@pytest.mark.long
def test_prints_one_line_with_the_keys_that_programs_read(benchmark):
    done = benchmark("encodec", *SMALL)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["benchmark"] == "encodec" and found["unit"] == "audio-s/s" and found["clip_samples"] == 640
    assert found["peer"] is None and found["ratio_to_peer"] is None
    for part in (found, found["decoding"]):
        assert part["value"] == pytest.approx(0.04 / part["seconds"])
        assert part["share_of_limit"] == pytest.approx(part["value"] / part["limit"]) and part["flops"] > 1e6


@pytest.mark.parity
def test_the_peer_is_timed_in_the_same_run(benchmark):
    pytest.importorskip("transformers")
    done = benchmark("encodec", *SMALL, "--peer")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["different_codes"] == 0 and found["largest_difference"] < 1e-4
    assert found["ratio_to_peer"] > 0 and found["decoding"]["ratio_to_peer"] > 0


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--batch_size=0", "--batch_size=0: must be at least 1"),
        ("--seconds=nan", "--seconds=nan: must be greater than 0 and finite"),
        ("--seconds=0.01", "a clip needs at least 320 samples"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, flag, message):
    done = benchmark("encodec", *SMALL, flag)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr

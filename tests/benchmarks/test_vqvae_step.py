"""The benchmark's one line at the smallest size; the programs that it times have tests of their own."""

import json

import pytest

SMALL = ("--scale=tiny", "--batch_size=1", "--seconds=0.1", "--steps=1", "--matmul_size=64")


@pytest.fixture
def line(benchmark):
    return lambda *arguments: one_line(benchmark("vqvae_step", *SMALL, *arguments))


def one_line(done) -> dict:
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


@pytest.mark.long
def test_prints_one_line_with_the_keys_that_programs_read(line):
    found = line("--threads=1")
    assert found["benchmark"] == "vqvae_step" and found["unit"] == "audio-s/s"
    assert found["peer"] is None and found["ratio_to_peer"] is None
    assert found["clip_samples"] == 1536 and found["cpus"] == 1
    assert found["value"] == pytest.approx(1536 / 16000 / found["step_seconds"])
    assert found["share_of_limit"] == pytest.approx(found["value"] / found["limit"])
    assert found["peak_bytes"] > 1e6  # the parameters alone
    assert set(found["decoding"]) == {"top", "middle", "bottom"}
    assert all(tier["times_real_time"] > 0 for tier in found["decoding"].values())


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--batch_size=0", "--batch_size=0: must be at least 1"),
        ("--seconds=nan", "--seconds=nan: must be greater than 0 and finite"),
        ("--seconds=0.02", "too short for a spectral loss"),
        ("--threads=4096", "--threads=4096: this process may use"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, flag, message):
    done = benchmark("vqvae_step", *SMALL, flag)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr


@pytest.mark.parity
def test_the_peer_is_timed_in_the_same_run(line):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    found = line("--peer", "--threads=1")
    assert found["ratio_to_peer"] == pytest.approx(found["value"] / found["peer"])
    for tier in found["decoding"].values():
        assert tier["ratio_to_peer"] == pytest.approx(tier["times_real_time"] / tier["peer"])
    assert {"torch", "transformers"} <= set(found["versions"])

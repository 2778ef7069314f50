"""The benchmark's lines at the smallest size, and its peer's cache."""

import importlib.util
import json
import pathlib

import pytest

from musicgen_jax import config

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SMALL = ("--scale=tiny", "--context=16", "--steps=2", "--rounds=1", "--megabytes=1")


@pytest.mark.long
def test_prints_a_line_a_case(benchmark):
    done = benchmark("decode", *SMALL, "--batch_sizes=2", "--weights=float32,int8", "--threads=1")
    assert done.returncode == 0, done.stderr
    plain, low = map(json.loads, done.stdout.splitlines())
    assert (plain["weights"], low["weights"]) == ("float32", "int8")
    for line in (plain, low):
        assert line["benchmark"] == "decode" and line["unit"] == "codes/s" and line["cpus"] == 1
        assert line["peer"] is None and line["ratio_to_peer"] is None
        assert line["value"] == pytest.approx(2 / line["step_seconds"])
        assert line["limit"] == pytest.approx(2 * line["bytes_per_second"] / line["bytes"])
        assert line["share_of_limit"] == pytest.approx(line["value"] / line["limit"])
        assert line["bytes"] == line["weight_bytes"] + line["cache_bytes"]
        # Three layers of two caches, both rows of four heads of 32 numbers, up to position 8.
        assert line["cache_bytes"] == 3 * 2 * 2 * 4 * 32 * 9 * 4
    assert low["ratio_to_float32"] == pytest.approx(low["value"] / plain["value"])
    # Matrices a block: 4 x 128 x 128 of attention, 2 x 128 x 512 of the MLP; the distances; 128 x 2048 logits.
    numbers = 3 * (12 * 128**2 + 16 * 128) + 128 * 2048
    assert 4 * numbers < plain["weight_bytes"] < 4.1 * numbers
    assert numbers < low["weight_bytes"] < 1.2 * numbers


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--batch_sizes=1,no", "--batch_sizes=1,no: must be whole numbers, at least 1"),
        ("--weights=int4", "--weights=int4: must be of float32, bfloat16, int8"),
        ("--rounds=0", "--rounds=0: must be at least 1"),
        ("--steps=9", "--steps=9: from position 8 of 16 on there is room for 8"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, flag, message):
    done = benchmark("decode", *SMALL, flag)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr


@pytest.mark.parity
def test_every_run_of_the_peer_starts_from_the_same_cache():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    spec = importlib.util.spec_from_file_location("musicgen_torch", REPOSITORY / "benchmarks" / "musicgen_torch.py")
    musicgen_torch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(musicgen_torch)
    shape = config.TransformerConfig(num_layers=2, width=16, num_heads=2, head_dim=8, mlp_width=24)
    peer = musicgen_torch.Decoder(config.PriorConfig(context=12, num_codes=11, transformer=shape), 2, position=4)
    torch.manual_seed(0)
    codes = [peer.run(3).tolist() for _ in range(2)]
    assert peer.cache.get_seq_length() == 4  # as before the run: the next one starts there again
    assert all(0 <= code < 11 for run in codes for (code,) in run)
    past = peer.cache.layers[0].keys.clone()
    peer.run(2)
    torch.testing.assert_close(peer.cache.layers[0].keys, past)

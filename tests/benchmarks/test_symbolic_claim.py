"""The founding claim, at the smallest size: refused flags, equal parameters, runs that are not repeated."""

import json

import numpy as np
import pytest
import tiny_scores

TINY = ("--steps=2", "--seeds=1", "--width=32", "--layers=1", "--batch_size=2")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models=gru"], "--models=gru: must be of lstm, absolute, relative"),
        ([], "--data: pass the folder of the prepared chorales"),
        (["--part=motif", "--steps=0"], "--steps=0: must be at least 1"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, tmp_path, flags, message):
    done = benchmark("symbolic_claim", f"--out={tmp_path}/out", *flags)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr


@pytest.mark.long
def test_chorales(benchmark, tmp_path):
    data = tiny_scores.prepare(tmp_path / "data")
    flags = [f"--data={data}", f"--out={tmp_path}/out", "--context=64", *TINY]
    done = benchmark("symbolic_claim", *flags)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()[:3]]
    assert [line["model"] for line in lines] == ["lstm", "absolute", "relative"]
    sizes = [line["parameters"] for line in lines]
    assert max(sizes) < 1.15 * min(sizes)  # widths come in steps of 16, which are large here
    assert all(0 < line["value"] < 5 and line["unit"] == "nats/token" for line in lines)
    assert f"| relative | {sizes[2]:,} | {lines[2]['value']:.4f} |" in done.stdout
    again = benchmark("symbolic_claim", *flags)
    assert again.stdout == done.stdout and "train:" not in again.stderr
    other = benchmark("symbolic_claim", *flags, "--dropout=0.2")
    assert other.returncode == 1 and "it was measured with other settings" in other.stderr


@pytest.mark.long
def test_motifs(benchmark, tmp_path):
    done = benchmark("symbolic_claim", "--part=motif", "--models=relative", f"--out={tmp_path}", "--context=128", *TINY)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[0])
    assert set(line["value"]) == {"4", "8", "16"} and line["training_bars"] == 8
    assert all(0 <= share <= 1 for share in line["value"].values())
    assert "| relative, 16 bars back |" in done.stdout


def test_a_motif_comes_again():
    from benchmarks import symbolic_claim

    codes = symbolic_claim.motif(np.random.default_rng(0), 4, 9 * symbolic_claim.BAR)
    bars = codes.reshape(9, symbolic_claim.BAR)
    np.testing.assert_array_equal(bars[4:8], bars[:4])
    assert len(np.unique(bars[:4], axis=0)) == 4

"""The benchmark's one line at the smallest size, and its peer's attention against our own."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.transformer import relative_attention

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SMALL = ("--scale=tiny", "--context=16", "--batch_size=2", "--steps=1", "--matmul_size=64")


@pytest.fixture
def line(benchmark):
    return lambda *arguments: one_line(benchmark("prior_step", *SMALL, *arguments))


def one_line(done) -> dict:
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


@pytest.mark.long
def test_prints_one_line_with_the_keys_that_programs_read(line):
    found = line("--threads=1")
    assert found["benchmark"] == "prior_step" and found["unit"] == "codes/s"
    assert found["peer"] is None and found["ratio_to_peer"] is None
    assert found["context"] == 16 and found["cpus"] == 1
    assert found["value"] == pytest.approx(2 * 16 / found["step_seconds"])
    assert found["limit"] == pytest.approx(2 * 16 * found["matmul_flops_per_second"] / found["step_flops"])
    assert found["share_of_limit"] == pytest.approx(found["value"] / found["limit"])
    # Codes in and out, and the blocks' matrices: two operations forward and four backward a parameter and code.
    assert 6 * 2 * 16 * 0.6e6 < found["step_flops"] < 6 * 2 * 16 * found["parameters"]
    assert found["peak_bytes"] > 4 * 4 * found["parameters"]  # parameters, gradients and two moments


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--batch_size=0", "--batch_size=0: must be at least 1"),
        ("--context=1", "model.context=1: must be at least 2"),
        ("--threads=4096", "--threads=4096: this process may use"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, flag, message):
    done = benchmark("prior_step", *SMALL, flag)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr


@pytest.mark.parity
def test_the_peer_is_timed_in_the_same_run(line):
    pytest.importorskip("torch")
    found = line("--peer", "--threads=1")
    assert found["ratio_to_peer"] == pytest.approx(found["value"] / found["peer"])
    assert found["peer_parameters"] == pytest.approx(found["parameters"], rel=0.05)
    assert "torch" in found["versions"]


@pytest.mark.parity
@pytest.mark.parametrize("max_distance", [0, 5])
def test_the_peer_attends_as_we_do(max_distance):
    torch = pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("gpt_torch", REPOSITORY / "benchmarks" / "gpt_torch.py")
    gpt_torch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpt_torch)
    settings = config.TransformerConfig(width=12, num_heads=2, head_dim=6, max_distance=max_distance)
    torch.manual_seed(0)
    peer = gpt_torch.Attention(settings, context=9)
    arrays = np.random.default_rng(0).standard_normal((3, 2, 2, 9, 6)).astype(np.float32)
    with torch.no_grad():
        found = peer.attend(*torch.from_numpy(arrays)).numpy()
    table = peer.distances.detach().numpy()
    expected = relative_attention.relative_attention(*arrays.swapaxes(2, 3), table)
    np.testing.assert_allclose(found.swapaxes(1, 2), expected, atol=1e-5)

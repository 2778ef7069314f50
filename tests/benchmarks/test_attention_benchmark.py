"""The benchmark's lines at the smallest size."""

import importlib.util
import json

import pytest

SMALL = ("--heads=1", "--head_dim=8", "--max_distance=16", "--steps=1", "--threads=1")


@pytest.fixture
def lines(benchmark):
    def run(*arguments: str) -> list[dict]:
        done = benchmark("attention", *SMALL, *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.mark.slow
def test_prints_a_line_for_each_back_end_and_length_and_a_fit(lines):
    *found, fit = lines("--lengths=512,1024")
    backends = "reference", "blocked", "dot_product"
    assert [(line["length"], line["backend"]) for line in found] == [
        (n, name) for n in (512, 1024) for name in backends
    ]
    assert all(line["value"] > 0 and line["unit"] == "s" and line["peak_bytes"] > 1e4 for line in found)
    reference, blocked = found[3], found[4]
    assert blocked["ratio_to_reference"] == pytest.approx(reference["value"] / blocked["value"])
    assert blocked["peak_bytes"] < reference["peak_bytes"] / 8
    assert fit["benchmark"] == "attention_memory" and fit["value"] == fit["fits"]["blocked"]["bytes_per_code"]
    assert fit["fits"]["reference"]["power"] > 1.9 and fit["fits"]["blocked"]["power"] < 1.1


@pytest.mark.slow
def test_what_does_not_fit_is_not_run(lines):
    found = lines("--lengths=512", "--max_gib=0.001", "--backends=reference,blocked")
    assert [line["value"] is None for line in found] == [True, False]
    assert all(line["ratio_to_reference"] is None for line in found)


@pytest.mark.slow
def test_plans_for_a_tpu_that_is_not_there(lines):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs the TPU's compiler: pip install libtpu")
    arguments = "--aot=v5e:2x2", "--lengths=1024", "--head_dim=128", "--backends=reference,pallas"
    reference, kernels = lines(*arguments, "--compute_dtype=bfloat16")
    assert reference["device"] == kernels["device"] == "v5e:2x2" and kernels["unit"] == "bytes"
    assert kernels["value"] < reference["value"] / 4


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--backends=flash", "--backends: 'flash' is none of reference, blocked, pallas, dot_product"),
        ("--backends=pallas", "its kernels run on TPUs, not on a cpu"),
        ("--lengths=0", "--lengths=0: must be whole numbers, at least 1 each"),
        ("--lengths=512,long", "--lengths=512,long: must be whole numbers"),
        ("--heads=0", "--heads=0: must be at least 1"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, flag, message):
    done = benchmark("attention", *SMALL, flag)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr

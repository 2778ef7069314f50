"""What the devices of an fsdp x tensor mesh send each other in one step of a small prior."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ATTENTIONS = ["blocked", "reference"]
WARNING = "Involuntary full rematerialization"


@functools.cache
def compile_prior(argument: str) -> subprocess.CompletedProcess:
    """A process of its own, with no cache: what XLA finds there, it does not warn of again."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_COMPILATION", "TF_CPP"))}
    environment = kept | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY)}
    script = pathlib.Path(__file__).with_name("compile_prior.py")
    command = [sys.executable, str(script), argument]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=True)


def test_the_test_sees_a_full_rematerialization():
    assert WARNING in compile_prior("clash").stderr


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_no_full_rematerialization(attention):
    assert WARNING not in compile_prior(attention).stderr


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_number_and_bytes_of_collectives(attention):
    found = json.loads(compile_prior(attention).stdout)
    traffic, num_layers = found["bytes_by_axis"], 4
    assert sum(one["count"] for one in found["collectives"]) <= 125
    # Parameters are collected for the forward and for the backward pass, and their gradients summed (twice the bytes,
    # since XLA for CPUs sums and then takes a part).
    collected = 4 * found["parameter_bytes_per_chip"] * 3 / 4
    assert 2 * collected < traffic["fsdp"] <= 4 * collected
    # Attention and MLP are summed in both passes and when they are computed again: [1, 512, 512] float32, ring of two.
    assert 4 * num_layers * 2**20 < traffic["tensor"] <= 6 * num_layers * 2**20
    # Older compilers collect the table of the codes' embeddings, [2048, 512], along both axes at once.
    assert traffic.get("fsdp+tensor", 0) <= 1.5 * 2048 * 512 * 4
    assert set(traffic) - {"fsdp+tensor"} == {"fsdp", "tensor"}

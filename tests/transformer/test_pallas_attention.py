"""The kernels, interpreted on the CPU against the oracle, and compiled by the TPU's compiler where it is installed."""

import functools
import importlib.util

import attention_cases
import jax
import jax.numpy as jnp
import pytest
from attention_cases import inputs, oracle, with_gradients

from musicgen_jax import config
from musicgen_jax.planning import topology
from musicgen_jax.sharding import meshes, rules
from musicgen_jax.transformer import pallas_attention, pallas_tiles, relative_attention, relative_distances

Pattern = relative_distances.Pattern


def interpreted(pattern, block=4):
    options = {"axis_rules": rules.AxisRules(), "block": block, "interpret": True}
    return functools.partial(pallas_attention.attention, pattern=pattern, **options)


@pytest.mark.long
@pytest.mark.parametrize(
    ("length", "table_size", "pattern"),
    [
        (13, 13, Pattern()),
        (13, 3, Pattern()),  # tiles that lie beyond the table
        (13, 3, Pattern(beyond="clamp")),
        (17, 20, Pattern(window=6)),  # a table longer than the sequence
        (13, 5, Pattern(causal=False)),
        (14, 3, Pattern(causal=False, window=5, beyond="clamp")),
    ],
)
def test_output_and_gradients_equal_the_reference(length, table_size, pattern):
    arrays = inputs(length, table_size, pattern)
    attention_cases.assert_close(with_gradients(interpreted(pattern), *arrays), oracle(pattern, *arrays))


@pytest.mark.long
def test_bfloat16_is_within_two_per_cent():
    arrays = inputs(30, 20, Pattern(), head_dim=16)
    attention_cases.assert_close_in_bfloat16(interpreted(Pattern(), block=8), Pattern(), *arrays)


@pytest.mark.long
@pytest.mark.parametrize(("batch", "heads"), [(4, 2), (3, 1)])
def test_every_device_computes_its_examples_and_heads(batch, heads):
    """Where the mesh does not divide them, each device computes all."""
    devices = meshes.make_mesh(config.MeshConfig(fsdp=4, tensor=2), jax.devices()[:8])
    arrays = inputs(9, 5, Pattern(), batch=batch, heads=heads)
    with jax.set_mesh(devices):
        got = jax.jit(with_gradients.__wrapped__, static_argnums=0)(interpreted(Pattern()), *arrays)
    attention_cases.assert_close(got, oracle(Pattern(), *arrays))
    parts = got[0].sharding.shard_shape(got[0].shape)
    assert parts == ((1, 9, 1, 5) if batch == 4 else got[0].shape)


def test_only_diagonals_with_something_to_see_are_computed():
    def counts(length, reach, pattern):
        bands = pallas_tiles.plan(length, 4, reach, pattern)
        return bands.diagonals, bands.near

    assert counts(16, 15, Pattern()) == (4, 4)
    assert counts(16, 2, Pattern()) == (4, 2)
    assert counts(16, 2, Pattern(beyond="clamp")) == (4, 4)
    assert counts(16, 15, Pattern(window=5)) == (3, 3)
    assert counts(16, 3, Pattern(causal=False)) == (7, 3)


def test_a_block_must_fill_registers():
    devices = tpu_mesh("v5e:2x2")
    with pytest.raises(ValueError, match="block=100: must be a multiple of 128"), jax.set_mesh(devices):
        jax.eval_shape(compiled_attention(block=100), *shapes(devices, 1024, 128)[:4])


def tpu_mesh(name):
    """One device of a TPU that is described and not there."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs the TPU's compiler: pip install libtpu")
    return meshes.make_mesh(config.MeshConfig(), topology.describe(name).devices[:1])


def shapes(devices, length, table_size, heads=2, dtype=jnp.bfloat16):
    whole = jax.sharding.NamedSharding(devices, jax.P())
    part = jax.ShapeDtypeStruct((1, length, heads, 128), dtype, sharding=whole)
    return part, part, part, jax.ShapeDtypeStruct((heads, table_size, 128), jnp.float32, sharding=whole), part


def compiled_attention(**options):
    return functools.partial(
        pallas_attention.attention, pattern=Pattern(), axis_rules=rules.AxisRules(), interpret=False, **options
    )


def peak_bytes(attend, devices, *arrays):
    with jax.set_mesh(devices):
        compiled = jax.jit(with_gradients.__wrapped__, static_argnums=0).lower(attend, *arrays).compile()
    return compiled.memory_analysis().peak_memory_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:2x2", "v5p:2x2x1"])
def test_compiles_for_tpus_in_an_eighth_of_the_memory(topology):
    devices = tpu_mesh(topology)
    arrays = shapes(devices, 8192, 1024)
    plain = peak_bytes(relative_attention.relative_attention, devices, *arrays)
    assert peak_bytes(compiled_attention(), devices, *arrays) < plain / 8


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern", [Pattern(window=700), Pattern(beyond="clamp"), Pattern(causal=False)], ids=["window", "clamp", "both"]
)
def test_every_pattern_compiles_for_tpus(pattern):
    devices = tpu_mesh("v5e:2x2")
    attend = functools.partial(pallas_attention.attention, pattern=pattern, axis_rules=rules.AxisRules())
    assert peak_bytes(attend, devices, *shapes(devices, 2000, 301, dtype=jnp.float32)) > 0

"""Digests: the same however an array lies, another for any change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.sharding import meshes
from musicgen_jax.training import digests


def mixed(bits: np.ndarray) -> int:
    """The definition, an element at a time in whole numbers: fmix32 of MurmurHash3, summed."""
    total = 0
    for place, value in enumerate(bits.reshape(-1).tolist()):
        h = (value + place * 0x9E3779B9) % 2**32
        h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
        h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
        total += h ^ h >> 16
    return total % 2**32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32", "int8", "uint32", "bool"])
def test_host_and_devices_agree_with_the_definition(dtype):
    array = jnp.asarray(50 * np.random.default_rng(0).standard_normal((4, 6, 3))).astype(dtype)
    bits = np.asarray(array)
    bits = bits.astype(np.uint32) if dtype == "bool" else bits.view(f"uint{8 * bits.itemsize}")
    mesh = meshes.make_mesh(config.MeshConfig(data=2, fsdp=2), jax.devices()[:4])
    divided = jax.device_put(array, jax.sharding.NamedSharding(mesh, jax.P("data", "fsdp")))
    expected = f"{mixed(bits):08x}"
    assert digests.of_arrays({"a": array, "b": divided, "c": np.asarray(array)}) == dict.fromkeys("abc", expected)
    assert f"{int(digests._on_devices(divided)):08x}" == expected


def test_every_flip_and_every_swap_is_seen(monkeypatch):
    monkeypatch.setattr(digests, "CHUNK", 7)  # places go on from chunk to chunk
    array = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    changed = []
    for index in range(array.size):
        for bit in range(32):
            flipped = array.view(np.uint32).copy()
            flipped[index] ^= np.uint32(1 << bit)
            changed.append(flipped.view(np.float32))
        changed.append(np.roll(array, index))
    signs = array.copy()
    signs[[3, 9]] *= -1  # the top bits of two elements: they would cancel in any sum of products
    changed += [signs, -array, np.zeros_like(array), array[:-1]]
    found = digests.of_arrays({str(index): other for index, other in enumerate(changed)})
    same = [index for index, other in enumerate(changed) if found[str(index)] == digests.of_arrays({"": array})[""]]
    assert same == [32]  # rolled by 0
    assert digests.of_arrays({"nothing": np.zeros((0, 3)), "scalar": jnp.int32(0)}).keys() == {"nothing", "scalar"}

"""Digests of arrays: 32 bits each, the same however the array is divided over devices.

An element's bits and its place in the whole array are mixed to a random-looking number, and the numbers are summed. The
mixing is one to one for a given place, so that a change of one element never goes unseen; of larger damage one case in
four billion does. Each device reads its own part once; only the sums travel.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PLACE = 0x9E3779B9  # odd, and far from any pattern in the bits of numbers: 2**32 over the golden ratio
CHUNK = 2**16  # elements that the host takes at a time: they stay in its cache


def of_arrays(arrays: dict[str, Any]) -> dict[str, str]:
    """Eight hexadecimal digits for each array by name. `jax.Array`s are added up by all processes together."""
    large = {name: _on_devices(array) for name, array in arrays.items() if not _for_host(array)}
    small = {name: _host_copy(array) for name, array in arrays.items() if name not in large}
    sums = {name: _on_host(array) for name, array in jax.device_get(small).items()} | jax.device_get(large)
    return {name: f"{int(value):08x}" for name, value in sums.items()}


def _for_host(array: Any) -> bool:
    """Whether the host gets at the whole array, and is done before a device's program for its shape is compiled."""
    if not isinstance(array, jax.Array):
        return True
    here = array.is_fully_addressable or array.is_fully_replicated
    return here and (array.size <= CHUNK or all(device.platform == "cpu" for device in array.devices()))


def _host_copy(array: Any) -> Any:
    return array.addressable_data(0) if isinstance(array, jax.Array) and array.is_fully_replicated else array


def _on_host(array: np.ndarray) -> int:
    flat = np.asarray(array).reshape(-1)
    total = 0
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        places = np.arange(start, start + part.size, dtype=np.uint64).astype(np.uint32) * np.uint32(PLACE)
        bits = part if part.dtype == bool else part.view(f"uint{8 * part.dtype.itemsize}")
        total += int(_sum(bits.astype(np.uint32), places))
    return total % 2**32


@jax.jit
def _on_devices(array: jax.Array) -> jax.Array:
    bits = array if array.dtype == bool else jax.lax.bitcast_convert_type(array, f"uint{8 * array.dtype.itemsize}")
    places, stride = jnp.zeros(array.shape, jnp.uint32), PLACE
    for axis in reversed(range(array.ndim)):
        places += jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis) * jnp.uint32(stride % 2**32)
        stride *= array.shape[axis]
    return _sum(bits.astype(jnp.uint32), places)


def _sum(bits: Any, places: Any) -> Any:
    """Sum modulo 2**32 of elements mixed by the finalizer of MurmurHash3 (Appleby 2011)."""
    mixed = bits + places
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        mixed = (mixed ^ (mixed >> shift)) * mixed.dtype.type(factor)
    return mixed.sum(dtype=mixed.dtype)

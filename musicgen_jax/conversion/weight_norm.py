"""Weight normalization (Salimans and Kingma 2016) of published files: folded where they are read.

A kernel w is kept as its direction v and its length g along the first axis: w = g * v / |v|, the norm being over all
other axes. Torch has named the pair in two ways.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.conversion import checkpoint_files

# (length, direction) behind the layer's name.
PAIRS = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))


def folded(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The same tensors with one LAYER.weight in place of each pair, computed when it is read.

    Args:
      tensors: {name: anything with a shape that `np.asarray` reads}.

    Raises:
      UserError: one of a pair has no other, or their shapes do not belong together.
    """
    found = dict(tensors)
    for length, direction in PAIRS:
        for name in [name for name in tensors if name.endswith((length, direction))]:
            layer = name.removesuffix(length).removesuffix(direction)
            g, v = found.pop(layer + length, None), found.pop(layer + direction, None)
            if f"{layer}.weight" in found and g is None and v is None:
                continue  # its other half was found before
            whole = g is not None and v is not None and _fit(tuple(g.shape), tuple(v.shape))
            config.require(whole, f"{layer}: {length} and {direction} must both be there, [C, 1, ...] and [C, ...]")
            found[f"{layer}.weight"] = checkpoint_files.StoredTensor(tuple(v.shape), lambda g=g, v=v: _fold(g, v))
    return found


def split(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(length, direction) of a kernel [C, ...], the direction being the kernel itself; where it is 0, ones."""
    length = _norm(kernel)
    return length, np.where(length > 0, kernel, np.float32(1))


def _fit(length: tuple[int, ...], direction: tuple[int, ...]) -> bool:
    return len(direction) > 1 and length == (direction[0],) + (1,) * (len(direction) - 1)


def _fold(g: Any, v: Any) -> np.ndarray:
    g, v = np.asarray(g, np.float32), np.asarray(v, np.float32)
    norm = _norm(v)
    return v * (g / np.where(norm > 0, norm, np.float32(1)))


def _norm(array: np.ndarray) -> np.ndarray:
    """[C, 1, ...] float32 of [C, ...]."""
    axes = tuple(range(1, array.ndim))
    return np.sqrt(np.sum(array.astype(np.float64) ** 2, axis=axes, keepdims=True)).astype(np.float32)

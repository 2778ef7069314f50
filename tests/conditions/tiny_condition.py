"""A condition with random weights, compiled."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax.nn import modules


def build(make: Callable[[Any], nnx.Module], scale: float = 1.0) -> tuple[modules.Tree, Callable[..., np.ndarray]]:
    """(its tables, what it adds for a batch): `make(rngs)` is the condition, `scale` the size of its weights."""
    functional = modules.Functional(make)
    rng = np.random.default_rng(0)
    shapes = nnx.to_pure_dict(functional.abstract_params)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=scale, size=leaf.shape), jnp.float32), shapes)
    run = jax.jit(lambda batch, hidden: functional.bind(params, {})(batch, hidden).added)

    def added(hidden: np.ndarray | None = None, **batch: Any) -> np.ndarray:
        arrays = {name: x if isinstance(x, np.ndarray) else np.int32(x) for name, x in batch.items()}
        return np.asarray(run(arrays, hidden))

    return jax.device_get(params), added

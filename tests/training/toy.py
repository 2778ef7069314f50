"""A line fitted by gradient descent: the smallest task that the trainer can train."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules, parameters
from musicgen_jax.sharding import meshes
from musicgen_jax.training import state


class Counter(nnx.Variable):
    """A buffer: changes at every step without a gradient."""


class Line(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, width: int = 4):
        self.linear = parameters.layer(nnx.Linear(width, 1, rngs=rngs))
        self.seen = Counter(jnp.zeros(()))


@dataclasses.dataclass
class Model:
    """Config of the toy."""

    width: int = 4


@dataclasses.dataclass
class Run:
    """What `loop.train` reads of a run's config."""

    kind: ClassVar[str] = "toy"

    model: Model = dataclasses.field(default_factory=Model)
    optimizer: config.OptimizerConfig = dataclasses.field(default_factory=config.OptimizerConfig)
    training: config.TrainingConfig = dataclasses.field(default_factory=config.TrainingConfig)


def loss(model: Line, batch: dict, key: jax.Array, train: bool) -> tuple[jax.Array, dict]:
    if train:
        model.seen[...] = model.seen[...] + jnp.sum(batch["x"])
    error = model.linear(batch["x"])[:, 0] - batch["y"]
    value = jnp.mean(error**2)
    return value, {"noise": jax.random.uniform(key), "seen": model.seen[...]}


def task(width: int = 4) -> state.Task:
    return state.Task(modules.Functional(lambda rngs: Line(rngs, width)), loss, unit="examples", units_per_step=8)


def batch(step: int, width: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    x = rng.standard_normal((8, width)).astype(np.float32)
    return {"x": x, "y": x.sum(axis=1)}


def batches_from(bad: tuple[int, ...] = (), width: int = 4) -> Callable[[int], Iterator[dict]]:
    """`batches_from(step)` whose batches number `bad` are all NaN."""

    def batches(step: int) -> Iterator[dict]:
        while True:
            values = batch(step, width)
            yield {name: value * np.nan for name, value in values.items()} if step in bad else values
            step += 1

    return batches


def dies_at(number: int) -> Callable[[int], Iterator[dict]]:
    """`batches_from()`, which raises RuntimeError in place of batch `number`."""

    def batches(step: int) -> Iterator[dict]:
        for index, values in enumerate(batches_from()(step)):
            if index + step == number:
                raise RuntimeError("killed")
            yield values

    return batches


def mesh() -> jax.sharding.Mesh:
    return meshes.make_mesh(config.MeshConfig(), jax.devices()[:1])


def equal(a, b) -> bool:
    """Whether two trees have the same structure and the same bits."""
    same = jax.tree.map(lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(), a, b)
    return jax.tree.all(same)

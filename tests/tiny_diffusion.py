"""Diffusion models small enough for a test: random weights, and one that knows a joint distribution exactly."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tiny_priors

from musicgen_jax import config, kinds
from musicgen_jax.diffusion.trained_diffusion import TrainedDiffusion


def model_config(tier: str = "middle", **changes: Any) -> config.DiffusionConfig:
    """As `tiny_priors.model_config`; `schedule` may be given."""
    schedule = changes.pop("schedule", "linear")
    of_prior = tiny_priors.model_config(tier, **changes)
    fields = {field.name: getattr(of_prior, field.name) for field in dataclasses.fields(of_prior)}
    return config.DiffusionConfig(**fields, schedule=schedule)


def trained_diffusion(model: config.DiffusionConfig, seed: int = 0) -> TrainedDiffusion:
    """Random weights whose predictions are far from uniform."""
    functional = kinds.KINDS["diffusion"].functional(config.DiffusionTraining(model=model))
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    weights = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.35, size=leaf.shape), leaf.dtype), shapes)
    return TrainedDiffusion(model, functional, tiny_priors.attentive(weights), "")


class JointTable:
    """Stands for a `Functional` and its module: the exact p(code_t | known codes) of a joint table [K] * T."""

    def __init__(self, joint: np.ndarray):
        self.joint = jnp.asarray(joint, jnp.float32)
        self.config = model_config("top", context=joint.ndim, num_codes=joint.shape[0])

    def bind(self, *weights: object) -> "JointTable":
        return self

    def condition(self, batch: dict[str, jax.Array]) -> None:
        return None

    def run(self, codes: jax.Array, condition: None) -> jax.Array:
        return self.stack(codes[..., 0])

    def stack(self, codes: jax.Array) -> jax.Array:
        """[B, T], K where masked -> log p(code_t = k | known) [B, T, K]."""
        num_codes, length = self.joint.shape[0], self.joint.ndim
        sequences = jnp.asarray(list(itertools.product(range(num_codes), repeat=length)))
        fits = jnp.all((codes[:, None] == num_codes) | (codes[:, None] == sequences), axis=-1)
        weights = fits * self.joint.ravel()
        sums = jnp.einsum("bs,stk->btk", weights, jax.nn.one_hot(sequences, num_codes))
        return jnp.log(sums / jnp.sum(sums, axis=-1, keepdims=True))

    def predict(self, hidden: jax.Array) -> jax.Array:
        return hidden

    def trained(self) -> TrainedDiffusion:
        return TrainedDiffusion(self.config, self, (), "")


def joint(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A random joint distribution, far from independent."""
    values = np.random.default_rng(seed).gamma(0.5, size=shape)
    return values / values.sum()

"""Builds the optimizer that a config names, of optax's parts: schedule, clipping, weight decay, groups by role."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from musicgen_jax import config
from musicgen_jax.nn import modules, parameters
from musicgen_jax.training import low_precision, muon


def make_schedule(optimizer: config.OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Learning rate after n updates: linear warm-up, then constant or cosine decay that ends at `num_steps`."""
    peak = optimizer.peak_learning_rate
    if optimizer.decay == "cosine":
        decay = optax.cosine_decay_schedule(peak, max(num_steps - optimizer.warmup_steps, 1), optimizer.final_fraction)
    else:
        decay = optax.constant_schedule(peak)
    if optimizer.warmup_steps == 0:
        return decay
    # Update n (from 0) uses (n + 1) / warmup_steps of the peak: the first update already moves.
    warmup = optax.linear_schedule(peak / optimizer.warmup_steps, peak, optimizer.warmup_steps - 1)
    return optax.join_schedules([warmup, decay], [optimizer.warmup_steps])


def decays(declared: modules.Tree) -> modules.Tree:
    """True where weight decay applies: matrices and tables. No biases, norm scales or other vectors."""
    return jax.tree.map(lambda parameter: parameter.role in (parameters.MATRIX, parameters.EMBEDDING), declared)


def make_optimizer(
    optimizer: config.OptimizerConfig, num_steps: int, declared: modules.Tree, clipped_apart: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    """Clipping by global norm, then the optimizer's direction, decoupled weight decay and the learning rate.

    AdamW is that of Loshchilov & Hutter 2019. Adafactor (Shazeer & Stern 2018) takes the learning rate and weight decay
    as AdamW does, as in Zhai et al. 2022, section 3.3. Muon (Jordan et al. 2024) moves by orthogonalised momentum, with
    the size of an Adam step (Liu et al. 2025, section 2.2), so it takes them likewise.

    Args:
      optimizer: settings.
      num_steps: of the whole run, for the schedule.
      declared: what the parameters are (`modules.Functional.declared`).
      clipped_apart: top-level names of parameters that are clipped by their own norm each, and don't count in that of
        the rest.
    """
    makers = {"adamw": _adam, "adafactor": _adafactor, "muon": functools.partial(_muon, declared=declared)}
    direction = makers[optimizer.name](optimizer)
    if optimizer.state_dtype != "float32":
        direction = low_precision.stored(direction, jnp.dtype(optimizer.state_dtype))
    descent = optax.chain(
        direction,
        optax.add_decayed_weights(optimizer.weight_decay, decays(declared)),
        optax.scale_by_learning_rate(make_schedule(optimizer, num_steps)),
    )
    if optimizer.clip_norm == 0:
        return descent
    return optax.chain(_clip(optimizer.clip_norm, clipped_apart), descent)


def _adam(optimizer: config.OptimizerConfig) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=optimizer.b1, b2=optimizer.b2)


def _adafactor(optimizer: config.OptimizerConfig) -> optax.GradientTransformation:
    def decay(updates_done: jax.Array, exponent: float) -> jax.Array:
        return jnp.minimum(1 - (updates_done + 1.0) ** -exponent, optimizer.b2)

    parts = [optax.scale_by_factored_rms(decay_rate_fn=decay), optax.clip_by_block_rms(1.0)]
    return optax.chain(*parts, *([optax.ema(optimizer.b1)] if optimizer.b1 else []))


def _muon(optimizer: config.OptimizerConfig, declared: modules.Tree) -> optax.GradientTransformation:
    dimensions = muon.matrices(declared)
    owners = jax.tree.map(lambda axes: "muon" if axes else "adam", dimensions, is_leaf=muon.is_axes)
    # Optax would give the rest to Nesterov's variant of Adam.
    return optax.partition({"muon": muon.direction(optimizer.b1, dimensions), "adam": _adam(optimizer)}, owners)


def _clip(max_norm: float, apart: tuple[str, ...]) -> optax.GradientTransformation:
    if not apart:
        return _clip_by_known_norm(max_norm)

    def groups(params: dict) -> dict:
        return {name: name if name in apart else "rest" for name in params}

    return optax.partition({name: optax.clip_by_global_norm(max_norm) for name in (*apart, "rest")}, groups)


def _clip_by_known_norm(max_norm: float) -> optax.GradientTransformationExtraArgs:
    """`optax.clip_by_global_norm` that may be told the norm, as `grad_norm`.

    It multiplies by one scalar. A division by one would be a pass of its own over all gradients on CPUs.
    """

    def update(
        updates: optax.Updates,
        old: optax.EmptyState,
        params: optax.Params | None = None,
        *,
        grad_norm: jax.Array | None = None,
        **_: Any,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        norm = optax.tree.norm(updates) if grad_norm is None else grad_norm
        factor = jnp.where(norm < max_norm, 1.0, max_norm / norm)
        return jax.tree.map(lambda gradient: factor * gradient, updates), old

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)

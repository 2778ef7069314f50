"""Config -> optax."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from musicgen_jax import config
from musicgen_jax.nn import modules, parameters
from musicgen_jax.training import low_precision

ADAM_STEP_RMS = 0.2  # root mean square of a typical step of Adam at learning rate 1 (Liu et al. 2025, section 2.2)


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
    makers = {"adamw": _adam, "adafactor": _adafactor, "muon": lambda settings: _muon(settings, matrices(declared))}
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


def _muon(optimizer: config.OptimizerConfig, dimensions: modules.Tree) -> optax.GradientTransformation:
    owners = jax.tree.map(lambda axes: "muon" if axes else "adam", dimensions, is_leaf=_is_axes)
    muon = optax.contrib.muon(
        1.0, beta=optimizer.b1, muon_weight_dimension_numbers=dimensions, consistent_rms=ADAM_STEP_RMS
    )
    # Optax would give the rest to Nesterov's variant of Adam. What it returns goes downhill already: turned back here.
    return optax.partition({"muon": optax.chain(muon, optax.scale(-1.0)), "adam": _adam(optimizer)}, owners)


def _is_axes(x: Any) -> bool:
    return x is None or isinstance(x, optax.contrib.MuonDimensionNumbers)


def matrices(declared: modules.Tree) -> modules.Tree:
    """Which axes of each parameter are the inputs and outputs of a matrix that Muon orthogonalises; None: Adam's.

    Queries, keys and values are three matrices; the taps and channels of a convolution are inputs together. Embeddings,
    logits, tables of distances, biases and norms are Adam's.
    """

    def axes(parameter: parameters.Declaration) -> optax.contrib.MuonDimensionNumbers | None:
        if parameter.role != parameters.MATRIX:
            return None
        return optax.contrib.MuonDimensionNumbers(parameter.inputs, parameter.outputs)

    return jax.tree.map(axes, declared)


def _clip(max_norm: float, apart: tuple[str, ...]) -> optax.GradientTransformation:
    if not apart:
        return optax.clip_by_global_norm(max_norm)

    def groups(params: dict) -> dict:
        return {name: name if name in apart else "rest" for name in params}

    return optax.partition({name: optax.clip_by_global_norm(max_norm) for name in (*apart, "rest")}, groups)

"""Removing attention heads: which of each layer matter least, and the smaller prior without them."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.nn import modules, parameters
from musicgen_jax.priors import loss, prior, trained
from musicgen_jax.transformer import relative_attention, weights

Batch = dict[str, jax.Array]


def num_removed(fraction: float, num_heads: int) -> int:
    """Heads to remove from each layer: `fraction` of them, rounded. A fraction of 0 asks for none.

    Raises:
      UserError: that would be all, or none though some are asked for.
    """
    if fraction == 0:
        return 0
    config.require(num_heads > 1, "a prior with one head a layer has none to spare")
    shares = ", ".join(f"{removed / num_heads:.3g}" for removed in range(1, num_heads))
    remedy = f"one of {shares} removes whole heads"
    config.require(0 < fraction < 1, f"`fraction`={fraction}: must be at least 0 and less than 1; {remedy}")
    removed = int(fraction * num_heads + 0.5)
    config.require(
        0 < removed < num_heads,
        f"`fraction`={fraction} of {num_heads} heads a layer removes {'none' if removed == 0 else 'all'}: {remedy}",
    )
    return removed


def check(declared: modules.Tree) -> None:
    """Raises UserError for a prior whose layers have heads that `importance` does not judge: those that read a memory.

    `declared` is what its parameters are (`modules.Functional.declared`).
    """
    others = any(_is_stacked(parameter) and "head_columns" in parameter.axes for parameter in jax.tree.leaves(declared))
    config.require(
        not others, "a prior that attends to a memory cannot lose heads: only those that look at the codes are judged"
    )


def importance(name: str, model: trained.TrainedPrior, batches: Iterable[Batch]) -> np.ndarray:
    """How much each head matters on these batches (arrays as `code_dataset.Windows.window`): float64 [layers, heads].

    "gradient" is that of Michel et al. 2019, section 4.1: the mean over windows of |dL / dg|, where g = 1 multiplies
    the head's output and L is the window's mean nats per code, divided by the Euclidean norm of the layer's values.
    "attention" is the mean over the codes of the largest attention weight that a head gives to a position: a head that
    spreads its attention evenly adds little but an average.
    """
    config.require(name in config.IMPORTANCES, f"`importance`={name!r}: must be one of {', '.join(config.IMPORTANCES)}")
    sums_of = {"gradient": _gradients, "attention": _largest_weights}[name](model)
    sums, count = 0.0, 0.0
    for batch in batches:
        batch_sums, batch_count = sums_of(model.weights, batch)
        sums, count = sums + np.asarray(batch_sums, np.float64), count + float(batch_count)
    config.require(count > 0, "no codes to measure the importance of heads on")
    means = sums / count
    if name == "attention":
        return means
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return means / np.where(norms > 0, norms, 1.0)


def _gradients(model: trained.TrainedPrior) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """(weights, batch) -> sums of |dL / dg| over windows, [layers, heads], and their number."""
    transformer = model.config.transformer
    ones = jnp.ones((transformer.num_layers, transformer.num_heads))

    @jax.jit
    def sums(all_weights: tuple, batch: Batch) -> tuple[jax.Array, jax.Array]:
        params, buffers = all_weights

        def window_loss(gates: jax.Array, window: Batch) -> jax.Array:
            module = model.functional.bind(gated(params, model.functional.declared, gates), buffers)
            return loss.prior_loss(module, jax.tree.map(lambda array: array[None], window), None)[0]

        # One window after the other: each needs a gradient of its own, and memory is that of one.
        gradients = jax.lax.map(lambda window: jax.grad(window_loss)(ones, window), batch)
        return jnp.sum(jnp.abs(gradients), axis=0), jnp.float32(len(gradients))

    return sums


def gated(params: modules.Tree, declared: modules.Tree, gates: jax.Array) -> modules.Tree:
    """Parameters whose heads' outputs are multiplied by gates [layers, heads]: the matrices that sum over heads."""

    def scaled(leaf: jax.Array, parameter: parameters.Declaration) -> jax.Array:
        axis = _heads_axis(parameter)
        if axis is None or axis - leaf.ndim not in parameter.inputs:
            return leaf
        others = [other for other in range(1, leaf.ndim) if other != axis]
        return leaf * jnp.expand_dims(gates, others)

    return jax.tree.map(scaled, params, declared)


def _heads_axis(parameter: parameters.Declaration) -> int | None:
    """The axis of the heads in a parameter of the stacked blocks, whose axis 0 is their layers; None in any other."""
    return parameter.axes.index("heads") if _is_stacked(parameter) and "heads" in parameter.axes else None


def _is_stacked(parameter: parameters.Declaration) -> bool:
    return parameter.axes[:1] == ("layers",)


def _largest_weights(model: trained.TrainedPrior) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """(weights, batch) -> sums of the largest attention weight over codes, [layers, heads], and their number."""

    @jax.jit
    def sums(all_weights: tuple, batch: Batch) -> tuple[jax.Array, jax.Array]:
        module: prior.Prior = model.functional.bind(*all_weights)
        exists = jnp.broadcast_to(batch["mask"][..., None], batch["codes"].shape)
        mask = jnp.any(module.pattern.placed(exists, False), axis=-1).astype(jnp.float32)

        def body(x: jax.Array, layer: Any) -> tuple[jax.Array, jax.Array]:
            largest = jnp.max(_attention_weights(layer, x), axis=-1)
            return layer(x, None)[0], jnp.einsum("bth,bt->h", largest, mask)

        inputs = module.inputs(batch["codes"], module.condition(batch))
        return jax.lax.scan(body, inputs, module.stack.layers)[1], jnp.sum(mask)

    return sums


def _attention_weights(layer: Any, x: jax.Array) -> jax.Array:
    """How much attention a block's heads pay to each position: x [B, T, D], the block's input -> [B, T, H, T]."""
    attention = layer.attention
    normed = layer.attention_norm(x)
    qkv = weights.einsum("btd,dnhk->btnhk", normed, attention.qkv[...], attention.dtype)
    query, key = qkv[:, :, 0], qkv[:, :, 1]
    batch_size, length, heads, _ = key.shape
    # With the unit vectors for values, what is mixed are the weights themselves.
    values = jnp.broadcast_to(jnp.eye(length)[:, None], (batch_size, length, heads, length))
    return relative_attention.relative_attention(
        query, key, values, weights.dense(attention.distances[...]), attention.pattern, "reference"
    )


def most_important(scores: np.ndarray, removed: int) -> np.ndarray:
    """Indices of the heads of each layer that stay, in their order; of equal heads the first ones.

    scores [layers, heads] -> int [layers, heads - removed].
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.sort(order[:, : scores.shape[1] - removed], axis=1)


def remove_heads(params: modules.Tree, declared: modules.Tree, kept: np.ndarray) -> modules.Tree:
    """Parameters of a prior with the heads `kept` [layers, heads that stay] alone: smaller arrays, not masks.

    `declared` is what they are (`modules.Functional.declared`).
    """

    def chosen(leaf: jax.Array, parameter: parameters.Declaration) -> jax.Array:
        axis = _heads_axis(parameter)
        if axis is None:
            return leaf
        take = functools.partial(jnp.take, axis=axis - 1)
        return jax.vmap(take)(leaf, jnp.asarray(kept))

    return jax.tree.map(chosen, params, declared)


def smaller(model: config.PriorConfig, kept: np.ndarray) -> config.PriorConfig:
    """The config of the prior that `remove_heads` leaves."""
    transformer = dataclasses.replace(model.transformer, num_heads=kept.shape[1])
    return dataclasses.replace(model, transformer=transformer)

"""Cross-entropy of codes, in nats."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicgen_jax.nn import modules
from musicgen_jax.priors import code_model, prior


def code_losses(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """-log p of every code: logits [..., K] float32, codes [...] -> [...]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, codes)


@functools.lru_cache(maxsize=8)
def of_windows(functional: modules.Functional) -> Callable[[Any, dict[str, jax.Array]], jax.Array]:
    """A jitted function, compiled once for each shape: (weights, batch) -> -log p of every code, float32 [B, T, Q]."""
    return jax.jit(lambda weights, batch: code_losses(functional.bind(*weights)(batch), batch["codes"]))


def num_losses(batch: dict[str, jax.Array]) -> jax.Array:
    """Codes that `prior_loss` averages over: those of the frames that exist. Scalar float32."""
    return jnp.sum(batch["mask"].astype(jnp.float32)) * batch["codes"].shape[-1]


def summarize(means: dict[str, Any]) -> dict[str, Any]:
    """Means of metrics, and the perplexity of the mean nats, which is no mean of perplexities."""
    return means | {"perplexity": np.exp(means["nats_per_code"])} if "nats_per_code" in means else means


def prior_loss(
    model: prior.Prior, batch: dict[str, jax.Array], key: jax.Array | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean nats per code over the codes of the frames that exist (mask), and metrics. `key` turns dropout on.

    The logits, [B, S, Q * K] float32 in all, exist for `model.config.loss_chunk` steps of each window at a time.
    """
    codes = batch["codes"]
    exists = jnp.broadcast_to(batch["mask"][..., None], codes.shape)
    weights = model.pattern.placed(exists, False).astype(jnp.float32)
    return mean_losses(model, model.hidden(batch, key), model.pattern.placed(codes, 0), weights, num_losses(batch))


def mean_losses(
    model: code_model.CodeModel, hidden: jax.Array, codes: jax.Array, weights: jax.Array, num: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Weighted cross-entropies of codes over `num`, and metrics.

    Args:
      model: predicts from `hidden`; its config's `loss_chunk` bounds the logits in memory.
      hidden: [B, S, D], the stack's output.
      codes: int32 [B, S, Q], those of each step.
      weights: float32 [B, S, Q], 0 where a step has no code.
      num: what the sums are divided by, or 1 if that is more.
    """
    predict = model.predictor()

    def sums(part: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        hidden, codes, weights = part
        logits = predict(hidden).reshape(*codes.shape, -1)
        return jnp.sum(code_losses(logits, codes) * weights), jnp.sum((jnp.argmax(logits, axis=-1) == codes) * weights)

    total = jnp.maximum(num, 1.0)
    parts = sum_over_chunks(sums, (hidden, codes, weights), model.config.loss_chunk)
    nats, hits = (summed / total for summed in parts)
    return nats, {"nats_per_code": nats, "perplexity": jnp.exp(nats), "accuracy": hits}


def sum_over_chunks(
    sums: Callable[[Any], tuple[jax.Array, ...]], whole: tuple[jax.Array, ...], size: int
) -> tuple[jax.Array, ...]:
    """`sums(whole)`, of `size` positions at a time; the gradient computes each chunk again instead of keeping it.

    Args:
      sums: of arrays [B, chunk, ...], where zeros add nothing.
      whole: arrays [B, T, ...].
      size: positions of a chunk; 0 is all.
    """
    length = whole[0].shape[1]
    if size == 0 or size >= length:
        return sums(whole)
    num_chunks = -(-length // size)
    length = num_chunks * -(-length // num_chunks)

    def chunks(x: jax.Array) -> jax.Array:
        """[B, T, ...] -> [num_chunks, B, chunk, ...]. Chunk i takes every n-th position from i on: where devices share
        the sequence, each works on positions that it holds already."""
        x = jnp.pad(x, ((0, 0), (0, length - x.shape[1]), *((0, 0),) * (x.ndim - 2)))
        return jnp.moveaxis(x.reshape(x.shape[0], -1, num_chunks, *x.shape[2:]), 2, 0)

    def add(so_far: tuple[jax.Array, ...], part: tuple[jax.Array, ...]) -> tuple[tuple[jax.Array, ...], None]:
        return jax.tree.map(jnp.add, so_far, sums(part)), None

    parts = jax.tree.map(chunks, whole)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(sums, jax.tree.map(lambda x: x[0], parts)))
    return jax.lax.scan(jax.checkpoint(add, prevent_cse=False), zeros, parts)[0]

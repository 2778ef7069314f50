"""Cross-entropy of codes, in nats."""

import jax
import jax.numpy as jnp
import optax

from musicgen_jax.prior import prior


def code_losses(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """-log p of every code: logits [B, T, K] float32, codes [B, T] -> [B, T]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, codes)


def num_losses(batch: dict[str, jax.Array]) -> jax.Array:
    """Codes that `prior_loss` averages over: those that exist. Scalar float32."""
    return jnp.sum(batch["mask"].astype(jnp.float32))


def prior_loss(
    model: prior.Prior, batch: dict[str, jax.Array], key: jax.Array | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean nats per code over the codes that exist (mask), and metrics. `key` turns dropout on."""
    logits = model(batch, key)
    mask = batch["mask"].astype(jnp.float32)
    total = jnp.maximum(num_losses(batch), 1.0)
    nats = jnp.sum(code_losses(logits, batch["codes"]) * mask) / total
    hits = jnp.sum((jnp.argmax(logits, axis=-1) == batch["codes"]) * mask) / total
    return nats, {"nats_per_code": nats, "perplexity": jnp.exp(nats), "accuracy": hits}

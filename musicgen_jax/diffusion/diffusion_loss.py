"""How well a diffusion model predicts codes: a bound on the nats per code, and the exact value of its sampler."""

import jax
import jax.numpy as jnp

from musicgen_jax.diffusion import denoiser, masking
from musicgen_jax.priors import loss


def diffusion_loss(
    model: denoiser.Denoiser, batch: dict[str, jax.Array], key: jax.Array, train: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Estimate of the bound on the mean nats per code over the codes that exist (mask), and metrics.

    -log p(window) is at most the weighted cross-entropy of the masked codes (Sahoo et al. 2024, equation 10), with the
    masks and weights of `masking.draw`; "nats_per_code" compares with that of a prior, which is exact.

    Args:
      model: the network.
      batch: as `code_dataset.Windows.window` gives it, with a leading [B].
      key: of the masks.
      train: turns dropout on.
    """
    mask_key, dropout_key = jax.random.split(key)
    known, weights = masking.draw(mask_key, batch["mask"], model.config.schedule)
    noised = batch | {"codes": masking.masked_codes(batch["codes"], known, model.config.num_codes)}
    hidden = model.hidden(noised, dropout_key if train else None)
    return loss.mean_losses(model, hidden, batch["codes"], weights[..., None], loss.num_losses(batch))


def parallel_loss(
    model: denoiser.Denoiser, batch: dict[str, jax.Array], steps: int
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Exact nats per code of what the sampler draws in `steps` steps in the order "spread", and metrics.

    Given the codes of the steps before, those of a step are independent: -log p of a window is the sum of their
    cross-entropies. One call of the network a step.

    Args:
      model: the network.
      batch: as `code_dataset.Windows.window` gives it, with a leading [B].
      steps: of the sampler.
    """
    exists = batch["mask"]
    places = batch["start"][:, None] + jnp.arange(exists.shape[1])
    place = masking.ranks(masking.spread(places), exists)
    bounds = masking.step_bounds(jnp.sum(exists, axis=-1), steps, model.config.schedule)

    def step_loss(step: jax.Array) -> jax.Array:
        known = exists & (place < bounds[step][:, None])
        drawn = exists & ~known & (place < bounds[step + 1][:, None])
        noised = batch | {"codes": masking.masked_codes(batch["codes"], known, model.config.num_codes)}
        weights = drawn[..., None].astype(jnp.float32)
        return loss.mean_losses(model, model.hidden(noised), batch["codes"], weights, loss.num_losses(batch))[0]

    nats = jnp.sum(jax.lax.map(step_loss, jnp.arange(steps)))
    return nats, {"nats_per_code": nats, "perplexity": jnp.exp(nats)}

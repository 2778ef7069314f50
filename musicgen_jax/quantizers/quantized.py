"""What every quantizer makes of a batch of latents, and how gradients pass through a choice."""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Quantized:
    """A batch of latents as codes.

    Attributes:
      codes: int32 [B, T, Q], Q codebooks; 1 but for `residual_quantizer`.
      latents: float32 [B, T, code_width], what the codes stand for; gradients pass straight through to the encoder.
      commitment_loss: scalar |z_e - sg(e)|^2, averaged over all elements; z_e is the encoder's output, e the entry, sg
        lets no gradient pass: it moves the encoder. 0 without entries.
      codebook_loss: scalar |sg(z_e) - e|^2, likewise; moves the entries. None where they don't learn by gradient.
      latent_power: scalar, mean square of the encoder's output.
    """

    codes: jax.Array
    latents: jax.Array
    commitment_loss: jax.Array
    codebook_loss: jax.Array | None
    latent_power: jax.Array


def straight_through(inputs: jax.Array, outputs: jax.Array) -> jax.Array:
    """`outputs`, with the gradient of `inputs` (Bengio et al. 2013); both of one shape."""
    return inputs + jax.lax.stop_gradient(outputs - inputs)


def by_entries(latents: jax.Array, codes: jax.Array, entries: jax.Array, *, learns: bool) -> Quantized:
    """Latents [B, T, W] replaced by the entries [B, T, W] that their codes [B, T, 1] chose (van den Oord et al. 2017).

    `learns` says whether the entries learn by gradient, and so have a codebook loss.
    """
    return Quantized(
        codes=codes,
        latents=straight_through(latents, entries),
        commitment_loss=jnp.mean((latents - jax.lax.stop_gradient(entries)) ** 2),
        codebook_loss=jnp.mean((jax.lax.stop_gradient(latents) - entries) ** 2) if learns else None,
        latent_power=jnp.mean(latents**2),
    )

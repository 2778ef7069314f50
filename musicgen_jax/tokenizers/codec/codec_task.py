"""What `kinds.KINDS` says of a codec: how its module is built, trained and loaded, for any network."""

import functools
from collections.abc import Callable
from typing import Any

from musicgen_jax import config
from musicgen_jax.tokenizers.adversarial import adversarial
from musicgen_jax.tokenizers.tokenizer import Tokenizer
from musicgen_jax.tokenizers.vqvae import vqvae, vqvae_task


def facts(network: vqvae.Network, tokenizer: Callable[..., Tokenizer], layout: Callable) -> dict[str, Any]:
    """The fields of a kind that codecs share.

    Args:
      network: a `network.Network`.
      tokenizer: (config of the codec, params, buffers) -> the trained tokenizer.
      layout: (config of the codec, fingerprint) -> its codes.
    """

    def load(run: config.VQVAETraining, restore: Callable) -> Tokenizer:
        return tokenizer(run.model, *weights_alone(run, network, restore))

    return {
        "trained_by": "train_vqvae",
        "data": "audio",
        "functional": functools.partial(vqvae_task.functional, network=network),
        "task": functools.partial(vqvae_task.vqvae_task, network=network),
        "load": load,
        "layout": layout,
    }


def weights_alone(run: config.VQVAETraining, network: vqvae.Network, restore: Callable) -> tuple:
    """(parameters, buffers) of a run's codec without its discriminator's; `restore` as `kinds.Restore`."""
    return adversarial.tiers_alone(
        run, restore(adversarial.functional(run, network=network), config.QuantizationConfig())
    )

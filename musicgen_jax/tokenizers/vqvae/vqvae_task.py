"""The training task of a VQ-VAE or a codec, alone or against a discriminator, as the run's config says."""

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.nn import flops, modules
from musicgen_jax.tokenizers.adversarial import adversarial
from musicgen_jax.tokenizers.vqvae import data_statistics, loss, vqvae
from musicgen_jax.training import precision, state


def functional(run: config.VQVAETraining, network: vqvae.Network = vqvae.TierVQVAE) -> modules.Functional:
    """The module that the run trains, with its discriminator if it has one, computing in the run's dtype."""
    return adversarial.functional(run, precision.dtype(run.training.compute_dtype), network)


def vqvae_task(
    run: config.VQVAETraining,
    statistics: data_statistics.AudioStatistics | None = None,
    network: vqvae.Network = vqvae.TierVQVAE,
) -> state.Task:
    """What the trainer must know of the run's model.

    Args:
      run: model, loss, and the discriminator's weight.
      statistics: of the training data; None takes those of each batch.
      network: of each stream.
    """
    batch_size, num_samples = run.data.batch_size, run.clip_samples
    built = functional(run, network)
    return state.Task(
        functional=built,
        loss=adversarial.objective(run, statistics),
        unit="audio-s",
        units_per_step=batch_size * num_samples / run.model.sample_rate,
        summarize=loss.summarize,
        clipped_apart=adversarial.CLIPPED_APART if run.adversarial.weight else (),
        batch={"audio": jax.ShapeDtypeStruct((batch_size, num_samples), jnp.float32)},
        flops=lambda: _step_flops(run, built),
        traffic=batch_size * num_samples * run.model.values_per_sample,
    )


def _step_flops(run: config.VQVAETraining, model: modules.Functional) -> flops.StepFlops:
    """Three times what the program of the forward pass counts: the backward pass has two products for each of its."""
    objective = adversarial.objective(run)

    def forward(params: modules.Tree, buffers: modules.Tree, audio: jax.Array, key: jax.Array) -> jax.Array:
        return objective(model.bind(params, buffers), {"audio": audio}, key, True)[0]

    abstract = jax.eval_shape(model.init, jax.random.key(0))
    one = jax.ShapeDtypeStruct((1, run.clip_samples), jnp.float32)
    counted = flops.traced_flops(forward, *abstract, one, jax.random.key(0))
    return flops.StepFlops(model=3 * counted * run.data.batch_size, recomputed=0.0)

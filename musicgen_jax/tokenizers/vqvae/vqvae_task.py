"""The training task of a VQ-VAE, alone or against a discriminator, as the run's config says."""

from musicgen_jax import config
from musicgen_jax.tokenizers.adversarial import adversarial
from musicgen_jax.tokenizers.vqvae import data_statistics, loss
from musicgen_jax.training import precision, state


def vqvae_task(
    run: config.VQVAETraining,
    statistics: data_statistics.AudioStatistics | None = None,
    flops_per_step: float = 0.0,
) -> state.Task:
    """What the trainer must know of the run's model.

    Args:
      run: model, loss, and the discriminator's weight.
      statistics: of the training data; None takes those of each batch.
      flops_per_step: see `state.Task`.
    """
    return state.Task(
        functional=adversarial.functional(run, precision.dtype(run.training.compute_dtype)),
        loss=adversarial.objective(run, statistics),
        unit="audio-s",
        units_per_step=run.data.batch_size * run.clip_samples / run.model.sample_rate,
        summarize=loss.summarize,
        clipped_apart=adversarial.CLIPPED_APART if run.adversarial.weight else (),
        flops_per_step=flops_per_step,
    )

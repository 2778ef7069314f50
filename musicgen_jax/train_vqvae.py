"""Trains the VQ-VAE on audio shards.

    python -m musicgen_jax.train_vqvae --config=configs/vqvae.py:scale=tiny --workdir=DIR --config.data.path=DIR

Run again, it resumes from the newest checkpoint; SIGTERM saves and exits 0, Ctrl-C saves and exits 130.
"""

import pathlib

from absl import flags

from musicgen_jax import config
from musicgen_jax.command_line import cli, config_flag
from musicgen_jax.runtime import allocator
from musicgen_jax.training import verification

verification.define()
_CONFIG = config_flag.define("configs/vqvae.py:scale=tiny", config.VQVAETraining)
_WORKDIR = cli.define_path(
    "workdir", None, "Folder for config.json, metrics.jsonl and checkpoints.", required=True, writes=True
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "This is one process of a Cloud TPU pod, GKE, Slurm or Open MPI job, which says how many."
)


def main() -> None:
    """Flags -> parts -> one call."""
    allocator.keep_memory()
    run = _CONFIG.value
    run.validate()
    from musicgen_jax.training import distributed  # JAX and all else that is heavy: after the flags

    with distributed.processes(run.mesh, _DISTRIBUTED.value):
        _train(run)


def _train(run: config.VQVAETraining) -> None:
    import jax

    from musicgen_jax import kinds, model_card
    from musicgen_jax.command_line import closing
    from musicgen_jax.data import audio_dataset
    from musicgen_jax.sharding import meshes
    from musicgen_jax.tokenizers.vqvae import data_statistics, heard
    from musicgen_jax.training import loop

    kinds.check_workdir(_WORKDIR.value, run)
    audio_dataset.check_sample_rate(run.data.path, run.model.sample_rate)
    run.data.licence = model_card.of_data(run.data.path)
    mesh = meshes.make_mesh(run.mesh)
    size = run.clip_samples
    validation = audio_dataset.validation_batches(run.data.path, size, run.data, run.training.eval_batches, mesh)
    if run.loss.normalization == "data":
        statistics = data_statistics.measure(run.data.path, size, run.data, run.loss)
    else:
        statistics, validation = None, data_statistics.with_statistics(validation, run.loss)
    task = kinds.task(run, statistics)
    final = loop.train(
        task,
        run,
        pathlib.Path(_WORKDIR.value),
        mesh,
        audio_dataset.training_batches(run.data.path, size, run.data, mesh),
        validation,
        heard.held_out(task.functional, run, mesh) if run.training.sample_every else None,
    )
    if jax.process_index() == 0:
        model_card.write(_WORKDIR.value)
    if int(final.step) >= run.training.num_steps:  # else it was told to stop, and has said so
        closing.after_train_vqvae(_WORKDIR.value, run, _first_sound(run))


def _first_sound(run: config.VQVAETraining) -> tuple[str, str] | None:
    """The recording, and its split, of which WORKDIR/reconstruction now has the sound; None where no checkpoint was
    saved, and in one of many processes, where the weights may not all be."""
    import jax

    from musicgen_jax import pretrained
    from musicgen_jax.tokenizers import reconstruction

    if jax.process_count() > 1 or not run.training.checkpoint_every:
        return None
    return reconstruction.write(pretrained.load_vqvae(_WORKDIR.value), run.data.path, pathlib.Path(_WORKDIR.value))


if __name__ == "__main__":
    cli.run(main)

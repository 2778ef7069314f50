"""Trains the prior of one tier on code shards: an autoregressive one, or a diffusion model (configs/diffusion.py).

    python -m musicgen_jax.train_prior --config=configs/prior.py:tier=top,scale=tiny --workdir=DIR \\
        --config.data.path=DIR

Run again, it resumes from the newest checkpoint; SIGTERM saves and exits 0.
"""

import pathlib
import sys

import jax
from absl import flags
from ml_collections import config_flags

from musicgen_jax import allocator, cli, config
from musicgen_jax.data import code_dataset
from musicgen_jax.diffusion import code_task
from musicgen_jax.planning import flops
from musicgen_jax.prior import prior
from musicgen_jax.sharding import mesh as mesh_lib
from musicgen_jax.training import distributed, loop
from musicgen_jax.transformer import stack

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, such as configs/prior.py:tier=top,scale=tiny.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for config.json, metrics.jsonl and checkpoints.", required=True)
flags.mark_flag_as_required("config")


def main() -> None:
    """Flags -> parts -> one call."""
    allocator.keep_memory()
    run = _CONFIG.value
    run.validate()
    untaught = getattr(run, "distillation", config.DistillationConfig()) == config.DistillationConfig()
    config.require(untaught, "config.distillation is what `compress --method=distill` writes: leave it out here")
    with distributed.processes(run.mesh):
        _train(run)


def _train(run: config.PriorTraining) -> None:
    run.model = code_dataset.resolve(run.model, run.data.path)
    mesh = mesh_lib.make_mesh(run.mesh)
    stack.check_remat(run.model.transformer, mesh.local_devices)
    for sentence in stack.undivided(run.model.transformer, mesh) if jax.process_index() == 0 else ():
        print(f"warning: {sentence}", file=sys.stderr)
    axis_rules = prior.axis_rules(run)
    step_flops = flops.prior_step_flops(run.model, run.data.batch_size).model
    task = code_task.code_task(run, axis_rules, code_dataset.read_codebooks(run.data.path), step_flops)
    loop.train(
        task,
        run,
        pathlib.Path(_WORKDIR.value),
        mesh,
        code_dataset.training_batches(run.data.path, run.model, run.data, mesh),
        code_dataset.validation_batches(run.data.path, run.model, run.data, run.training.eval_batches, mesh),
        axis_rules,
    )


if __name__ == "__main__":
    cli.run(main)

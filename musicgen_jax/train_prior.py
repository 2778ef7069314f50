"""Trains the prior of one tier on code shards: an autoregressive one, or a diffusion model (configs/diffusion.py).

    python -m musicgen_jax.train_prior --config=configs/prior.py:tier=top,scale=tiny --workdir=DIR \\
        --config.data.path=DIR

Or a composer on the scores of a prepared data set:

    python -m musicgen_jax.train_prior --config=configs/symbolic.py:model=transformer,tokens=grid,scale=tiny \\
        --workdir=DIR --config.data.path=DIR

Run again, it resumes from the newest checkpoint; SIGTERM saves and exits 0, Ctrl-C saves and exits 130.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from absl import flags

from musicgen_jax import config
from musicgen_jax.command_line import cli, config_flag
from musicgen_jax.runtime import allocator
from musicgen_jax.training import verification

verification.define()
_CONFIG = config_flag.define("configs/prior.py:tier=top,scale=tiny", config.PriorTraining, begins_from_models=True)
_WORKDIR = cli.define_path(
    "workdir", None, "Folder for config.json, metrics.jsonl and checkpoints.", required=True, writes=True
)
_VQVAE = cli.define_path(
    "vqvae",
    "",
    "Workdir of the tokenizer of these codes: every --config.training.sample_every steps a few samples are decoded, to "
    "be heard in TensorBoard. A composer's are played without it.",
)
_TEXT_ENCODER = cli.define_path(
    "text_encoder",
    "",
    "Folder of convert --source=t5, for a model that is told captions (--config.model.text=true): it makes their "
    "vectors, once for these codes, which keep them; further trainings on them need it no more.",
)
_INIT = cli.define_path(
    "init",
    "",
    "Workdir of a trained model to go on from, on other data: all of it, or with --config.lora.rank=16 adapters beside "
    "it. Its sizes, labels and tokenizer stay.",
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "This is one process of a Cloud TPU pod, GKE, Slurm or Open MPI job, which says how many."
)


def main() -> None:
    """Flags -> parts -> one call."""
    allocator.keep_memory()
    run = _CONFIG.value
    run.validate()
    config.require(not run.taught, "config.distillation is what `compress --method=distill` writes: leave it out here")
    from musicgen_jax.training import distributed  # JAX and all else that is heavy: after the flags

    with distributed.processes(run.mesh, _DISTRIBUTED.value):
        _train(run)


def _train(run: config.PriorTraining) -> None:
    import jax

    from musicgen_jax import finetuning, kinds, model_card
    from musicgen_jax.codes import code_dataset, code_shards, score_dataset
    from musicgen_jax.command_line import closing
    from musicgen_jax.sharding import meshes
    from musicgen_jax.training import loop
    from musicgen_jax.transformer import stack

    kinds.check_workdir(_WORKDIR.value, run)
    kinds.keep_windows(_WORKDIR.value, run)
    composes = kinds.of(run).data == "scores"
    run.model.text_encoder = _text_encoder(run) or run.model.text_encoder
    data = score_dataset if composes else code_dataset
    goes_on = finetuning.inherit(run, _INIT.value, _WORKDIR.value, config_flag.overridden("model"), data.inherited)
    if not goes_on:
        run.model = data.resolve(run.model, run.data.path)
    run.data.licence = model_card.of_data(run.data.path)
    run.validate()  # now that the codes have said how many codebooks there are, and so how many steps a window has
    task = kinds.task(run, None if composes or goes_on else code_shards.read_codebooks(run.data.path))
    sounds = _sounds(run, task, composes)
    mesh = meshes.make_mesh(run.mesh)
    stack.check_remat(run.model.transformer, mesh.local_devices)
    for sentence in stack.undivided(run.model.transformer, mesh) if jax.process_index() == 0 else ():
        print(f"warning: {sentence}", file=sys.stderr)
    workdir = pathlib.Path(_WORKDIR.value)
    final = loop.train(
        task,
        run,
        workdir,
        mesh,
        data.training_batches(run, mesh),
        data.validation_batches(run, mesh),
        sounds,
        finetuning.begin(task, run, workdir, mesh, _INIT.value) if goes_on else {},
    )
    if jax.process_index() == 0:
        model_card.write(_WORKDIR.value)
    if int(final.step) < run.training.num_steps:  # it was told to stop, and has said so
        return
    if composes:
        closing.after_train_composer(_WORKDIR.value, run)
    else:
        closing.after_train_prior(_WORKDIR.value, run, code_shards.stream_names(run.data.path))


def _text_encoder(run: config.PriorTraining) -> str:
    """Fingerprint of --text_encoder, which has made vectors of the captions of the codes; "" without one."""
    if not _TEXT_ENCODER.value:
        return ""
    rule = "a model that is not told captions has no use for it: pass --config.model.text=true too"
    config.require(run.model.text, f"--text_encoder={_TEXT_ENCODER.value}: {rule}")
    from musicgen_jax import pretrained
    from musicgen_jax.codes import caption_vectors

    return caption_vectors.write(run.data.path, pretrained.load_text_encoder(_TEXT_ENCODER.value))


def _sounds(run: config.PriorTraining, task: Any, composes: bool) -> Callable[[Any], Any] | None:
    """What `loop.train` takes as `sounds`: samples of the model as it is; None where nothing can be heard of it."""
    import jax

    from musicgen_jax import kinds, pretrained
    from musicgen_jax.sampling import trial_samples
    from musicgen_jax.sharding import meshes

    alone, given = jax.process_count() == 1, bool(_VQVAE.value)
    config.require(not (composes and given), "--vqvae: a composer's codes are notes: leave it out")
    config.require(alone or not given, "--vqvae: samples are made by one process alone: leave it out here")
    if not run.training.sample_every or not alone or not (composes or given):
        return None
    tokenizer = None if composes else pretrained.load_vqvae(_VQVAE.value)
    own = tokenizer.fingerprint if tokenizer else ""
    rule = f"--vqvae={_VQVAE.value} is tokenizer {own}, and the codes are of {run.model.vqvae}: pass theirs"
    config.require(composes or own == run.model.vqvae, rule)
    loaded = []  # with one module for all steps, so that sampling is compiled once

    def sounds(now: Any) -> Any:
        mesh = meshes.single_device_mesh()
        params = task.functional.whole(now.inference_params(), now.frozen, merged=True)
        weights = jax.device_put((params, now.buffers), mesh.local_devices[0])
        if not loaded:
            loaded.append(kinds.of(run).load(run, lambda *_: weights))
        model = dataclasses.replace(loaded[0], weights=weights)
        with jax.set_mesh(mesh):
            return trial_samples.composed(model) if composes else trial_samples.decoded(model, tokenizer)

    return sounds


if __name__ == "__main__":
    cli.run(main)

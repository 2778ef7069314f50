"""Trained models from the workdirs that training wrote."""

import dataclasses
import functools
import os
import pathlib
from typing import Any

import jax
from flax import nnx

from musicgen_jax import config
from musicgen_jax.compression import int8
from musicgen_jax.diffusion import code_task, distillation
from musicgen_jax.diffusion import trained as trained_diffusion
from musicgen_jax.nn import modules
from musicgen_jax.priors import jukebox, trained
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers import tokenizer
from musicgen_jax.tokenizers.adversarial import adversarial
from musicgen_jax.training import checkpointing, precision

_KINDS = {
    config.VQVAETraining: "a tokenizer",
    config.PriorTraining: "a prior",
    config.DiffusionTraining: "a diffusion model",
    config.JukeboxPriorConfig: "a published prior",
}
_WRITERS = {
    config.PriorTraining: "train_prior or compress",
    config.DiffusionTraining: "compress --method=distill, or train_prior with configs/diffusion.py,",
}


def load_vqvae(workdir: str) -> tokenizer.Tokenizer:
    """The tokenizer that train_vqvae wrote: the tiers alone, if it was trained against a discriminator.

    Raises:
      NotFoundError: no such workdir, or no complete checkpoint in it.
      UserError: the folder holds something else, or the checkpoint does not fit its config.
    """
    run, params, buffers = load_vqvae_weights(workdir)
    return tokenizer.Tokenizer(run.model, params, buffers)


def load_vqvae_weights(workdir: str) -> tuple[config.VQVAETraining, modules.Tree, modules.Tree]:
    """(config, parameters, buffers) of the tiers that `load_vqvae` takes; raises as it."""
    run = _read_config(workdir, config.VQVAETraining, "train_vqvae or convert")
    weights = _load_weights(workdir, adversarial.functional(run), run.model)
    # A tier has no buffers where its quantizer has no codebook.
    return run, *({tier: tree[tier] for tier in run.model.streams if tier in tree} for tree in weights)


def load_prior(workdir: str, tier: str = "") -> trained.TrainedPrior:
    """The autoregressive prior of `tier`, or of any, that train_prior or compress wrote.

    Raises:
      NotFoundError: no such workdir, or no complete checkpoint in it.
      UserError: the folder holds another tier or something else, or the checkpoint does not fit its config.
    """
    config.require(
        not holds_diffusion(workdir),
        f"{workdir} holds a diffusion model, not a prior: pass a folder that train_prior wrote with configs/prior.py; "
        "only sample --sampler=diffusion takes it (pretrained.load_diffusion)",
    )
    return _load_code_model(workdir, tier, config.PriorTraining, trained.TrainedPrior)


def load_diffusion(workdir: str, tier: str = "", steps: int | None = None) -> trained_diffusion.TrainedDiffusion:
    """The diffusion model that train_prior or compress --method=distill wrote.

    Args:
      workdir: of the model.
      tier: of its codes; "" for any.
      steps: of the sampler. Where the workdir is of a distillation, the model of the round for so many steps, or if
        there was none the one for any number; None takes that of the last round, the fewest.

    Raises:
      NotFoundError, UserError: as `load_prior`.
    """
    folder = pathlib.Path(workdir)
    finished = holds_diffusion(workdir) or not (folder / distillation.SETTINGS).is_file()
    config.require(finished, f"{workdir} is of a distillation that has not finished: run that command again")
    if steps is not None and steps != _distilled_steps(workdir):
        rounds = [folder / distillation.ROUNDS / name for name in (str(steps), "any")]
        workdir = next((str(one) for one in rounds if one.is_dir()), workdir)
    model = _load_code_model(workdir, tier, config.DiffusionTraining, trained_diffusion.TrainedDiffusion)
    return dataclasses.replace(model, distilled_steps=_distilled_steps(workdir))


def _distilled_steps(workdir: str) -> int:
    return _read_config(workdir, config.DiffusionTraining, _WRITERS[config.DiffusionTraining]).distillation.steps


def holds_diffusion(workdir: str) -> bool:
    """Whether the config there is of a diffusion model; False where there is none."""
    return _kind(pathlib.Path(workdir)) == "a diffusion model"


def _load_code_model(workdir: str, tier: str, run_class: type, model_class: type) -> Any:
    run = _read_config(workdir, run_class, _WRITERS[run_class])
    config.require(
        tier in ("", run.model.tier),
        f"{workdir} holds a prior of the {run.model.tier} tier where one of the {tier} tier is wanted: pass another "
        f"folder as --{tier}",
    )
    if run.model.transformer.attention == "pallas" and meshes.platform() != "tpu":
        # Trained on a TPU, whose kernels only it has; the blocks are the same function.
        run.model.transformer.attention = "blocked"
    functional = code_task.functional(run)
    quantization = run.model.quantization
    if quantization.weights == "float":
        weights = _load_weights(workdir, functional, run.model)
    else:
        params, buffers = _abstract_weights(functional)
        rounded = functools.partial(int8.quantize, declared=functional.declared, activations=quantization.activations)
        params = jax.eval_shape(rounded, params)
        stored, buffers = _restore(workdir, run.model, int8.stored(params), buffers)
        weights = int8.loaded(params, stored), buffers
    return model_class(run.model, functional, weights, run.data.path)


def training_steps(workdir: str) -> int:
    """Step of the checkpoint that is loaded from a workdir; 0 where its weights were not trained there."""
    with checkpointing.Checkpointer(pathlib.Path(workdir)) as checkpointer:
        return checkpointer.latest_step() or 0


def load_jukebox_prior(
    workdir: str, compute_dtype: str = "float32"
) -> tuple[modules.Functional, tuple[modules.Tree, modules.Tree], config.JukeboxPriorConfig]:
    """A published prior, from the workdir that convert wrote: its module, (parameters, buffers) and config.

    Raises:
      NotFoundError: no such workdir, or no complete checkpoint in it.
      UserError: the folder holds something else, or the checkpoint does not fit its config.
    """
    model = _read_config(workdir, config.JukeboxPriorConfig, "convert")
    dtype = precision.dtype(compute_dtype)
    functional = modules.Functional(lambda rngs: jukebox.JukeboxPrior(model, dtype=dtype, rngs=rngs))
    return functional, _load_weights(workdir, functional, model), model


def holds_jukebox_prior(workdir: pathlib.Path) -> bool:
    """Whether the config there is of a published prior, which no training run wraps."""
    return _kind(workdir) == "a published prior"


def name_of_model(workdir: pathlib.Path) -> str:
    """The stream whose codes a trained model in a folder is of, "vqvae" for a tokenizer; "" where there is none."""
    kind = _kind(workdir)
    if kind not in ("a prior", "a diffusion model"):
        return "vqvae" if kind == "a tokenizer" else ""
    return str(files.read_json(workdir / "config.json")["model"]["tier"])


def check_workdir(workdir: str, config_class: type) -> None:
    """Raises UserError unless a run of this class may write there: to nothing yet, or to a folder of its own kind."""
    path = pathlib.Path(workdir)
    config.require(path.is_dir() or not os.path.lexists(path), f"--workdir={workdir} is no folder: choose another")
    try:
        found = _kind(path)
    except UserError:
        if not (path / "checkpoints").is_dir():  # which are compared with the run's config; it is written again
            raise
        return
    wanted = _KINDS[config_class]
    config.require(
        found == wanted or not (path / "config.json").exists(),
        f"--workdir={workdir} holds {found or 'a config.json of no model'}, not {wanted}: choose another --workdir",
    )


def _kind(workdir: pathlib.Path) -> str:
    """What the config in a folder is of; "" where there is none, or none of a model."""
    path = workdir / "config.json"
    values = files.read_json(path) if path.is_file() else {}
    model = values.get("model") if isinstance(values.get("model"), dict) else {}
    if "tier" in values:  # no training run wraps it
        return "a published prior"
    if model.get("kind") == config.DIFFUSION:
        return "a diffusion model"
    return "a prior" if "tier" in model else "a tokenizer" if "quantizer" in model else ""


def _read_config(workdir: str, config_class: type, verb: str) -> Any:
    path = pathlib.Path(workdir)
    if not path.is_dir():
        raise NotFoundError(f"no such folder: {workdir}; pass a folder that {verb} wrote")
    found, wanted = _kind(path), _KINDS[config_class]
    config.require(
        found in ("", wanted),
        f"{workdir} holds {found}, not {wanted}: pass a folder that {verb} wrote"
        + ("; only pretrained.load_jukebox_prior loads it yet" if found == "a published prior" else ""),
    )
    run = config.read_json(path / "config.json", config_class)
    getattr(run, "model", run).validate()
    return run


def _load_weights(workdir: str, functional: modules.Functional, model: Any) -> tuple[modules.Tree, modules.Tree]:
    return _restore(workdir, model, *_abstract_weights(functional))


def _abstract_weights(functional: modules.Functional) -> tuple[modules.Tree, modules.Tree]:
    return nnx.to_pure_dict(functional.abstract_params), nnx.to_pure_dict(functional.abstract_buffers)


def _restore(workdir: str, model: Any, *shapes: modules.Tree) -> tuple[modules.Tree, modules.Tree]:
    """(params, buffers) of these shapes, on one device."""
    whole = jax.sharding.NamedSharding(meshes.single_device_mesh(), jax.P())
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), shapes)
    with checkpointing.Checkpointer(pathlib.Path(workdir)) as checkpointer:
        return checkpointer.restore_model(config.to_dict(model), *abstract)

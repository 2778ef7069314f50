"""Trained models from the workdirs that training wrote."""

import json
import pathlib
from typing import Any

import jax
from flax import nnx

from musicgen_jax import config, modules
from musicgen_jax.prior import jukebox, prior, trained
from musicgen_jax.sharding import mesh as mesh_lib
from musicgen_jax.sharding import rules
from musicgen_jax.training import checkpointing, precision
from musicgen_jax.vqvae import adversarial, tokenizer


def load_vqvae(workdir: str) -> tokenizer.Tokenizer:
    """The tokenizer that train_vqvae wrote: the tiers alone, if it was trained against a discriminator.

    Raises:
      FileNotFoundError: no such workdir, or no complete checkpoint in it.
      ValueError: the folder holds something else, or the checkpoint does not fit its config.
    """
    run, params, buffers = load_vqvae_weights(workdir)
    return tokenizer.Tokenizer(run.model, params, buffers)


def load_vqvae_weights(workdir: str) -> tuple[config.VQVAETraining, modules.Tree, modules.Tree]:
    """(config, parameters, buffers) of the tiers that `load_vqvae` takes; raises as it."""
    run = _read_config(workdir, config.VQVAETraining, "train_vqvae or convert")
    weights = _load_weights(workdir, adversarial.functional(run), run.model)
    # A tier has no buffers where its quantizer has no codebook.
    return run, *({tier: tree[tier] for tier in config.TIERS if tier in tree} for tree in weights)


def load_prior(workdir: str, tier: str) -> trained.TrainedPrior:
    """The prior of `tier` that train_prior wrote.

    Raises:
      FileNotFoundError: no such workdir, or no complete checkpoint in it.
      ValueError: the folder holds another tier or something else, or the checkpoint does not fit its config.
    """
    run = _read_config(workdir, config.PriorTraining, "train_prior")
    config.require(
        run.model.tier == tier,
        f"{workdir} holds a prior of the {run.model.tier} tier where one of the {tier} tier is wanted: pass another "
        f"folder as --{tier}",
    )
    dtype = precision.dtype(run.training.compute_dtype)
    functional = modules.Functional(lambda rngs: prior.Prior(run.model, dtype=dtype, rngs=rngs))
    weights = _load_weights(workdir, functional, run.model)
    return trained.TrainedPrior(run.model, functional, weights, run.data.path)


def load_jukebox_prior(
    workdir: str, compute_dtype: str = "float32"
) -> tuple[modules.Functional, tuple[modules.Tree, modules.Tree], config.JukeboxPriorConfig]:
    """A published prior, from the workdir that convert wrote: its module, (parameters, buffers) and config.

    Raises:
      FileNotFoundError: no such workdir, or no complete checkpoint in it.
      ValueError: the folder holds something else, or the checkpoint does not fit its config.
    """
    model = _read_config(workdir, config.JukeboxPriorConfig, "convert")
    dtype = precision.dtype(compute_dtype)
    functional = modules.Functional(lambda rngs: jukebox.JukeboxPrior(model, dtype=dtype, rngs=rngs))
    return functional, _load_weights(workdir, functional, model), model


def holds_jukebox_prior(workdir: pathlib.Path) -> bool:
    """Whether the config there is of a published prior, which no training run wraps."""
    path = workdir / "config.json"
    return path.is_file() and "tier" in json.loads(path.read_text())


def _read_config(workdir: str, config_class: type, verb: str) -> Any:
    path = pathlib.Path(workdir)
    if not path.is_dir():
        raise FileNotFoundError(f"no such folder: {workdir}; pass a folder that {verb} wrote")
    config.require(
        config_class is config.JukeboxPriorConfig or not holds_jukebox_prior(path),
        f"{workdir} holds a published prior, which pretrained.load_jukebox_prior loads and nothing else takes yet; "
        f"pass a folder that {verb} wrote",
    )
    return config.read_json(path / "config.json", config_class)


def _load_weights(workdir: str, functional: modules.Functional, model: Any) -> tuple[modules.Tree, modules.Tree]:
    shardings = functional.shardings(rules.AxisRules(), mesh_lib.single_device_mesh())
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        (nnx.to_pure_dict(functional.abstract_params), nnx.to_pure_dict(functional.abstract_buffers)),
        shardings,
    )
    with checkpointing.Checkpointer(pathlib.Path(workdir)) as checkpointer:
        return checkpointer.restore_model(config.to_dict(model), *abstract)

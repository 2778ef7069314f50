"""Trained models from the workdirs that training wrote."""

import pathlib
from typing import Any

import jax

from musicgen_jax import config, modules
from musicgen_jax.prior import prior, trained
from musicgen_jax.sharding import mesh as mesh_lib
from musicgen_jax.sharding import rules
from musicgen_jax.training import checkpointing, precision
from musicgen_jax.vqvae import tokenizer, vqvae


def load_vqvae(workdir: str) -> tokenizer.Tokenizer:
    """The tokenizer that train_vqvae wrote.

    Raises:
      FileNotFoundError: no such workdir, or no complete checkpoint in it.
      ValueError: the folder holds something else, or the checkpoint does not fit its config.
    """
    run = _read_config(workdir, config.VQVAETraining, "train_vqvae")
    functional = modules.Functional(lambda rngs: vqvae.VQVAE(run.model, rngs=rngs))
    return tokenizer.Tokenizer(run.model, *_load_weights(workdir, functional, run.model))


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


def _read_config(workdir: str, config_class: type, verb: str) -> Any:
    path = pathlib.Path(workdir)
    if not path.is_dir():
        raise FileNotFoundError(f"no such folder: {workdir}; pass the --workdir of {verb}")
    return config.read_json(path / "config.json", config_class)


def _load_weights(workdir: str, functional: modules.Functional, model: Any) -> tuple[modules.Tree, modules.Tree]:
    shardings = functional.shardings(rules.AxisRules(), mesh_lib.single_device_mesh())
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(functional.init, jax.random.key(0)),
        shardings,
    )
    with checkpointing.Checkpointer(pathlib.Path(workdir)) as checkpointer:
        return checkpointer.restore_model(config.to_dict(model), *abstract)

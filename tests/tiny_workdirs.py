"""Workdirs of a tokenizer and its priors as training leaves them, with random weights."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tiny_diffusion
import tiny_priors
import tiny_scores

from musicgen_jax import config, kinds
from musicgen_jax.tokenizers.tokenizer import Tokenizer
from musicgen_jax.training import checkpointing


def write(root: pathlib.Path, tokenizer: Tokenizer, tiers: tuple[str, ...] = ("top", "middle"), **changes: Any) -> None:
    """Writes ROOT/vqvae and a folder a tier, of models with these changes."""
    write_workdir(root / "vqvae", config.VQVAETraining(model=tokenizer.config), tokenizer._weights)
    for seed, tier in enumerate(tiers):
        model = tiny_priors.model_config(tier, **_of_tokenizer(tokenizer, tier) | changes)
        prior = tiny_priors.trained_prior(model, seed=seed)
        run = config.PriorTraining(model=model, data=config.DataConfig(path="codes"))
        write_workdir(root / tier, run, prior.weights)


def write_diffusion(root: pathlib.Path, tokenizer: Tokenizer, tier: str, **changes: Any) -> None:
    """Writes ROOT/TIER, a diffusion model's with these changes."""
    model = tiny_diffusion.model_config(tier, **_of_tokenizer(tokenizer, tier) | changes)
    run = config.DiffusionTraining(model=model, data=config.DataConfig(path="codes"))
    write_workdir(root / tier, run, tiny_diffusion.trained_diffusion(model).weights)


def write_composer(folder: pathlib.Path, tokens: str = "grid", **changes: Any) -> pathlib.Path:
    """Writes and returns a folder, that of a composer with random weights and these changes."""
    run = config.ComposerTraining(
        model=tiny_scores.model_config(tokens, **changes), data=config.DataConfig(path="scores")
    )
    shapes = jax.eval_shape(kinds.KINDS["composer"].functional(run).init, jax.random.key(0))
    rng = np.random.default_rng(1)
    weights = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.35, size=leaf.shape), leaf.dtype), shapes)
    write_workdir(folder, run, weights)
    return folder


def _of_tokenizer(tokenizer: Tokenizer, tier: str) -> dict[str, Any]:
    return {
        "num_layers": 1,
        "num_codes": tokenizer.layout.stream(tier).num_codes,
        "vqvae": tokenizer.fingerprint,
        "codes_per_second": tokenizer.layout.frames_per_second(tier),
    }


def write_workdir(folder: pathlib.Path, run: config.VQVAETraining | config.PriorTraining, weights: tuple) -> None:
    """One workdir, of a model with these (parameters, buffers)."""
    folder.mkdir(parents=True)
    config.write_json(folder / "config.json", run)
    with checkpointing.Checkpointer(folder, keep=1) as checkpointer:
        checkpointer.save_model(*weights, config.to_dict(run.model))

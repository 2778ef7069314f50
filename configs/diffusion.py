"""Diffusion model over the codes of one tier: it samples in a few parallel steps.

    python -m musicgen_jax.train_prior --config=configs/diffusion.py:tier=bottom,scale=tiny \\
        --workdir=DIR --config.data.path=DIR

Tiers and scales are those of `configs/prior.py`, and so are the blocks, the data and the recipe, but for AdamW.
"""

import dataclasses
import pathlib
import runpy

from musicgen_jax import config


def get_config(arg: str | None = None) -> config.DiffusionTraining:
    """`arg` is "tier=TIER,scale=SCALE"."""
    # By its path: a config file may be loaded from any folder.
    run = runpy.run_path(str(pathlib.Path(__file__).with_name("prior.py")))["get_config"](arg)
    parts = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    if parts["optimizer"].name == "muon":  # which has not been tried on these
        parts["optimizer"] = dataclasses.replace(parts["optimizer"], name="adamw", peak_learning_rate=3e-3)
    model = {field.name: getattr(run.model, field.name) for field in dataclasses.fields(run.model)}
    return config.DiffusionTraining(**parts | {"model": config.DiffusionConfig(**model)})

"""Priors small enough for a test, with weights large enough that every part of them matters."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tiny_layouts

from musicgen_jax import config, kinds
from musicgen_jax.codes import code_dataset
from musicgen_jax.priors import trained
from musicgen_jax.tokenizers import extraction
from musicgen_jax.tokenizers.tokenizer import Tokenizer

CONTEXT = 12
NUM_CODES = 11
UPSAMPLING = 4
GENRES = ("unknown", "oboe", "organ")
LABELS = ("genre", "artist")


def model_config(tier: str = "top", **changes: Any) -> config.PriorConfig:
    """Two layers, width 16; fields of the config or of its Transformer may be replaced by name."""
    settings = {"num_layers": 2, "width": 16, "num_heads": 2, "head_dim": 8, "mlp_width": 24, "remat": "none"}
    settings |= {name: changes.pop(name) for name in list(changes) if name in (*settings, "dropout", "layer")}
    fields = {
        "tier": tier,
        "context": CONTEXT,
        "num_codes": NUM_CODES,
        "above": tiny_layouts.ABOVE[tier],
        "upsampling": 0 if tier == "top" else UPSAMPLING,
        "codes_per_second": {"top": 10.0, "middle": 40.0, "bottom": 160.0}[tier],
        "vqvae": "f00d",
        "track_seconds": 4.0,
        "labels": LABELS,
        "vocabularies": {"genre": changes.pop("genres", GENRES), "artist": ("unknown",)},
        "timing_bins": 5,
        "max_seconds": 8.0,
        "transformer": config.TransformerConfig(**settings),
        "conditioner": config.ConditionerConfig(width=6, depth=2, dilation_growth=3, dilation_cycle=2),
    }
    return config.PriorConfig(**(fields | changes))


def trained_prior(model: config.PriorConfig, codes_path: str = "", seed: int = 0) -> trained.TrainedPrior:
    """A prior with random weights whose predictions are far from uniform."""
    functional = kinds.KINDS["prior"].functional(config.PriorTraining(model=model))
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    weights = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.35, size=leaf.shape), leaf.dtype), shapes)
    return trained.TrainedPrior(model, functional, attentive(weights), codes_path)


def of_codes(tokenizer: Tokenizer, audio: str, folder: pathlib.Path, context: int) -> trained.TrainedPrior:
    """A prior of one layer, with random weights, of the first stream of the codes that a tokenizer makes of a prepared
    data set; they are written to `folder`."""
    extraction.extract(tokenizer, audio, str(folder), window_seconds=2.0)
    model = model_config(context=context, num_layers=1)
    model = dataclasses.replace(model, tier=tokenizer.layout.names[0])
    return trained_prior(code_dataset.resolve(model, str(folder)), str(folder))


def attentive(weights: tuple) -> tuple:
    """Random (parameters, buffers) whose attention to a memory is as decided as that of trained ones: all rows alike
    would hardly be heard."""

    def louder(path: tuple, leaf: jax.Array) -> jax.Array:
        return 4 * leaf if "memory_attention" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(louder, weights)


def notes(rng: np.random.Generator, size: int, seconds: float, num: int = 6) -> np.ndarray:
    """float32 [size, num, 5]: notes that begin a little before, or in, a window of so many seconds; one is padding."""
    shape = size, num
    columns = rng.integers(40, 80, shape), rng.uniform(-0.2, 1, shape) * seconds, rng.uniform(0, 0.5, shape) * seconds
    rows = np.stack([*columns, rng.integers(1, 128, shape), rng.integers(4, size=shape)], axis=-1)
    rows[:, -1] = 0
    return rows.astype(np.float32)


def labels(**told: np.typing.ArrayLike) -> np.ndarray:
    """int32 [B, L] of the values of `LABELS` by their numbers; what is not named is unknown."""
    size = len(next(iter(told.values())))
    return np.stack([told.get(name, np.zeros(size)) for name in LABELS], axis=1).astype(np.int32)


def batch(model: config.PriorConfig, size: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Random arrays of a window, as `code_dataset.Windows.window` gives them, with a leading [B]."""
    rng = np.random.default_rng(seed)

    def integers(high: int, *shape: int) -> np.ndarray:
        return rng.integers(high, size=shape, dtype=np.int32)

    arrays = {
        "codes": integers(model.num_codes, size, model.context, model.num_codebooks),
        "mask": np.ones((size, model.context), bool),
        "labels": labels(genre=integers(len(model.vocabularies["genre"]), size)),
        "start": integers(5, size) * max(model.upsampling, 1),
        "length": np.full(size, 5 * model.context, np.int32),
    }
    if model.upsampling:
        arrays["above"] = integers(model.num_codes, size, model.context // model.upsampling, model.num_codebooks)
    if model.score:
        arrays |= {"notes": notes(rng, size, model.context / model.codes_per_second), "scored": np.ones(size, bool)}
    return arrays

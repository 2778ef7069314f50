"""MusicGens small enough for a test, as published files have them: tensors by name, and what one is told."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax import config, kinds
from musicgen_jax.conversion import musicgen_tensors
from musicgen_jax.priors import musicgen

CONTEXT, NUM_CODES, TEXT_WIDTH, TEXT_TOKENS = 6, 16, 12, 5


def model_config(**changes: Any) -> config.MusicgenConfig:
    """Two layers, width 16; fields of the config or of its Transformer may be replaced by name."""
    settings = {"num_layers": 2, "width": 16, "num_heads": 2, "head_dim": 8, "mlp_width": 32, "remat": "none"}
    settings |= {name: changes.pop(name) for name in list(changes) if name in settings}
    fields = {
        "context": CONTEXT,
        "num_codes": NUM_CODES,
        "codes_per_second": 10.0,
        "vqvae": "f00d",
        "track_seconds": 4.0,
        "text_width": TEXT_WIDTH,
        "text_tokens": TEXT_TOKENS,
        "transformer": config.MusicgenTransformerConfig(**settings),
    }
    return config.MusicgenConfig(**(fields | changes))


def melodic(**changes: Any) -> config.MusicgenConfig:
    """One that is told a melody."""
    return model_config(melody=True, chroma_frames=4, chroma_seconds=0.6, **changes)


def published(model: config.MusicgenConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors by Hugging Face's names, so large that every part of the model matters."""
    rng = np.random.default_rng(seed)
    table = musicgen_tensors.hugging_face(model)
    return {tensor.name: rng.normal(scale=0.3, size=tensor.shape).astype(np.float32) for tensor in table}


def abstract(model: config.MusicgenConfig) -> dict:
    """Shapes of its parameters."""
    functional = kinds.KINDS["musicgen"].functional(config.MusicgenTraining(model=model))
    return nnx.to_pure_dict(functional.abstract_params)


def trained(model: config.MusicgenConfig, tensors: dict[str, np.ndarray] | None = None) -> musicgen.TrainedMusicgen:
    """The prior of published tensors, or of random ones."""
    functional = kinds.KINDS["musicgen"].functional(config.MusicgenTraining(model=model))
    params = nnx.to_pure_dict(functional.abstract_params)
    if tensors is not None or set(params["conditions"]) == {"text"}:
        table = musicgen_tensors.hugging_face(model)
        params = musicgen_tensors.to_native(table, published(model) if tensors is None else tensors, params)
    else:
        rng = np.random.default_rng(0)
        params = jax.tree.map(lambda leaf: rng.normal(scale=0.3, size=leaf.shape).astype(np.float32), params)
    return musicgen.TrainedMusicgen(model, functional, (jax.tree.map(jnp.asarray, params), {}), "")


def batch(model: config.MusicgenConfig, seed: int = 0, size: int = 2) -> dict[str, np.ndarray]:
    """Windows, told texts of different lengths by turns."""
    rng = np.random.default_rng(seed)
    arrays = {
        "codes": rng.integers(model.num_codes, size=(size, model.context, model.num_codebooks), dtype=np.int32),
        "mask": np.ones((size, model.context), bool),
        "labels": np.zeros((size, len(model.labels)), np.int32),
        "start": np.zeros(size, np.int32),
        "length": np.full(size, 4 * model.context, np.int32),
        "text": rng.normal(size=(size, TEXT_TOKENS, TEXT_WIDTH)).astype(np.float32),
        "text_mask": np.arange(TEXT_TOKENS) < np.resize([TEXT_TOKENS, 2], (size, 1)),
    }
    if model.melody:
        arrays["chroma"] = rng.integers(12, size=(size, model.chroma_frames), dtype=np.int32)
    return arrays


def untold(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same windows, whose captions are empty."""
    return arrays | {"text": 0 * arrays["text"], "text_mask": np.zeros_like(arrays["text_mask"])}


def logits(prior: musicgen.TrainedMusicgen, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Of every code: float32 [B, T, Q, K]."""
    return np.asarray(jax.jit(lambda weights, arrays: prior.functional.bind(*weights)(arrays))(prior.weights, arrays))

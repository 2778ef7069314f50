"""The models of `encodec_oracle.TINY_MODELS` as ours, from published tensors."""

import pathlib
from typing import Any

import encodec_oracle
import numpy as np

from musicgen_jax import config, kinds
from musicgen_jax.conversion import checkpoint_files, encodec_settings, encodec_weights, native, weight_table
from musicgen_jax.runtime import files

# A frame lasts a tenth of a second, so that a window of 30 s has few.
LONG_HOPS = {"upsampling_ratios": [20, 20], "target_bandwidths": [0.1201]}


def settings(name: str, **changes: Any) -> config.EncodecConfig:
    """Of one of the models, some of its published values changed."""
    shapes = {f"quantizer.layers.{index}.codebook.embed": (16, 8) for index in range(3)}
    values = encodec_oracle.TINY_MODELS[name] | changes
    if values.get("use_conv_shortcut", True):
        shapes["encoder.layers.1.shortcut.conv.weight"] = (4, 4, 1)
    return encodec_settings.of_hugging_face(values, shapes, "here")


def shapes(model: config.EncodecConfig, original: bool = False) -> dict[str, tuple[int, ...]]:
    """{published name: shape} of a model's file."""
    run = config.EncodecTraining(model=model)
    abstract = native.abstract(kinds.of(run).functional(run))
    plain = {
        weight.name: np.zeros(weight.published_shape(weight_table.leaf(abstract, weight.path).shape), np.float32)
        for weight in encodec_weights.weights(model)
    }
    return {name: array.shape for name, array in encodec_weights.published(plain, model, original).items()}


def tensors(name: str, **changes: Any) -> dict[str, np.ndarray]:
    """Hugging Face's tensors of a model, with the golden file's codebooks."""
    with np.load(encodec_oracle.GOLDEN) as file:
        codebooks = file[f"{name}/codebooks"]
    return encodec_oracle.drawn(shapes(settings(name, **changes)), codebooks)


def write(folder: pathlib.Path, name: str) -> pathlib.Path:
    """model.safetensors and config.json of a model, as published."""
    folder.mkdir(exist_ok=True)
    checkpoint_files.write(folder / "model.safetensors", tensors(name))
    files.write_json(folder / "config.json", {"model_type": "encodec"} | encodec_oracle.TINY_MODELS[name])
    return folder / "model.safetensors"

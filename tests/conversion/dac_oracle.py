"""Hugging Face's `DacModel` with given weights: what ours must compute. Needs torch and transformers.

    python tests/conversion/dac_oracle.py

writes the golden file that `make test` compares with where they are not installed.
"""

import pathlib
import sys

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (0, 1, 2)]

import published_files
import tiny_dac

from musicgen_jax import config, kinds
from musicgen_jax.conversion import dac, native

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "dac.npz"
FRAMES = 40


def tiny_model() -> config.DACConfig:
    """Even and odd strides; latents of the width that Hugging Face's config can say."""
    model = tiny_dac.model_config()
    model.quantizer.code_width = model.encoder_widths[-1]
    return model


def tensors(model: config.DACConfig, original: bool = False) -> dict[str, np.ndarray]:
    """{published name: array} of a codec whose activations bend, but not so much that rounding grows at every layer,
    and whose audio stays where tanh does not clip it."""
    abstract = native.abstract(kinds.KINDS["dac"].functional(config.DACTraining(model=model)))
    table = dac.weights(model, original)
    scales = {weight.name: 0.3 for weight in table if weight.path[-2] in ("out", "project")}
    drawn = published_files.draw(table, abstract)
    return {
        name: 1 + np.abs(array) if name.endswith("alpha") else np.float32(scales.get(name, 1)) * array
        for name, array in drawn.items()
    }


def build(model: config.DACConfig, weights: dict[str, np.ndarray] | None = None):
    """`DacModel` in the sizes of `model`, with the weights of {Hugging Face's name: array} or torch's own."""
    import torch
    from transformers import DacConfig, DacModel

    settings = dac.settings(model)
    oracle = DacModel(DacConfig(**{name: settings[name] for name in dac.SIZES})).eval()
    if weights is not None:
        oracle.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()}, strict=True)
    return oracle


def run(oracle, audio: np.ndarray) -> dict[str, np.ndarray]:
    """{"codes": [T, Q], "audio": [S'], "latents": [T, Q, lookup_width]} of `audio` [S]."""
    import torch

    with torch.no_grad():
        encoded = oracle.encode(torch.from_numpy(audio)[None, None])
        decoded = oracle.decode(audio_codes=encoded.audio_codes).audio_values[0]
    codes = encoded.audio_codes[0].T.numpy()
    latents = encoded.projected_latents[0].T.numpy().reshape(*codes.shape, -1)
    return {"codes": codes, "audio": decoded.numpy(), "latents": latents}


def golden() -> dict[str, np.ndarray]:
    """What the golden file holds: for the tiny codec an input, its codes and what they decode to."""
    model = tiny_model()
    audio = (0.3 * np.random.default_rng(2).standard_normal(FRAMES * model.hop_length)).astype(np.float32)
    found = run(build(model, tensors(model)), audio)
    return {"input": audio, "codes": found["codes"].astype(np.int16), "audio": found["audio"]}


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden())

"""Tiny MusicGens in the files in which such are published: codec, prior and text encoder with random weights."""

import json
import pathlib
from typing import Any

import numpy as np
import tiny_encodec
import tiny_musicgen
import tiny_text

from musicgen_jax import config
from musicgen_jax.conversion import checkpoint_files, encodec_settings, encodec_weights, musicgen, musicgen_tensors, t5
from musicgen_jax.text import tokens

NUM_CODES, NUM_CODEBOOKS = 16, 3  # of the tiny codec


def model_config(**changes: Any) -> config.MusicgenConfig:
    """A prior of the tiny codec's codes, told by the tiny text encoder."""
    text = tiny_text.model_config()
    fields = {"num_codes": NUM_CODES, "num_codebooks": NUM_CODEBOOKS, "text_width": text.width}
    return tiny_musicgen.model_config(**(fields | changes))


def stereo() -> config.MusicgenConfig:
    """One of two channels."""
    return model_config(num_codebooks=2 * NUM_CODEBOOKS, pattern="stereo_delay")


def write(folder: pathlib.Path, model: config.MusicgenConfig | None = None, **codec_changes: Any) -> pathlib.Path:
    """model.safetensors, config.json and spiece.model, as Hugging Face has them; returns the folder. The codec may be
    another one: see `tiny_encodec.settings`."""
    model = model or model_config()
    codec, text = tiny_encodec.tensors("32khz", **codec_changes), tiny_text.published_tensors(tiny_text.model_config())
    tensors = tiny_musicgen.published(model)
    tensors |= {f"audio_encoder.{name}": tensor for name, tensor in codec.items()}
    tensors |= {f"text_encoder.{name}": tensor for name, tensor in text.items()}
    tensors["decoder.model.decoder.embed_positions.weights"] = np.zeros((9, 16), np.float32)  # older files have it
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint_files.write(folder / "model.safetensors", tensors)
    settings = tiny_encodec.settings("32khz", **codec_changes)
    codec_config, text_config = encodec_settings.to_hugging_face(settings), t5.published(tiny_text.model_config())
    about = musicgen.to_hugging_face(model, codec_config, text_config)
    (folder / "config.json").write_text(json.dumps(about))
    (folder / tokens.FILE_NAME).write_bytes(tiny_text.vocabulary())
    return folder


def write_audiocraft(folder: pathlib.Path, model: config.MusicgenConfig) -> pathlib.Path:
    """state_dict.bin and compression_state_dict.bin; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    published, table = tiny_musicgen.published(model), musicgen_tensors.hugging_face(model)
    params = musicgen_tensors.to_native(table, published, tiny_musicgen.abstract(model))
    tensors = musicgen_tensors.to_published(musicgen_tensors.audiocraft(model), params)
    if model.melody:
        tensors["condition_provider.conditioners.self_wav.chroma.spec.window"] = np.zeros(4, np.float32)
    about = {"xp.cfg": musicgen.to_audiocraft(model), "version": "1.3.0", "exported": True}
    checkpoint_files.write(folder / "state_dict.bin", tensors, "best_state", about)
    settings = tiny_encodec.settings("32khz")
    codec = encodec_weights.published(encodec_weights.plain(tiny_encodec.tensors("32khz")), settings, True)
    about = {"xp.cfg": encodec_settings.to_audiocraft(settings), "version": "1.3.0", "exported": True}
    checkpoint_files.write(folder / musicgen.CODEC, codec, "best_state", about)
    return folder

"""Text encoders of the tests: a vocabulary that sentencepiece learns from a few lines, and tiny T5s with random weights
in the files in which such are published."""

import functools
import io
import json
import pathlib

import numpy as np

from musicgen_jax import config
from musicgen_jax.conversion import checkpoint_files, t5, weight_table
from musicgen_jax.nn import modules
from musicgen_jax.text import t5 as module
from musicgen_jax.text import text_encoder, tokens

GOLDEN_FILE = pathlib.Path(__file__).parent / "golden" / "t5.npz"
LINES = (
    "a calm piece for piano with soft strings",
    "fast drums and loud guitars",
    "pop of the eighties with a bass that drives",
    "a flute alone, slow and sad; bright bells behind it",
)
TEXTS = ("calm piano", "", "loud drums and a sad flute with bright bells; fast guitars")
SIZES = {"vocabulary": 64, "width": 16, "num_layers": 3, "num_heads": 2, "head_dim": 4, "mlp_width": 24}


@functools.cache
def vocabulary() -> bytes:
    """A spiece.model with T5's special tokens."""
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 20),
        model_writer=out,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return out.getvalue()


def model_config(feed_forward: str = "relu", **changed: int) -> config.T5Config:
    """Sizes of a tiny encoder."""
    return config.T5Config(feed_forward=feed_forward, **(SIZES | changed))


def published_tensors(model: config.T5Config, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under the names of Hugging Face's T5EncoderModel, large enough to tell each part from others."""
    rng = np.random.default_rng(seed)
    abstract = t5.abstract(model)
    found = {}
    for weight in t5.weights(model):
        shape = weight.published_shape(weight_table.leaf(abstract, weight.path).shape)
        tied = weight.name == "encoder.embed_tokens.weight"
        values = found["shared.weight"] if tied else rng.standard_normal(shape).astype(np.float32)
        scale = 1.0 if tied or len(shape) < 2 else min(shape[-1] ** -0.5 * 1.2, 0.7)
        found[weight.name] = values * np.float32(scale)
    return found


def weights(model: config.T5Config, seed: int = 0) -> modules.Tree:
    """The same as parameters."""
    return t5.to_native(model, published_tensors(model, seed))["params"]


def encoder(model: config.T5Config) -> text_encoder.TextEncoder:
    """An encoder with them, which reads no text."""
    return text_encoder.TextEncoder(model, (weights(model), {}))


def golden_batch() -> tuple[np.ndarray, np.ndarray]:
    """Tokens of rows as long as distances are told apart, shorter, and empty."""
    numbers = np.random.default_rng(7).integers(3, 60, (3, 150))
    return tokens.padded([numbers[0], numbers[1][:9], []], 150)


def states(model: config.T5Config, numbers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What an encoder with `weights` makes of tokens."""
    functional = text_encoder.functional(model)
    bound: module.T5Encoder = functional.bind(weights(model), {})
    return np.asarray(bound(numbers, mask))


def write_published(folder: pathlib.Path, model: config.T5Config | None = None, seed: int = 0) -> pathlib.Path:
    """model.safetensors, config.json and spiece.model, as Hugging Face has them; returns the first."""
    model = model or model_config()
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint_files.write(folder / "model.safetensors", published_tensors(model, seed))
    (folder / "config.json").write_text(json.dumps(t5.published(model)))
    (folder / tokens.FILE_NAME).write_bytes(vocabulary())
    return folder / "model.safetensors"

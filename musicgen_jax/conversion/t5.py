"""T5's published encoders <-> native workdirs.

Files of Hugging Face's T5EncoderModel and T5ForConditionalGeneration, whose decoder is left out, or of a model with
such an encoder in it, under `text_encoder.`: MusicGen's, say.
"""

import dataclasses
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.conversion import checkpoint_files, native, weight_table
from musicgen_jax.conversion.weight_table import Tree, Weight
from musicgen_jax.runtime import buckets, console, files, records
from musicgen_jax.runtime.errors import NotFoundError
from musicgen_jax.text import text_encoder, tokens

LICENCE = "T5's weights are under the licence Apache-2.0."
PART = "text_encoder."  # of a model that has more parts
_OTHERS = ("decoder.", "lm_head.")  # parts of T5 that encode no text
_STACKED = ("params", "layers")  # where the blocks lie, which are one with a leading axis
_TIED = "encoder.embed_tokens.weight"  # the table of tokens under a second name
_LAYER = "encoder.block.{}.layer"
_NORMS = {"0.layer_norm": "attention_norm", "1.layer_norm": "mlp_norm"}
_MATRICES = {
    "0.SelfAttention.q": "query",
    "0.SelfAttention.k": "key",
    "0.SelfAttention.v": "value",
    "0.SelfAttention.o": "out",
}
_UNITS = {
    "relu": {"wi": "hidden", "wo": "mlp_out"},
    "gated-gelu": {"wi_0": "gate", "wi_1": "hidden", "wo": "mlp_out"},
}
# Fields of Hugging Face's config.json that shapes do not tell.
_PUBLISHED = {"layer_norm_epsilon": "norm_epsilon", "relative_attention_max_distance": "max_distance"}

Tensors = Mapping[str, Any]


def import_checkpoint(checkpoint: pathlib.Path, out: pathlib.Path) -> None:
    """Published file -> native workdir, with the vocabulary and what config.json says beside the file.

    Args:
      checkpoint: see `checkpoint_files.read`.
      out: new or empty.

    Raises:
      NotFoundError: no such file, or no spiece.model beside it.
      UserError: it holds no such encoder; every missing, unexpected and mis-shaped key is listed.
    """
    files.output_folder(out)
    tensors = encoder_of(checkpoint_files.read(checkpoint))
    require_vocabulary(checkpoint.parent)
    model = infer_config(tensors, read_published(checkpoint.parent))
    weight_table.require_none(differences(model, tensors))
    with files.all_or_nothing(out):
        write(model, tensors, checkpoint.parent, out)


def export_checkpoint(workdir: pathlib.Path, checkpoint: pathlib.Path) -> None:
    """Native workdir -> file of Hugging Face's T5EncoderModel, with config.json and spiece.model beside it unless they
    are there; inverse of `import_checkpoint`.

    Raises:
      NotFoundError: no workdir.
      UserError: `checkpoint` exists, or does not end in .safetensors; the folder holds something else.
    """
    checkpoint_files.check_new(checkpoint)
    config.require(checkpoint.suffix == ".safetensors", f"{checkpoint}: T5 is written as .safetensors: name it so")
    encoder = pretrained.load_text_encoder(str(workdir))
    checkpoint_files.export(checkpoint, to_published(encoder))
    if not (checkpoint.parent / "config.json").exists():
        files.write_json(checkpoint.parent / "config.json", published(encoder.config))
    if not (checkpoint.parent / tokens.FILE_NAME).exists():
        shutil.copyfile(workdir / tokens.FILE_NAME, checkpoint.parent / tokens.FILE_NAME)


def to_published(encoder: text_encoder.TextEncoder) -> dict[str, np.ndarray]:
    """The encoder's tensors under Hugging Face's names; inverse of `to_native`."""
    tree = weight_table.unstacked({"params": encoder.params}, _STACKED, encoder.config.num_layers)
    table = [weight for weight in weights(encoder.config) if weight.name != _TIED]
    return weight_table.to_published(table, tree)


def weights(model: config.T5Config) -> list[Weight]:
    """Every array of the encoder in a published file; of layer i the native path ends in i."""
    table = [
        Weight("shared.weight", ("params", "tokens")),
        Weight(_TIED, ("params", "tokens")),
        Weight(f"{_LAYER.format(0)}.0.SelfAttention.relative_attention_bias.weight", ("params", "distances")),
        Weight("encoder.final_layer_norm.weight", ("params", "norm")),
    ]
    units = {f"1.DenseReluDense.{theirs}": ours for theirs, ours in _UNITS[model.feed_forward].items()}
    for layer in range(model.num_layers):
        name = _LAYER.format(layer)
        table += [Weight(f"{name}.{theirs}.weight", (*_STACKED, ours, layer)) for theirs, ours in _NORMS.items()]
        matrices = _MATRICES | units
        table += [Weight(f"{name}.{one}.weight", (*_STACKED, ours, layer), (1, 0)) for one, ours in matrices.items()]
    return table


def encoder_of(tensors: Tensors) -> dict[str, Any]:
    """The tensors of the encoder alone, without the prefix that it has as a part of a larger model."""
    if any(name.startswith(PART) for name in tensors):
        tensors = {name.removeprefix(PART): one for name, one in tensors.items() if name.startswith(PART)}
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_OTHERS)}


def infer_config(tensors: Tensors, told: Mapping[str, Any]) -> config.T5Config:
    """The sizes of an encoder: of its arrays, and what those do not tell of what was published beside it.

    Args:
      tensors: from `encoder_of`.
      told: from `read_published`; {} takes the values that all published encoders have.

    Raises:
      UserError: the file holds no encoder of T5, or one of a kind that is not known.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    first, attention = _LAYER.format(0), f"{_LAYER.format(0)}.0.SelfAttention"
    gated = f"{first}.1.DenseReluDense.wi_0.weight" in shapes
    vocabulary, width = _pair(shapes, "shared.weight" if "shared.weight" in shapes else _TIED)
    num_buckets, num_heads = _pair(shapes, f"{attention}.relative_attention_bias.weight")
    inner, _ = _pair(shapes, f"{attention}.q.weight")
    hidden, _ = _pair(shapes, f"{first}.1.DenseReluDense.{'wi_0' if gated else 'wi'}.weight")
    layers = [int(found[1]) for name in shapes if (found := re.match(r"encoder\.block\.(\d{1,6})\.", name))]
    shaped = "gated-gelu" if gated else "relu"
    feed_forward = told.get("feed_forward_proj", shaped)
    rule = f"must be {shaped}, by the arrays of the file, and no other is known"
    config.require(feed_forward == shaped, f"config.json: feed_forward_proj={feed_forward!r}: {rule}")
    model = config.T5Config(
        vocabulary=vocabulary,
        width=width,
        num_layers=min(max(layers) + 1, len(shapes)),  # a key may say any number
        num_heads=num_heads,
        head_dim=max(inner // max(num_heads, 1), 1),
        mlp_width=hidden,
        feed_forward=feed_forward,
        num_buckets=num_buckets,
    )
    values = {ours: told[theirs] for theirs, ours in _PUBLISHED.items() if theirs in told}
    model = config.from_dict(config.T5Config, dataclasses.asdict(model) | values, "config.json")
    model.validate()
    return model


def _pair(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, int]:
    found = shapes.get(name, ())
    listing = ", ".join(list(shapes)[:3]) or "others"
    config.require(len(found) == 2, f"the file holds no encoder of T5: no matrix {name}; its first keys are {listing}")
    return found


def read_published(folder: pathlib.Path) -> dict[str, Any]:
    """What Hugging Face's config.json in a folder says of the encoder, also as a part of a larger model; {} where there
    is none. Raises UserError where it is damaged."""
    path = folder / "config.json"
    if not pathlib.Path(buckets.fetched(path)).is_file():
        return {}
    found = files.read_json(path)
    return records.check(dict[str, Any], found.get("text_encoder", found), f"{path}: text_encoder")


def published(model: config.T5Config) -> dict[str, Any]:
    """The encoder's config.json as Hugging Face's T5EncoderModel reads it."""
    return {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "vocab_size": model.vocabulary,
        "d_model": model.width,
        "num_layers": model.num_layers,
        "num_heads": model.num_heads,
        "d_kv": model.head_dim,
        "d_ff": model.mlp_width,
        "feed_forward_proj": model.feed_forward,
        "relative_attention_num_buckets": model.num_buckets,
        **{theirs: getattr(model, ours) for theirs, ours in _PUBLISHED.items()},
        "pad_token_id": 0,
        "eos_token_id": tokens.END,
        "decoder_start_token_id": 0,
    }


def differences(model: config.T5Config, tensors: Tensors) -> list[str]:
    """Every missing, unexpected or mis-shaped key of an encoder, a line each."""
    return weight_table.differences(weights(model), tensors, abstract(model))


def require_vocabulary(folder: pathlib.Path) -> None:
    """Raises NotFoundError where a folder has no spiece.model."""
    path = folder / tokens.FILE_NAME
    if not pathlib.Path(buckets.fetched(path)).is_file():
        raise NotFoundError(
            f"no such file: {path}, the vocabulary, without which the encoder reads no text: copy it there from where "
            "the weights were published (tokenizer.json is not read in its place)"
        )


def write(model: config.T5Config, tensors: Tensors, folder: pathlib.Path, out: pathlib.Path) -> None:
    """Writes the native workdir of an encoder, with the vocabulary of a folder.

    Args:
      model: from `infer_config`.
      tensors: from `encoder_of`, without `differences`.
      folder: that has spiece.model.
      out: new or empty.

    Raises:
      UserError: tied tensors differ.
    """
    console.say_devices()
    tree = to_native(model, tensors)
    count = sum(leaf.size for leaf in jax.tree.leaves(tree))
    print(f"{files.describe_path(out)}: {count:,} parameters, takes up to {8e-9 * count:.2f} GB of memory")
    native.write(out, model, model, tree)
    shutil.copyfile(folder / tokens.FILE_NAME, out / tokens.FILE_NAME)


def to_native(model: config.T5Config, tensors: Tensors) -> Tree:
    """{"params": ...} of an encoder's published tensors. Raises UserError where they do not fit; all is listed."""
    return weight_table.stacked(weight_table.to_native(weights(model), tensors, abstract(model)), _STACKED)


def abstract(model: config.T5Config) -> Tree:
    """Shapes and dtypes of an encoder's weights, those of the blocks one by one, as `weights` points at them."""
    whole = native.abstract(kinds.of(model).functional(model))
    return weight_table.unstacked(whole, _STACKED, model.num_layers)

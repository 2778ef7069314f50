"""EnCodec's published weights: the names they have, and where each lies in ours.

Three kinds of files hold the same tensors. Hugging Face's `EncodecModel` has its own names; the original repository and
audiocraft have those of their nested modules. Either writes a normalized weight as a length and a direction, whose
names changed with torch. Here all of them become `plain`: Hugging Face's names, weights that are one array, LSTM
biases that are one.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.config.codec import CODES
from musicgen_jax.conversion import weight_norm, weight_table
from musicgen_jax.conversion.checkpoint_files import StoredTensor

Tensors = Mapping[str, Any]
_PARAMS, _BUFFERS = ("params", CODES), ("buffers", CODES)


def are_original(names: Iterable[str]) -> bool:
    """Whether names are in the grammar of the original repository and of audiocraft."""
    return any(name.startswith(("encoder.model.", "quantizer.vq.")) for name in names)


def hugging_face_name(name: str) -> str:
    """Hugging Face's name for one in the original grammar; one of Hugging Face stays as it is."""
    name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
    name = re.sub(r"\.(conv|convtr)\.\1\.", ".conv.", name)
    name = re.sub(r"\.(conv|convtr)\.norm\.", ".norm.", name)
    return re.sub(r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook.", name)


def original_name(name: str, settings: config.EncodecConfig) -> str:
    """Inverse of `hugging_face_name` for a model of these settings."""
    upsampling = {f"decoder.layers.{index}." for index in _upsampling_layers(settings)}
    own = "convtr" if any(name.startswith(prefix) for prefix in upsampling) else "conv"
    name = re.sub(r"\.conv\.", f".{own}.{own}.", name)
    name = re.sub(r"\.norm\.", f".{own}.norm.", name)
    name = re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", name)
    return re.sub(r"^quantizer\.layers\.(\d+)\.codebook\.", r"quantizer.vq.layers.\1._codebook.", name)


def plain(tensors: Tensors) -> dict[str, Any]:
    """Tensors of any published file under Hugging Face's names, weights and LSTM biases as one array each.

    What only training reads and the file may lack, moving averages, is left out where it does. Nothing is read before
    it is asked for.
    """
    named = weight_norm.folded({hugging_face_name(name): tensor for name, tensor in tensors.items()})
    found = {}
    for name, tensor in named.items():
        if ".lstm.bias_ih_" in name and (other := named.get(name.replace("_ih_", "_hh_"))) is not None:
            found[name.replace("_ih_", "_")] = _sum(tensor, other)
        elif ".lstm.bias_hh_" in name and name.replace("_hh_", "_ih_") in named:
            continue
        elif not name.endswith(".codebook.inited"):
            found[name] = tensor
    return found


def published(tensors: Mapping[str, np.ndarray], settings: config.EncodecConfig, original: bool) -> dict[str, Any]:
    """Inverse of `plain`: the names of a file, which is an original one or Hugging Face's."""
    ends = weight_norm.PAIRS[not original]
    found = {}
    for name, array in tensors.items():
        array = np.ascontiguousarray(array)
        if ".lstm.bias_" in name:
            found |= {
                name.replace("bias_", "bias_ih_"): array,
                name.replace("bias_", "bias_hh_"): np.zeros_like(array),
            }
        elif name.endswith(".conv.weight") and settings.norm == "none":
            pair = weight_norm.split(array)
            found |= {name.removesuffix(".weight") + end: part for end, part in zip(ends, pair, strict=True)}
        else:
            found[name] = array
    for index in range(settings.quantizer.num_codebooks):
        found[f"quantizer.layers.{index}.codebook.inited"] = np.ones(1, np.float32)
    return {original_name(name, settings): array for name, array in found.items()} if original else found


def weights(settings: config.EncodecConfig, averages: bool = True) -> list[weight_table.Weight]:
    """The table of a model of these settings, of `plain` names; `averages` of its codebooks are optional."""
    table = _encoder(settings) + _decoder(settings)
    several = settings.quantizer.num_codebooks > 1
    owned = {"entries": "embed"} | ({"counts": "cluster_size", "sums": "embed_avg"} if averages else {})
    for index in range(settings.quantizer.num_codebooks):
        owner = (*_BUFFERS, "quantizer", *(("stages", index) if several else ()))
        prefix = f"quantizer.layers.{index}.codebook"
        table += [weight_table.Weight(f"{prefix}.{theirs}", (*owner, ours)) for ours, theirs in owned.items()]
    return table


def add_averages(tree: weight_table.Tree, settings: config.EncodecConfig) -> None:
    """Adds moving averages of the codebooks to a tree without, in place: each code as used as the others."""
    quantizer = tree["buffers"][CODES]["quantizer"]
    for stage in quantizer["stages"].values() if settings.quantizer.num_codebooks > 1 else [quantizer]:
        stage |= {"counts": np.ones(len(stage["entries"]), np.float32), "sums": stage["entries"].copy()}


def _encoder(settings: config.EncodecConfig) -> list[weight_table.Weight]:
    path, index = (*_PARAMS, "encoder"), 1
    table = _layer("encoder.layers.0", (*path, "read"), settings)
    for number in range(len(settings.strides)):
        stage = (*path, "stages", number)
        table += _blocks("encoder", index, stage, settings)
        index += settings.residual_layers + 1  # behind an ELU
        table += _layer(f"encoder.layers.{index}", (*stage, "change"), settings)
        index += 1
    table += _memory(f"encoder.layers.{index}", path, settings)
    index += bool(settings.lstm_layers) + 1
    return table + _layer(f"encoder.layers.{index}", (*path, "project"), settings)


def _decoder(settings: config.EncodecConfig) -> list[weight_table.Weight]:
    path = (*_PARAMS, "decoder")
    table = _layer("decoder.layers.0", (*path, "project"), settings) + _memory("decoder.layers.1", path, settings)
    for number, index in enumerate(_upsampling_layers(settings)):
        stage = (*path, "stages", number)
        table += _layer(f"decoder.layers.{index}", (*stage, "change"), settings, (2, 0, 1))
        table += _blocks("decoder", index + 1, stage, settings)
    last = _upsampling_layers(settings)[-1] + settings.residual_layers + 2
    return table + _layer(f"decoder.layers.{last}", (*path, "out"), settings)


def _upsampling_layers(settings: config.EncodecConfig) -> list[int]:
    """Numbers of the decoder's transposed convolutions: each behind an ELU, residual blocks behind it."""
    first = 2 + bool(settings.lstm_layers)
    return [first + number * (settings.residual_layers + 2) for number in range(len(settings.strides))]


def _layer(
    name: str, path: weight_table.Path, settings: config.EncodecConfig, axes: tuple[int, ...] = (2, 1, 0)
) -> list[weight_table.Weight]:
    """A convolution, torch's (out, in, taps), or a transposed one, (in, out, taps), as `axes` say; and its norm."""
    table = [
        weight_table.Weight(f"{name}.conv.weight", (*path, "kernel"), axes),
        weight_table.Weight(f"{name}.conv.bias", (*path, "bias")),
    ]
    if settings.norm == "time_group":
        ends = {"weight": "scale", "bias": "bias"}
        table += [weight_table.Weight(f"{name}.norm.{one}", (*path, "norm", ours)) for one, ours in ends.items()]
    return table


def _blocks(
    side: str, first: int, stage: weight_table.Path, settings: config.EncodecConfig
) -> list[weight_table.Weight]:
    parts = {"block.1": "dilated", "block.3": "project"}
    if settings.shortcut == "convolution":
        parts["shortcut"] = "shortcut"
    return [
        weight
        for number in range(settings.residual_layers)
        for theirs, ours in parts.items()
        for weight in _layer(f"{side}.layers.{first + number}.{theirs}", (*stage, "blocks", number, ours), settings)
    ]


def _memory(name: str, path: weight_table.Path, settings: config.EncodecConfig) -> list[weight_table.Weight]:
    table = []
    for number in range(settings.lstm_layers):
        layer = (*path, "memory", "layers", number)
        table += [
            weight_table.Weight(f"{name}.lstm.weight_ih_l{number}", (*layer, "input"), (1, 0)),
            weight_table.Weight(f"{name}.lstm.weight_hh_l{number}", (*layer, "recurrent"), (1, 0)),
            weight_table.Weight(f"{name}.lstm.bias_l{number}", (*layer, "bias")),
        ]
    return table


def _sum(first: Any, second: Any) -> StoredTensor:
    return StoredTensor(tuple(first.shape), lambda: np.asarray(first, np.float32) + np.asarray(second, np.float32))

"""Where the tensors of published MusicGens lie in the native prior, under Hugging Face's names and audiocraft's.

The native prior has its layers stacked, its codebooks in one table and its projections fused: a published tensor is a
region of a native array, or several of them.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.conversion import weight_table

Index = int | slice
ALL = slice(None)


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of a published tensor, and where it lies.

    Attributes:
      path: of a native array, in the parameters.
      native: index into that array.
      published: index into the tensor, behind `Tensor.transposed`.
    """

    path: tuple[str, ...]
    native: tuple[Index, ...] = ()
    published: tuple[Index, ...] = ()


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a published file.

    Attributes:
      name: its key.
      shape: of it.
      regions: which cover it.
      transposed: whether torch has its two axes the other way round: [outputs, inputs].
    """

    name: str
    shape: tuple[int, ...]
    regions: tuple[Region, ...]
    transposed: bool = False


def hugging_face(model: config.MusicgenConfig) -> list[Tensor]:
    """The tensors of the decoder, and of what it is told, in transformers' models for conditional generation."""
    width, inner = model.transformer.width, model.transformer.num_heads * model.transformer.head_dim
    lists = {"codes": "decoder.model.decoder.embed_tokens", "logits": "decoder.lm_heads"}
    found = list(_codebooks(model, lists["codes"], lists["logits"]))
    names = {"caption": "enc_to_dec_proj", "melody": "audio_enc_to_dec_proj"}
    found += [*_norm("decoder.model.decoder.layer_norm", ("stack", "norm"), width), *_conditions(model, names)]
    for layer in range(model.transformer.num_layers):
        name = f"decoder.model.decoder.layers.{layer}"
        for part, place in (("q", 0), ("k", 1), ("v", 2)):
            columns = slice(place * inner, (place + 1) * inner)
            region = Region(_layer("attention", "qkv", "kernel"), (layer, ALL, columns))
            found.append(Tensor(f"{name}.self_attn.{part}_proj.weight", (inner, width), (region,), True))
        norms = {"self_attn_layer_norm": "attention_norm", "final_layer_norm": "mlp_norm"}
        linears = {"self_attn.out_proj": ("attention", "out"), "fc1": ("mlp", "hidden"), "fc2": ("mlp", "out")}
        if not model.melody:
            norms["encoder_attn_layer_norm"] = "memory_norm"
            linears["encoder_attn.q_proj"] = ("memory_attention", "query")
            linears["encoder_attn.out_proj"] = ("memory_attention", "out")
            for part, place in (("k", 0), ("v", 1)):
                columns = slice(place * inner, (place + 1) * inner)
                region = Region(_layer("memory_attention", "key_value", "kernel"), (layer, ALL, columns))
                found.append(Tensor(f"{name}.encoder_attn.{part}_proj.weight", (inner, width), (region,), True))
        found += _of_layer(model, name, layer, norms, linears)
    return found


def audiocraft(model: config.MusicgenConfig) -> list[Tensor]:
    """The tensors of audiocraft's `LMModel`, whose projections of attention are fused."""
    width, inner = model.transformer.width, model.transformer.num_heads * model.transformer.head_dim
    found = list(_codebooks(model, "emb", "linears"))
    conditioners = "condition_provider.conditioners"
    names = {"caption": f"{conditioners}.description.output_proj", "melody": f"{conditioners}.self_wav.output_proj"}
    found += [*_norm("out_norm", ("stack", "norm"), width), *_conditions(model, names)]
    for layer in range(model.transformer.num_layers):
        name = f"transformer.layers.{layer}"
        region = Region(_layer("attention", "qkv", "kernel"), (layer,))
        found.append(Tensor(f"{name}.self_attn.in_proj_weight", (3 * inner, width), (region,), True))
        norms = {"norm1": "attention_norm", "norm2": "mlp_norm"}
        linears = {"self_attn.out_proj": ("attention", "out"), "linear1": ("mlp", "hidden"), "linear2": ("mlp", "out")}
        if not model.melody:
            norms["norm_cross"] = "memory_norm"
            linears["cross_attention.out_proj"] = ("memory_attention", "out")
            regions = (
                Region(_layer("memory_attention", "query", "kernel"), (layer,), (ALL, slice(inner))),
                Region(_layer("memory_attention", "key_value", "kernel"), (layer,), (ALL, slice(inner, None))),
            )
            found.append(Tensor(f"{name}.cross_attention.in_proj_weight", (3 * inner, width), regions, True))
        found += _of_layer(model, name, layer, norms, linears)
    return found


def to_native(table: list[Tensor], tensors: Mapping[str, Any], abstract: weight_table.Tree) -> weight_table.Tree:
    """Published tensors -> the nested dict of parameters, float32. Tensors are read one by one.

    Args:
      table: of the model.
      tensors: {published name: array, or anything with a shape that `np.asarray` reads}.
      abstract: shapes of all parameters.

    Raises:
      UserError: tensors are missing, unexpected or mis-shaped; everything is listed.
    """
    weight_table.require_none(differences(table, tensors))
    tree: weight_table.Tree = {}
    for path in sorted({region.path for tensor in table for region in tensor.regions}):
        owner = tree
        for key in path[:-1]:
            owner = owner.setdefault(key, {})
        owner[path[-1]] = np.empty(weight_table.leaf(abstract, path).shape, np.float32)
    for tensor in table:
        array = np.asarray(tensors[tensor.name])
        array = array.T if tensor.transposed else array
        for region in tensor.regions:
            weight_table.leaf(tree, region.path)[region.native] = array[region.published]
    return tree


def to_published(table: list[Tensor], params: weight_table.Tree) -> dict[str, np.ndarray]:
    """Inverse of `to_native`: {published name: float32 array}."""
    found = {}
    for tensor in table:
        array = np.empty(tensor.shape[::-1] if tensor.transposed else tensor.shape, np.float32)
        for region in tensor.regions:
            array[region.published] = np.asarray(weight_table.leaf(params, region.path)[region.native])
        found[tensor.name] = array.T if tensor.transposed else array
    return found


def differences(table: list[Tensor], tensors: Mapping[str, Any]) -> list[str]:
    """Every missing, unexpected or mis-shaped tensor, a line each; reads shapes only."""
    known = {tensor.name: tensor for tensor in table}
    lines = [f"missing {name}" for name in known if name not in tensors]
    lines += [f"unexpected {name}" for name in tensors if name not in known]
    return lines + [
        f"{name} has shape {list(tensors[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in known.items()
        if name in tensors and tuple(tensors[name].shape) != tensor.shape
    ]


def _layer(*names: str) -> tuple[str, ...]:
    return ("stack", "layers", *names)


def _codebooks(model: config.MusicgenConfig, codes: str, logits: str) -> Iterator[Tensor]:
    """Tables of K + 1 rows, the last one of the code that is not there, and heads of K."""
    num, width = model.num_codes, model.transformer.width
    for book in range(model.num_codebooks):
        rows = slice(book * num, (book + 1) * num)
        regions = (Region(("codes",), (rows,), (slice(num),)), Region(("start",), (book,), (num,)))
        yield Tensor(f"{codes}.{book}.weight", (num + 1, width), regions)
        yield Tensor(f"{logits}.{book}.weight", (num, width), (Region(("logits",), (ALL, rows)),), True)


def _conditions(model: config.MusicgenConfig, names: Mapping[str, str]) -> Iterator[Tensor]:
    path = ("conditions", "text")
    caption = (*path, "caption") if model.melody else path
    yield from _linear(names["caption"], (*caption, "project"), model.text_width, model.transformer.width)
    if model.melody:
        yield from _linear(names["melody"], (*path, "project"), config.PITCH_CLASSES, model.transformer.width)


def _linear(name: str, path: tuple[str, ...], inputs: int, outputs: int) -> list[Tensor]:
    weight = Tensor(f"{name}.weight", (outputs, inputs), (Region((*path, "kernel")),), True)
    return [weight, Tensor(f"{name}.bias", (outputs,), (Region((*path, "bias")),))]


def _norm(name: str, path: tuple[str, ...], width: int, native: tuple[Index, ...] = ()) -> list[Tensor]:
    return [
        Tensor(f"{name}.{theirs}", (width,), (Region((*path, ours), native),))
        for theirs, ours in (("weight", "scale"), ("bias", "bias"))
    ]


def _of_layer(
    model: config.MusicgenConfig, name: str, layer: int, norms: Mapping[str, str], linears: Mapping[str, tuple]
) -> Iterator[Tensor]:
    """Norms and whole matrices of one layer, by their names in it."""
    settings = model.transformer
    inner, width, hidden = settings.num_heads * settings.head_dim, settings.width, settings.mlp_width
    sizes = {"query": (width, inner), "hidden": (width, hidden)}
    for theirs, ours in norms.items():
        yield from _norm(f"{name}.{theirs}", _layer(ours), width, (layer,))
    for theirs, ours in linears.items():
        inputs, outputs = sizes.get(ours[-1], (hidden if ours[0] == "mlp" else inner, width))
        region = Region(_layer(*ours, "kernel"), (layer,))
        yield Tensor(f"{name}.{theirs}.weight", (outputs, inputs), (region,), True)

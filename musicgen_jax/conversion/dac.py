"""The Descript Audio Codec's published models <-> native workdirs. Facts from the key names, shapes and settings.

Two kinds of files: Hugging Face's .safetensors of `DacModel`, with config.json beside it, and Descript's own .pth,
{"state_dict": tensors, "metadata": {"kwargs": settings}}. Kernels may be whole or normalized (`weight_norm`) in both.
"""

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.conversion import checkpoint_files, native, weight_norm, weight_table
from musicgen_jax.runtime import buckets, console, files, records
from musicgen_jax.runtime.errors import UserError

LICENCE = (
    "The Descript Audio Codec, code and published weights, is under the MIT licence: its notice stays with the files."
)
# Published (strides, number of codebooks) -> sample rate, for files that do not say it.
RELEASED = {((2, 4, 8, 8), 9): 44_100, ((2, 4, 5, 8), 32): 24_000, ((2, 4, 5, 8), 12): 16_000}

# Of `settings`, what Hugging Face's config takes; the rest it computes.
SIZES = (
    *("encoder_hidden_size", "downsampling_ratios", "decoder_hidden_size", "n_codebooks", "codebook_size"),
    *("codebook_dim", "sampling_rate"),
)

# (name in Hugging Face's files, in Descript's, native path, what it is)
Row = tuple[str, str, weight_table.Path, Callable[[str, weight_table.Path], list[weight_table.Weight]]]


def import_checkpoint(checkpoint: pathlib.Path, out: pathlib.Path) -> None:
    """Published file -> native workdir, of any size: the shapes tell it.

    Args:
      checkpoint: see `checkpoint_files.read`.
      out: new or empty.

    Raises:
      NotFoundError: no such file.
      UserError: it holds something else, every missing, unexpected and mis-shaped key is listed; or nothing says at
        which rate its audio is sampled.
    """
    files.output_folder(out)
    stored, beside = checkpoint_files.read_wrapped(checkpoint, "state_dict")
    tensors = weight_norm.folded(stored)
    original = "encoder.block.0.weight" in tensors
    run = config.DACTraining(model=_infer(tensors, original, checkpoint))
    run.model.sample_rate = _sample_rate(run.model, beside, checkpoint)
    run.model.validate()
    table, abstract = weights(run.model, original), native.abstract(kinds.of(run).functional(run))
    tree = weight_table.to_native(table, tensors, abstract)
    _add_codebook_buffers(tree, run)
    console.say_devices()
    with files.all_or_nothing(out):
        native.write(out, run, run.model, tree)
    print(f"{files.describe_path(out)}: {describe(run.model)}")


def export_checkpoint(workdir: pathlib.Path, checkpoint: pathlib.Path) -> None:
    """Native workdir -> published file; inverse of `import_checkpoint`.

    A .safetensors file has whole kernels under Hugging Face's names, and config.json is written beside it unless there
    is one; a torch file has Descript's names, normalized kernels and metadata.

    Raises:
      NotFoundError: no workdir.
      UserError: it holds another model, or `checkpoint` exists or has another extension.
    """
    checkpoint_files.check_new(checkpoint)
    run, params, buffers = pretrained.load_dac_weights(str(workdir))
    original = checkpoint.suffix != ".safetensors"
    table, tree = weights(run.model, original), {"params": params, "buffers": buffers}
    for *path, last in (weight.path for weight in table if weight.path[-1] == "learned"):
        # Trained entries are the sum of what gradients and what restarts have moved.
        entries, moved = (weight_table.leaf(tree, (root, *path[1:])) for root in ("params", "buffers"))
        entries[last] = np.asarray(entries[last]) + np.asarray(moved["offsets"])
    tensors = weight_table.to_published(table, tree)
    if original:
        checkpoint_files.export(checkpoint, _normalized(tensors), "state_dict", {"metadata": _metadata(run.model)})
        return
    checkpoint_files.export(checkpoint, tensors)
    if not (checkpoint.parent / "config.json").exists():
        files.write_json(checkpoint.parent / "config.json", settings(run.model))


def describe(model: config.DACConfig) -> str:
    """A line about a codec, for people."""
    rate, size = model.sample_rate / model.hop_length, model.quantizer
    kbits = rate * size.num_codebooks * np.log2(size.num_codes) / 1000
    return (
        f"{model.sample_rate} Hz, {rate:.1f} frames a second of {size.num_codebooks} codes out of {size.num_codes} "
        f"each, {kbits:.2f} kbit/s"
    )


def weights(model: config.DACConfig, original: bool) -> list[weight_table.Weight]:
    """The table of a codec of any size, by Descript's names (`original`) or Hugging Face's.

    Raises:
      UserError: another quantizer than the published one.
    """
    config.require(
        model.quantizer.kind == "normalized",
        f"quantizer.kind={model.quantizer.kind}: files of this codec hold quantizer.kind=normalized only",
    )
    rows = [*_encoder(len(model.strides)), *_decoder(len(model.strides)), *_quantizer(model.quantizer.num_codebooks)]
    return [
        weight
        for theirs, descripts, path, make in rows
        for weight in make(descripts if original else theirs, ("params", "codes", *path))
    ]


def _encoder(num_blocks: int) -> Iterator[Row]:
    theirs, descripts, path = "encoder", "encoder.block", ("encoder",)
    yield f"{theirs}.conv1", f"{descripts}.0", (*path, "first"), weight_table.convolution
    for n in range(num_blocks):
        block = f"{theirs}.block.{n}", f"{descripts}.{n + 1}.block", (*path, "blocks", n)
        yield from _units(*block, first=0)
        yield f"{block[0]}.snake1", f"{block[1]}.3", (*block[2], "snake"), _snake
        yield f"{block[0]}.conv1", f"{block[1]}.4", (*block[2], "downsampling", "conv"), weight_table.convolution
    yield f"{theirs}.snake1", f"{descripts}.{num_blocks + 1}", (*path, "snake"), _snake
    yield f"{theirs}.conv2", f"{descripts}.{num_blocks + 2}", (*path, "project"), weight_table.convolution


def _decoder(num_blocks: int) -> Iterator[Row]:
    theirs, descripts, path = "decoder", "decoder.model", ("decoder",)
    yield f"{theirs}.conv1", f"{descripts}.0", (*path, "first"), weight_table.convolution
    for n in range(num_blocks):
        block = f"{theirs}.block.{n}", f"{descripts}.{n + 1}.block", (*path, "blocks", n)
        yield f"{block[0]}.snake1", f"{block[1]}.0", (*block[2], "snake"), _snake
        yield f"{block[0]}.conv_t1", f"{block[1]}.1", (*block[2], "upsampling"), weight_table.upsampling
        yield from _units(*block, first=2)
    yield f"{theirs}.snake1", f"{descripts}.{num_blocks + 1}", (*path, "snake"), _snake
    yield f"{theirs}.conv2", f"{descripts}.{num_blocks + 2}", (*path, "out"), weight_table.convolution


def _units(theirs: str, descripts: str, path: weight_table.Path, first: int) -> Iterator[Row]:
    """The three residual units of a block; Descript numbers them from `first`."""
    parts = (
        ("snake1", "before_dilated", _snake),
        ("conv1", "dilated", weight_table.convolution),
        ("snake2", "before_project", _snake),
        ("conv2", "project", weight_table.convolution),
    )
    for n in range(3):
        for number, (name, part, make) in enumerate(parts):
            original = f"{descripts}.{first + n}.block.{number}"
            yield f"{theirs}.res_unit{n + 1}.{name}", original, (*path, "units", n, part), make


def _quantizer(num_codebooks: int) -> Iterator[Row]:
    for q in range(num_codebooks):
        name, path = f"quantizer.quantizers.{q}", ("quantizer", "stages", q) if num_codebooks > 1 else ("quantizer",)
        for theirs, part in (("in_proj", "project_in"), ("out_proj", "project_out")):
            yield f"{name}.{theirs}", f"{name}.{theirs}", (*path, part), weight_table.projection
        yield f"{name}.codebook", f"{name}.codebook", (*path, "table", "learned"), _entries


def _snake(name: str, path: weight_table.Path) -> list[weight_table.Weight]:
    return [weight_table.Weight(f"{name}.alpha", (*path, "alpha"), ones=(0, 2))]


def _entries(name: str, path: weight_table.Path) -> list[weight_table.Weight]:
    return [weight_table.Weight(f"{name}.weight", path)]


def _infer(tensors: Mapping[str, Any], original: bool, checkpoint: pathlib.Path) -> config.DACConfig:
    """The sizes that a file's shapes tell; the sample rate is not among them."""
    names = ("encoder.block.{}.block.4.weight", "encoder.block.{}.conv1.weight")
    strided, first = (names[0], 1) if original else (names[1], 0)
    last = "decoder.model.0.weight" if original else "decoder.conv1.weight"

    def shape(name: str, rank: int) -> tuple[int, ...]:
        found = tuple(tensors[name].shape) if name in tensors else ()
        config.require(
            len(found) == rank,
            f"{checkpoint} holds no Descript Audio Codec: {name} must have {rank} axes, and "
            + (f"has shape {list(found)}" if name in tensors else f"its keys are {', '.join(list(tensors)[:3])} ..."),
        )
        return found

    number = next(n for n in range(len(tensors) + 1) if strided.format(n + first) not in tensors)
    books = next(n for n in range(len(tensors) + 1) if f"quantizer.quantizers.{n}.codebook.weight" not in tensors)
    num_codes, lookup_width = shape("quantizer.quantizers.0.codebook.weight", 2)
    model = config.DACConfig(
        strides=tuple(shape(strided.format(n + first), 3)[2] // 2 for n in range(number)),
        encoder_width=shape("encoder.block.0.weight" if original else "encoder.conv1.weight", 3)[0],
        decoder_width=shape(last, 3)[0],
        quantizer=config.QuantizerConfig(
            kind="normalized",
            num_codes=num_codes,
            num_codebooks=books,
            codebook_dropout=0.5 if books > 1 else 0.0,
            code_width=shape("quantizer.quantizers.0.in_proj.weight", 3)[1],
            lookup_width=lookup_width,
        ),
    )
    model.validate()
    return model


def _sample_rate(model: config.DACConfig, beside: Mapping[str, Any], checkpoint: pathlib.Path) -> int:
    """What a file's metadata, or config.json beside it, says; else that of the release of these sizes."""
    metadata = beside.get("metadata", {})
    kwargs = metadata.get("kwargs", {}) if isinstance(metadata, dict) else {}
    if "sample_rate" in kwargs:
        return records.check(int, kwargs["sample_rate"], f"{checkpoint}: metadata.kwargs.sample_rate")
    path = checkpoint.parent / "config.json"
    if pathlib.Path(buckets.fetched(path)).is_file():
        values = records.check(dict[str, Any], files.read_json(path), str(path))
        if "sampling_rate" in values:
            return records.check(int, values["sampling_rate"], f"{path}: sampling_rate")
    sizes = (model.strides, model.quantizer.num_codebooks)
    if sizes not in RELEASED:
        raise UserError(
            f"{checkpoint}: nothing says at which rate its audio is sampled, and strides {sizes[0]} with {sizes[1]} "
            'codebooks were not published: put config.json with "sampling_rate" beside it'
        )
    return RELEASED[sizes]


def _add_codebook_buffers(tree: weight_table.Tree, run: config.DACTraining) -> None:
    """Adds what published files leave out, in place: offsets of nothing, and for every code the count of uniform usage
    at the batch of `run`."""
    size = run.model.quantizer
    usage = run.data.batch_size * run.clip_samples / run.model.hop_length / size.num_codes

    def table() -> weight_table.Tree:
        shape = (size.num_codes, size.lookup_width)
        counts = np.full(size.num_codes, usage, np.float32)
        return {"table": {"offsets": np.zeros(shape, np.float32), "counts": counts}}

    several = size.num_codebooks > 1
    stages = {"stages": {q: table() for q in range(size.num_codebooks)}} if several else table()
    tree["buffers"] = {"codes": {"quantizer": stages}}


def _normalized(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernels of convolutions as lengths and directions, as Descript's training leaves them."""
    found = {}
    for name, array in tensors.items():
        layer = name.removesuffix(".weight")
        if layer == name or layer.endswith(".codebook"):
            found[name] = array
        else:
            found[f"{layer}.weight_g"], found[f"{layer}.weight_v"] = weight_norm.split(array)
    return found


def _metadata(model: config.DACConfig) -> dict[str, Any]:
    size = model.quantizer
    kwargs = {
        "encoder_dim": model.encoder_width,
        "encoder_rates": list(model.strides),
        "latent_dim": size.code_width,
        "decoder_dim": model.decoder_width,
        "decoder_rates": list(reversed(model.strides)),
        "n_codebooks": size.num_codebooks,
        "codebook_size": size.num_codes,
        "codebook_dim": size.lookup_width,
        "quantizer_dropout": size.codebook_dropout,
        "sample_rate": model.sample_rate,
    }
    return {"kwargs": kwargs}


def settings(model: config.DACConfig) -> dict[str, Any]:
    """config.json of Hugging Face's `DacModel`."""
    size = model.quantizer
    return {
        "architectures": ["DacModel"],
        "model_type": "dac",
        "encoder_hidden_size": model.encoder_width,
        "downsampling_ratios": list(model.strides),
        "upsampling_ratios": list(reversed(model.strides)),
        "decoder_hidden_size": model.decoder_width,
        "hidden_size": size.code_width,
        "hop_length": model.hop_length,
        "n_codebooks": size.num_codebooks,
        "codebook_size": size.num_codes,
        "codebook_dim": size.lookup_width,
        "quantizer_dropout": size.codebook_dropout,
        "sampling_rate": model.sample_rate,
    }

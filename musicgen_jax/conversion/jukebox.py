"""Jukebox's published models <-> native workdirs: which models a file holds, and the two directions.

A torch file holds one model. A file of Hugging Face's `JukeboxModel` holds the VQ-VAE and its three priors.
"""

import dataclasses
import functools
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import jax

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.conversion import (
    checkpoint_files,
    hugging_face_names,
    jukebox_prior,
    jukebox_vqvae,
    native,
    weight_table,
)
from musicgen_jax.priors import jukebox_labels
from musicgen_jax.runtime import buckets, console, files
from musicgen_jax.runtime.errors import UserError

LICENCE = (
    "Jukebox's weights are under OpenAI's Noncommercial Use License: neither they nor anything generated with them may "
    "be used commercially. The licence stays with the converted files."
)
# Where Hugging Face's JukeboxModel keeps its parts, and the folder each is converted to.
_PARTS = {"vqvae": "vqvae", "priors.0": "top", "priors.1": "middle", "priors.2": "bottom"}

Tensors = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Model:
    """A native model that a file holds.

    Attributes:
      run: what becomes its config.json.
      model: the part of it that describes the weights.
      table: of its weights, with the names of this file.
      abstract: shapes and dtypes of its weights.
      complete: adds to the native weights what the file does not hold.
    """

    run: Any
    model: Any
    table: list[weight_table.Weight]
    abstract: weight_table.Tree
    complete: Callable[[weight_table.Tree], None]


def import_checkpoint(
    checkpoint: pathlib.Path, out: pathlib.Path, tier: str = "", configs: Mapping[str, Any] | None = None
) -> None:
    """Published file -> native workdir: `out` itself for one model, a folder in it for each of several.

    Names of artists and genres that lie beside the checkpoint (`jukebox_labels.FILES`) are copied. Nothing is written
    before every name and shape is known to fit. Memory holds one model at a time, in float32, twice while Orbax writes
    it; and what of the file cannot be read tensor by tensor.

    Args:
      checkpoint: see `checkpoint_files.read`.
      out: new or empty.
      tier: "middle" or "bottom" for a file with one upsampler.
      configs: {folder: VQVAETraining or JukeboxPriorConfig} of models in other sizes than the published ones; the
        folder is "" where the file holds one model.

    Raises:
      NotFoundError: no such file.
      UserError: it holds something else; every missing, unexpected and mis-shaped key of all its models is listed.
    """
    files.output_folder(out)
    parts = _split(checkpoint_files.read(checkpoint), checkpoint)
    config.require(
        not tier or list(parts) == [""], f"`tier`={tier}: {checkpoint} names the tiers of its models; leave `tier` out"
    )
    configs = configs or {}
    models = {
        folder: _identify(tensors, tier or folder, configs.get(folder), checkpoint) for folder, tensors in parts.items()
    }
    weight_table.require_none(
        [
            f"{folder}: {line}" if folder else line
            for folder, model in models.items()
            for line in weight_table.differences(model.table, parts[folder], model.abstract)
        ]
    )
    with files.all_or_nothing(out):
        for folder, model in models.items():
            _write_native(model, parts[folder], out / folder)
        for name in jukebox_labels.FILES.values():  # which sampling reads
            if pathlib.Path(buckets.fetched(checkpoint.parent / name)).is_file():
                shutil.copyfile(checkpoint.parent / name, out / name)


def export_checkpoint(workdir: pathlib.Path, checkpoint: pathlib.Path) -> None:
    """Native workdir -> published file of one model; inverse of `import_checkpoint`.

    Memory holds the model once for .safetensors, which is written array by array, and twice for torch.

    Args:
      workdir: of train_vqvae or of `import_checkpoint`.
      checkpoint: new; its extension chooses the format, and with it the names: Hugging Face's in .safetensors.

    Raises:
      NotFoundError: no workdir.
      UserError: `checkpoint` exists or has another extension; the model has parts that Jukebox's has not.
    """
    checkpoint_files.check_new(checkpoint)
    if kinds.in_folder(workdir) is kinds.KINDS["jukebox_prior"]:
        _, (params, buffers), model = pretrained.load_jukebox_prior(str(workdir))
        table = jukebox_prior.weights(model)
    else:
        run, params, buffers = pretrained.load_vqvae_weights(str(workdir))
        table = jukebox_vqvae.weights(run.model)
    if checkpoint.suffix == ".safetensors":
        table = hugging_face_names.rename(table)
    console.say_devices()
    checkpoint_files.export(checkpoint, weight_table.to_published(table, {"params": params, "buffers": buffers}))


def _write_native(model: Model, tensors: Tensors, workdir: pathlib.Path) -> None:
    console.say_devices()
    count = sum(leaf.size for leaf in jax.tree.leaves(model.abstract["params"]))
    print(f"{files.describe_path(workdir)}: {count:,} parameters, takes up to {8e-9 * count:.2f} GB of memory")
    tree = weight_table.to_native(model.table, tensors, model.abstract)
    model.complete(tree)
    native.write(workdir, model.run, model.model, tree)


def _split(tensors: Tensors, checkpoint: pathlib.Path) -> dict[str, Tensors]:
    """{folder: tensors of one model}: several if the names say so, else {"": tensors}."""
    if not any(name.startswith(("vqvae.", "priors.")) for name in tensors):
        return {"": {_as_released(name): tensor for name, tensor in tensors.items()}}
    parts: dict[str, dict[str, Any]] = {}
    strays = []
    for name, tensor in tensors.items():
        part = next((part for part in _PARTS if name.startswith(f"{part}.")), None)
        if part is None:
            strays.append(name)
        else:
            parts.setdefault(_PARTS[part], {})[name.removeprefix(f"{part}.")] = tensor
    config.require(not strays, f"{checkpoint} holds tensors outside of {', '.join(_PARTS)}: {', '.join(strays)}")
    return parts


def _as_released(name: str) -> str:
    """As released: Jukebox names a list of residual blocks `blocks` or `model`, depending on how it was trained."""
    name = re.sub(r"^((?:en|de)coders\..*)\.blocks\.(\d+)\.model\.", r"\1.model.\2.model.", name)
    return re.sub(r"^(conditioner_blocks\..*)\.model\.(\d+)\.model\.", r"\1.blocks.\2.model.", name)


def _identify(tensors: Tensors, tier: str, run: Any, checkpoint: pathlib.Path) -> Model:
    """The model that these tensors are of, in the size of `run` or as published; `tier` may be empty."""
    if any(name.startswith("encoders.") for name in tensors):
        config.require(tier in ("", "vqvae"), f"`tier`={tier}: {checkpoint} holds the VQ-VAE; leave `tier` out")
        run = run or jukebox_vqvae.released()
        model, table = run.model, jukebox_vqvae.weights(run.model)
        complete = functools.partial(jukebox_vqvae.add_codebook_averages, run=run)
    elif any(name.startswith("prior.") for name in tensors):
        run = model = run or _infer_prior(tensors, tier, checkpoint)
        model.validate()
        table, complete = jukebox_prior.weights(model), lambda tree: None
    else:
        raise UserError(
            f"{checkpoint} holds no model of Jukebox: no key begins with encoders. (VQ-VAE) or prior.; its first keys "
            f"are {', '.join(list(tensors)[:3])}"
        )
    if hugging_face_names.are_used(tensors):
        table = hugging_face_names.rename(table)
    return Model(run, model, table, native.abstract(kinds.of(run).functional(run)), complete)


def _infer_prior(tensors: Tensors, tier: str, checkpoint: pathlib.Path) -> config.JukeboxPriorConfig:
    names = hugging_face_names.original_names(tensors) if hugging_face_names.are_used(tensors) else {}
    shapes = {names.get(name, name): tuple(tensor.shape) for name, tensor in tensors.items()}
    config.require(
        tier or not any(name.startswith("conditioner_blocks.") for name in shapes),
        f"{checkpoint} holds an upsampler, and the two look alike: say which one it is with `tier`=middle or bottom",
    )
    return jukebox_prior.infer_config(shapes, tier=tier or "top")

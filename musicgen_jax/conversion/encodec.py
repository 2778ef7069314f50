"""EnCodec's published models <-> native workdirs.

Read are Hugging Face's files with their config.json, audiocraft's compression_state_dict.bin, which says in a text what
it is, and the original repository's .th files of 24 and 48 kHz. Written are the first two.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.conversion import checkpoint_files, encodec_settings, encodec_weights, native, weight_table
from musicgen_jax.runtime import console, files

LICENCE = (
    "EnCodec's code is under the MIT licence; its published weights are under CC-BY-NC 4.0: neither they nor anything "
    "made from them may be used commercially. The licence stays with the converted files."
)


def import_checkpoint(checkpoint: pathlib.Path, out: pathlib.Path, bandwidth: float = 0.0) -> None:
    """Published file -> native workdir.

    Args:
      checkpoint: see `checkpoint_files.read`; config.json beside it is read where there is one.
      out: new or empty.
      bandwidth: kbit/s, of the first codebooks that are kept; 0 keeps all.

    Raises:
      NotFoundError: no such file.
      UserError: it holds something else, or says too little of what it holds; every missing, unexpected and mis-shaped
        key is listed.
    """
    files.output_folder(out)
    tensors, beside = checkpoint_files.read_wrapped(checkpoint, "best_state")
    settings = encodec_settings.of_file(checkpoint, encodec_weights.plain(tensors), beside)
    with files.all_or_nothing(out):
        import_tensors(tensors, settings, out, bandwidth)


def import_tensors(
    tensors: Mapping[str, Any], settings: config.EncodecConfig, out: pathlib.Path, bandwidth: float = 0.0
) -> None:
    """Tensors of one EnCodec, under the names of any published file, -> native workdir `out`, new or empty.

    Raises:
      UserError: they are not those of a model of these settings.
    """
    plain = encodec_weights.plain(tensors)
    if bandwidth:
        settings.quantizer.num_codebooks, there = settings.codebooks_of(bandwidth), plain
        left_out = range(settings.quantizer.num_codebooks, 10_000)
        dropped = {f"quantizer.layers.{index}" for index in left_out}
        plain = {name: there[name] for name in there if ".".join(name.split(".")[:3]) not in dropped}
    averages = all(
        f"quantizer.layers.{index}.codebook.{name}" in plain
        for index in range(settings.quantizer.num_codebooks)
        for name in ("cluster_size", "embed_avg")
    )
    if not averages:
        plain = {name: plain[name] for name in plain if not name.endswith((".cluster_size", ".embed_avg"))}
    run = config.EncodecTraining(model=settings, clip_samples=settings.hop_length * 50)
    abstract = native.abstract(kinds.of(run).functional(run))
    tree = weight_table.to_native(encodec_weights.weights(settings, averages), plain, abstract)
    if not averages:
        encodec_weights.add_averages(tree, settings)
    console.say_devices()
    native.write(out, run, run.model, tree)


def export_checkpoint(workdir: pathlib.Path, checkpoint: pathlib.Path) -> None:
    """Native workdir -> Hugging Face's .safetensors with config.json beside it, or audiocraft's torch file.

    Raises:
      NotFoundError: no workdir.
      UserError: `checkpoint` exists or has another extension, config.json would replace another, or the quantizer is
        not EnCodec's.
    """
    checkpoint_files.check_new(checkpoint)
    run, params, buffers = pretrained.load_encodec_weights(str(workdir))
    settings = run.model
    config.require(
        settings.quantizer.kind == "ema",
        f"quantizer.kind={settings.quantizer.kind}: EnCodec's files hold quantizer.kind=ema only",
    )
    plain = weight_table.to_published(encodec_weights.weights(settings), {"params": params, "buffers": buffers})
    original = checkpoint.suffix != ".safetensors"
    tensors = encodec_weights.published(plain, settings, original)
    if original:
        config.require(
            not settings.chunk_seconds,
            f"{checkpoint}: audiocraft's files have no chunks, of which this model has {settings.chunk_seconds:g} s: "
            "write a .safetensors file",
        )
        about = {"xp.cfg": encodec_settings.to_audiocraft(settings), "version": "1.3.0", "exported": True}
        checkpoint_files.export(checkpoint, tensors, "best_state", about)
        return
    path = checkpoint.with_name("config.json")
    config.require(
        not path.exists(), f"{path} exists: Hugging Face's config.json would replace it; choose a folder of its own"
    )
    checkpoint_files.export(checkpoint, tensors)
    files.write_json(path, encodec_settings.to_hugging_face(settings))

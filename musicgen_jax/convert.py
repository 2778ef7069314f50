"""Published checkpoints <-> native ones.

    python -m musicgen_jax.convert --source=jukebox --checkpoint=vqvae.pth.tar --out=DIR
    python -m musicgen_jax.convert --source=musicgen --checkpoint=musicgen-small --out=DIR
    python -m musicgen_jax.convert --source=jukebox --direction=export --checkpoint=vqvae.safetensors --out=DIR

The first reads FILE and writes the workdir DIR, the second reads DIR and writes FILE. Pickles are never executed.
"""

import pathlib
import types

from absl import flags

from musicgen_jax.command_line import cli

SOURCES = ("jukebox", "encodec", "dac", "t5", "musicgen")  # each a module of `conversion`: see `_source`

_SOURCE = flags.DEFINE_enum("source", None, SOURCES, "Whose checkpoint it is.", required=True)
_CHECKPOINT = cli.define_path(
    "checkpoint",
    None,
    "The published file; of MusicGen also its folder. Read: a torch file with one model, or Hugging Face's "
    ".safetensors or its .index.json, with one model or several. Written by --direction=export: the extension chooses "
    "the format, .safetensors with Hugging Face's names, .pth.tar, .pth, .pt or .bin for torch with the original "
    "names.",
    required=True,
    writes=True,
)
_OUT = cli.define_path(
    "out",
    None,
    "The native workdir, in both directions: written by import, where a file with several models becomes DIR/vqvae, "
    "DIR/top, DIR/middle and DIR/bottom, a MusicGen DIR/vqvae, DIR/codes and DIR/text_encoder; read by export, which "
    "takes the workdir of one model, of a MusicGen all three.",
    required=True,
    writes=True,
)
_DIRECTION = flags.DEFINE_enum("direction", "import", ["import", "export"], "Published -> native, or native -> it.")
_TIER = flags.DEFINE_enum(
    "tier",
    "",
    ["", "middle", "bottom"],
    "Which upsampler a file with one prior holds; the files of the two look alike.",
)

_BANDWIDTH = flags.DEFINE_float(
    "bandwidth", 0.0, "kbit/s of an EnCodec: its first codebooks are kept, as many as that has room for; 0: all."
)


def main() -> None:
    """Flags -> parts -> one call."""
    from musicgen_jax import config

    config.require(
        not _TIER.value or _SOURCE.value == "jukebox", f"`tier`={_TIER.value}: only files of Jukebox have tiers"
    )
    config.require(
        not _BANDWIDTH.value or _SOURCE.value == "encodec",
        f"`bandwidth`={_BANDWIDTH.value:g}: only files of EnCodec have bandwidths",
    )
    source, checkpoint, workdir = _source(), pathlib.Path(_CHECKPOINT.value), pathlib.Path(_OUT.value)
    print(source.LICENCE)
    if _DIRECTION.value == "export":
        source.export_checkpoint(workdir, checkpoint)
        return
    given = {"tier": _TIER.value, "bandwidth": _BANDWIDTH.value}
    source.import_checkpoint(checkpoint, workdir, **{name: value for name, value in given.items() if value})
    _say_imported(workdir, source.LICENCE)


def _source() -> types.ModuleType:
    """Who knows files of --source, by its LICENCE, import_checkpoint(FILE, DIR) and export_checkpoint(DIR, FILE)."""
    from musicgen_jax.conversion import dac, encodec, jukebox, musicgen, t5

    return {"jukebox": jukebox, "encodec": encodec, "dac": dac, "t5": t5, "musicgen": musicgen}[_SOURCE.value]


def _say_imported(workdir: pathlib.Path, licence: str) -> None:
    """Writes the card of each model in a folder, and says how they are tried."""
    from musicgen_jax import kinds, model_card
    from musicgen_jax.command_line import closing

    places = [place for place in (workdir, *sorted(workdir.iterdir())) if place.is_dir()]
    found = {str(place): kind for place in places if (kind := kinds.in_folder(place)) is not None}
    for place in found:
        model_card.write(place, licence)
    if [kind.config.kind for kind in found.values()] == ["t5"]:
        closing.after_convert_text(str(workdir))
        return
    tokenizer = next((place for place, kind in found.items() if kind.data == "audio"), "")
    holds_priors = any(kind.data != "audio" for kind in found.values())
    closing.after_convert(str(workdir), tokenizer, holds_priors, kinds.KINDS["t5"] in found.values())


if __name__ == "__main__":
    cli.run(main)

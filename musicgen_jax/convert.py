"""Published checkpoints <-> native ones.

    python -m musicgen_jax.convert --source=jukebox --checkpoint=vqvae.pth.tar --out=DIR
    python -m musicgen_jax.convert --source=jukebox --direction=export --checkpoint=vqvae.safetensors --out=DIR

The first reads FILE and writes the workdir DIR, the second reads DIR and writes FILE. Pickles are never executed.
"""

import pathlib

from absl import flags

from musicgen_jax.command_line import cli

_SOURCE = flags.DEFINE_enum("source", None, ["jukebox"], "Whose checkpoint it is.", required=True)
_CHECKPOINT = cli.define_path(
    "checkpoint",
    None,
    "The published file. Read: a torch file with one model, or Hugging Face's .safetensors or its .index.json, with "
    "one model or with the VQ-VAE and all priors. Written by --direction=export: the extension chooses the format, "
    ".safetensors with Hugging Face's names, .pth.tar, .pth, .pt or .bin for torch with the original names.",
    required=True,
    writes=True,
)
_OUT = cli.define_path(
    "out",
    None,
    "The native workdir, in both directions: written by import, where a file with several models becomes DIR/vqvae, "
    "DIR/top, DIR/middle and DIR/bottom; read by export, which takes the workdir of one model.",
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


def main() -> None:
    """Flags -> parts -> one call."""
    from musicgen_jax import kinds, model_card
    from musicgen_jax.command_line import closing
    from musicgen_jax.conversion import jukebox

    print(jukebox.LICENCE)
    checkpoint, workdir = pathlib.Path(_CHECKPOINT.value), pathlib.Path(_OUT.value)
    if _DIRECTION.value == "import":
        jukebox.import_checkpoint(checkpoint, workdir, _TIER.value)
        found = {
            str(place): kinds.in_folder(place) for place in (workdir, *sorted(workdir.iterdir())) if place.is_dir()
        }
        for place, kind in found.items():
            if kind is not None:
                model_card.write(place, jukebox.LICENCE)
        tokenizer = next((place for place, kind in found.items() if kind is kinds.KINDS["vqvae"]), "")
        closing.after_convert(str(workdir), tokenizer, kinds.KINDS["jukebox_prior"] in found.values())
    else:
        jukebox.export_checkpoint(workdir, checkpoint)


if __name__ == "__main__":
    cli.run(main)

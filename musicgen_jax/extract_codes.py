"""Encodes every track of an audio dataset: audio shards + VQ-VAE -> code shards.

    python -m musicgen_jax.extract_codes --vqvae=DIR --data=DIR --out=DIR

Run again, it does nothing where the codes are complete, and starts anew where it was interrupted.
"""

from absl import flags

from musicgen_jax import cli, pretrained
from musicgen_jax.vqvae import extraction

_VQVAE = flags.DEFINE_string("vqvae", None, "Workdir of train_vqvae.", required=True)
_DATA = flags.DEFINE_string("data", None, "Folder written by prepare_data.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", required=True)
_WINDOW_SECONDS = flags.DEFINE_float("window_seconds", 10.0, "Audio encoded at a time; memory grows with it.")


def main() -> None:
    """Flags -> parts -> one call."""
    tokenizer = pretrained.load_vqvae(_VQVAE.value)
    extraction.extract(tokenizer, _DATA.value, _OUT.value, _WINDOW_SECONDS.value)


if __name__ == "__main__":
    cli.run(main)

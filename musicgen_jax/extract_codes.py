"""Encodes every track of an audio dataset, or one recording: audio + VQ-VAE -> codes.

    python -m musicgen_jax.extract_codes --vqvae=DIR --data=DIR --out=DIR
    python -m musicgen_jax.extract_codes --vqvae=DIR --file=IN.wav --out=X.codes

Run again with --data, it does nothing where the codes are complete, and goes on where it was interrupted. Of several
processes (launch/local_processes.sh, or --distributed on a cluster) each encodes its share of the data.
The file of codes becomes sound again with `python -m musicgen_jax.sample --decode=X.codes`.
"""

from absl import flags

from musicgen_jax import config
from musicgen_jax.command_line import cli, model_flags
from musicgen_jax.runtime import allocator
from musicgen_jax.training import verification

verification.define()
model_flags.define_tokenizer()
_DATA = cli.define_path("data", None, "Folder written by prepare_data.")
_FILE = cli.define_path("file", None, "One recording instead: wav, flac, ogg or mp3 of any rate.")
_OUT = cli.define_path("out", None, "Folder to write; with --file, the file to write.", required=True, writes=True)
_WINDOW_SECONDS = flags.DEFINE_float("window_seconds", 10.0, "Audio of a window; memory grows with it.")
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "Windows encoded at a time, of --data: 8, or 2 on a CPU; memory grows with it."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "This is one process of a Cloud TPU pod, GKE, Slurm or Open MPI job; each does its share."
)
flags.mark_flags_as_mutual_exclusive(["data", "file"], required=True)
cli.require_one_machine(["out"], "distributed", [True])


def main() -> None:
    """Flags -> parts -> one call."""
    vqvae = model_flags.tokenizer()
    allocator.return_memory()
    if _FILE.value is not None:
        _extract_file(vqvae)
        return
    from musicgen_jax.training import distributed

    with distributed.processes(config.MeshConfig(), _DISTRIBUTED.value):
        _extract(vqvae)


def _extract_file(vqvae: str) -> None:
    from musicgen_jax import pretrained
    from musicgen_jax.command_line import closing
    from musicgen_jax.tokenizers import extraction

    extraction.extract_file(pretrained.load_vqvae(vqvae), _FILE.value, _OUT.value, _WINDOW_SECONDS.value)
    closing.after_extract_file(vqvae, _OUT.value)


def _extract(vqvae: str) -> None:
    from musicgen_jax import pretrained
    from musicgen_jax.codes import code_shards
    from musicgen_jax.command_line import closing
    from musicgen_jax.tokenizers import extraction

    tokenizer = pretrained.load_vqvae(vqvae)
    extraction.extract(tokenizer, _DATA.value, _OUT.value, _WINDOW_SECONDS.value, _BATCH_SIZE.value)
    scored = code_shards.read_facts(_OUT.value).scores
    closing.after_extract_codes(_OUT.value, tokenizer.layout.names, scored)


if __name__ == "__main__":
    cli.run(main)

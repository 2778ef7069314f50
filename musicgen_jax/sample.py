"""Samples new music: priors -> codes -> wav.

    python -m musicgen_jax.sample --vqvae=DIR --top=DIR --middle=DIR --bottom=DIR --out=DIR --seconds=8 --num_samples=4

Without --bottom (or --middle) the audio is decoded from the finest tier that there is.
"""

from absl import flags

from musicgen_jax import cli, pretrained
from musicgen_jax.sampling import hierarchy, logits, output

_VQVAE = flags.DEFINE_string("vqvae", None, "Workdir of train_vqvae.", required=True)
_TOP = flags.DEFINE_string("top", None, "Workdir of the top prior.", required=True)
_MIDDLE = flags.DEFINE_string("middle", "", "Workdir of the middle prior.")
_BOTTOM = flags.DEFINE_string("bottom", "", "Workdir of the bottom prior.")
_OUT = flags.DEFINE_string("out", None, "Folder for NNN.wav, codes.npz and samples.json.", required=True)
_SECONDS = flags.DEFINE_float("seconds", 8.0, "Length of each sample.")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 4, "How many samples.")
_SEED = flags.DEFINE_integer("seed", 0, "Same seed, same samples.")
_TOP_P = flags.DEFINE_float("top_p", 0.9, "Nucleus: the fewest codes whose probabilities reach this; 1 keeps all.")
_TOP_K = flags.DEFINE_integer("top_k", 0, "Only the k most probable codes; 0 keeps all.")
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Below 1 safer, above 1 wilder.")
_GENRE = flags.DEFINE_list("genre", [], "Genre labels, taken by turns; a wrong one lists those the priors know.")
_ARTIST = flags.DEFINE_string("artist", "", "Artist label.")
_HOP_FRACTION = flags.DEFINE_float("hop_fraction", 0.5, "How far each window moves on, as a share of the context.")
_TOTAL_SECONDS = flags.DEFINE_float("total_seconds", 0.0, "Length of the piece the samples begin; 0 takes the usual.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Samples at a time; changes the speed, not the result.")


def main() -> None:
    """Flags -> parts -> one call."""
    tokenizer = pretrained.load_vqvae(_VQVAE.value)
    workdirs = {"top": _TOP.value, "middle": _MIDDLE.value, "bottom": _BOTTOM.value}
    priors = {tier: pretrained.load_prior(workdir, tier) for tier, workdir in workdirs.items() if workdir}
    request = hierarchy.Request(
        seconds=_SECONDS.value,
        num_samples=_NUM_SAMPLES.value,
        seed=_SEED.value,
        settings=logits.SamplingSettings(_TEMPERATURE.value, _TOP_P.value, _TOP_K.value),
        genres=tuple(_GENRE.value),
        artist=_ARTIST.value,
        hop_fraction=_HOP_FRACTION.value,
        total_seconds=_TOTAL_SECONDS.value,
        batch_size=_BATCH_SIZE.value,
    )
    output.sample_to_folder(tokenizer, priors, request, _OUT.value, models={"vqvae": _VQVAE.value} | workdirs)


if __name__ == "__main__":
    cli.run(main)

"""Samples new music: priors -> codes -> wav. Or turns a recording's codes into sound again.

    python -m musicgen_jax.sample --vqvae=DIR --top=DIR --middle=DIR --bottom=DIR --out=DIR --seconds=8 --num_samples=4

    python -m musicgen_jax.sample --vqvae=DIR --decode=X.codes --out=OUT.wav --tier=top

Without --bottom (or --middle, or --tier) the audio is decoded from the finest tier that there is.
"""

from typing import Any

from absl import flags

from musicgen_jax import allocator, cli, config, pretrained
from musicgen_jax.sampling import hierarchy, logits, output

_VQVAE = flags.DEFINE_string("vqvae", None, "Workdir of train_vqvae.", required=True)
_TOP = flags.DEFINE_string("top", None, "Workdir of the top prior.")
_MIDDLE = flags.DEFINE_string("middle", "", "Workdir of the middle prior.")
_BOTTOM = flags.DEFINE_string("bottom", "", "Workdir of the bottom prior.")
_OUT = flags.DEFINE_string(
    "out", None, "Folder for NNN.wav, codes.npz, samples.json; with --decode, a wav file.", required=True
)
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
_DECODE = flags.DEFINE_string("decode", None, "File of codes that extract_codes --file wrote; nothing is sampled.")
_TIER = flags.DEFINE_enum("tier", None, config.TIERS, "Tier of --decode; by default the finest in the file.")


@flags.multi_flags_validator(["decode", "top", "tier"])
def _require_one_of_two_ways(values: dict[str, Any]) -> bool:
    """Either the flags of --decode or those of sampling."""
    if values["decode"] is None:
        if values["top"] is None:
            raise flags.ValidationError(
                "Flag --top must have a value (or --decode, to turn a file of codes into sound)."
            )
        if values["tier"] is not None:
            raise flags.ValidationError("--tier goes with --decode; sampling decodes the finest tier that has a prior.")
        return True
    sampling = (_TOP, _MIDDLE, _BOTTOM, _SECONDS, _NUM_SAMPLES, _SEED, _TOP_P, _TOP_K, _TEMPERATURE, _GENRE, _ARTIST)
    sampling += (_HOP_FRACTION, _TOTAL_SECONDS, _BATCH_SIZE)
    given = ", ".join(f"--{flag.name}" for flag in sampling if flags.FLAGS[flag.name].present)
    if given:
        raise flags.ValidationError(f"--decode samples nothing: leave out {given}.")
    return True


def main() -> None:
    """Flags -> parts -> one call."""
    if _DECODE.value is None:
        _sample()
    else:
        _decode()


def _decode() -> None:
    allocator.return_memory()
    tokenizer = pretrained.load_vqvae(_VQVAE.value)
    output.decode_to_wav(tokenizer, _DECODE.value, _TIER.value, _OUT.value)


def _sample() -> None:
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

"""Samples new music: priors -> codes -> wav. Or turns a recording's codes into sound again.

    python -m musicgen_jax.sample --vqvae=DIR --top=DIR --middle=DIR --bottom=DIR --out=DIR --seconds=8 --num_samples=4

    python -m musicgen_jax.sample --model=DIR --out=DIR        with a tokenizer and priors in the folders of DIR

    python -m musicgen_jax.sample ... --mode=continue --prime=FILE.wav      goes on from a recording
    python -m musicgen_jax.sample ... --mode=primed --prime=FILE.wav        likewise, finer tiers new from the beginning
    python -m musicgen_jax.sample ... --mode=upsample --prime=FILE.codes    finer tiers for the codes of a coarse one

    python -m musicgen_jax.sample ... --score=FILE.mid    performs a score, with priors that were trained with scores

    python -m musicgen_jax.sample --vqvae=DIR --decode=X.codes --out=OUT.wav --tier=top

Priors of streams by other names: --prior=STREAM:DIR. Without --bottom (or --middle, or --tier) the audio is decoded
from the finest tier that there is. Interrupted and started again, it goes on where it was. What takes a value "by tier"
takes one for all, --temperature=0.9, or one for each, --temperature=top:0.9,bottom:1.1. In Python:
`musicgen_jax.load(...)`.
"""

from typing import Any

from absl import flags

from musicgen_jax import config
from musicgen_jax.command_line import cli, model_flags
from musicgen_jax.runtime import allocator
from musicgen_jax.training import verification

verification.define()
model_flags.define_all()
_OUT = cli.define_path(
    "out", None, "Folder for NNN.wav, codes.npz, samples.json; with --decode, a wav file.", required=True
)
_SECONDS = flags.DEFINE_float(
    "seconds", None, "Length of each sample, prompt included; the score's, or 8; with --mode=upsample the prompt's own."
)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 4, "How many samples.")
_SEED = flags.DEFINE_integer("seed", 0, "Same seed, same samples.")
_MODE = flags.DEFINE_enum("mode", None, config.MODES, "From nothing or from --prime; continue where that is given.")
_PRIME = cli.define_path(
    "prime", None, "Prompt: a recording, X.codes of extract_codes, codes.npz of samples, or a MIDI file to be played."
)
_SCORE = cli.define_path("score", None, "What is performed: a MIDI or MusicXML file; NNN.mid lies beside NNN.wav.")
_TOP_P = flags.DEFINE_string("top_p", "0.9", "By tier: the fewest codes whose probabilities reach this; 1: all.")
_TOP_K = flags.DEFINE_string("top_k", "0", "By tier: only the k most probable codes; 0 keeps all.")
_TEMPERATURE = flags.DEFINE_string(
    "temperature", "1.0", "By tier: below 1 safer, above 1 wilder; 0.8~1.2 moves from one to the other over the length."
)
_GUIDANCE = flags.DEFINE_string("guidance", "1.0", "By tier: above 1, genre and artist count more than in the data.")
_GENRE = flags.DEFINE_multi_string(
    "genre", [], "Genre labels, taken by turns: NAME,NAME or the flag again; a wrong one lists those the priors know."
)
_ARTIST = flags.DEFINE_string("artist", "", "Artist label.")
_LYRICS = cli.define_path("lyrics", None, "Text file with the words of the whole piece, for priors that hear lyrics.")
_HOP_FRACTION = flags.DEFINE_string("hop_fraction", "0.5", "By tier: how far a window moves on, in contexts.")
_TOTAL_SECONDS = flags.DEFINE_float("total_seconds", 0.0, "Length of the piece the samples begin; 0 takes the usual.")
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "Windows at a time; changes the speed, not the result. 8; of parallel ones 32 a device."
)
_PARALLEL_WINDOWS = flags.DEFINE_bool(
    "parallel_windows",
    False,
    "Middle and bottom windows side by side, --batch_size at a time, on all devices: see windows.independent.",
)
_CACHE_DTYPE = flags.DEFINE_enum("cache_dtype", "compute", config.CACHE_DTYPES, "Of the keys and values of the past.")
_SAMPLER = flags.DEFINE_enum("sampler", None, config.SAMPLERS, "How codes are drawn; by default as the models do it.")
_STEPS = flags.DEFINE_integer("steps", None, "Of the diffusion sampler: parallel steps for a window; 8.")
_DECODE = cli.define_path("decode", None, "File of codes that extract_codes --file wrote; nothing is sampled.")
_TIER = flags.DEFINE_string("tier", None, "Tier of --decode; by default the finest in the file.")
_BY_TIER = (_TEMPERATURE, _TOP_P, _TOP_K, _GUIDANCE, _HOP_FRACTION)
_SAMPLING = (_SECONDS, _NUM_SAMPLES, _SEED, _MODE, _PRIME, _SCORE, *_BY_TIER, _GENRE, _ARTIST, _LYRICS)
_SAMPLING += (_TOTAL_SECONDS, _BATCH_SIZE, _PARALLEL_WINDOWS, _CACHE_DTYPE, _SAMPLER, _STEPS)
_MODELS = (*model_flags.NAMED, "prior", "model")


@flags.multi_flags_validator(["decode", "tier", "mode", "top", "prior", "model"])
def _require_one_of_two_ways(values: dict[str, Any]) -> bool:
    """Either the flags of --decode or those of sampling."""
    if values["decode"] is None:
        if values["mode"] != "upsample" and not any(values[name] for name in ("top", "prior", "model")):
            raise flags.ValidationError(
                "Flag --top must have a value (or --decode, to turn a file of codes into sound)."
            )
        if values["tier"] is not None:
            raise flags.ValidationError("--tier goes with --decode; sampling decodes the finest tier that has a prior.")
        return True
    names = (*_MODELS, *(flag.name for flag in _SAMPLING))
    given = ", ".join(f"--{name}" for name in names if flags.FLAGS[name].present)
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
    from musicgen_jax import pretrained
    from musicgen_jax.runtime import console
    from musicgen_jax.sampling import output

    allocator.return_memory()
    tokenizer = pretrained.load_vqvae(model_flags.tokenizer())
    output.decode_to_wav(tokenizer, _DECODE.value, _TIER.value, _OUT.value)
    console.say(f"next: listen to {_OUT.value}")


def _sample() -> None:
    from musicgen_jax import generation
    from musicgen_jax.command_line import closing
    from musicgen_jax.data import labels
    from musicgen_jax.runtime import files
    from musicgen_jax.sampling import sampler_settings

    options = {flag.name: sampler_settings.parse(flag.name, flag.value) for flag in _BY_TIER}
    options |= {flag.name: flag.value for flag in (_MODE, _SAMPLER, _STEPS) if flag.value is not None}
    generator = generation.load(**model_flags.given())
    generator.write(
        _OUT.value,
        _SECONDS.value,
        prompt=_PRIME.value,
        score=_SCORE.value,
        seed=_SEED.value,
        num_samples=_NUM_SAMPLES.value,
        genre=[name for text in _GENRE.value for name in labels.split(text, generator.genres)],
        artist=_ARTIST.value,
        lyrics="" if _LYRICS.value is None else files.read_text(_LYRICS.value),
        total_seconds=_TOTAL_SECONDS.value,
        batch_size=_BATCH_SIZE.value,
        cache_dtype=_CACHE_DTYPE.value,
        parallel_windows=_PARALLEL_WINDOWS.value,
        **options,
    )
    unjudged = {tier for tier, model in generator.priors.items() if model.sampler == "diffusion"}
    judged = {name: path for name, path in generator.models.items() if name not in unjudged}
    closing.after_sample(_OUT.value, judged)


if __name__ == "__main__":
    cli.run(main)

"""Samples new music: priors -> codes -> wav. Or turns a recording's codes into sound again.

    python -m musicgen_jax.sample --vqvae=DIR --top=DIR --middle=DIR --bottom=DIR --out=DIR --seconds=8 --num_samples=4

    python -m musicgen_jax.sample --model=DIR --out=DIR        with a tokenizer and priors in the folders of DIR

    python -m musicgen_jax.sample ... --mode=continue --prime=FILE.wav      goes on from a recording
    python -m musicgen_jax.sample ... --mode=primed --prime=FILE.wav        likewise, finer tiers new from the beginning
    python -m musicgen_jax.sample ... --mode=upsample --prime=FILE.codes    finer tiers for the codes of a coarse one

    python -m musicgen_jax.sample ... --score=FILE.mid    performs a score, with priors that were trained with scores
    python -m musicgen_jax.sample ... --score=DIR         composes with the model in DIR, then performs
    python -m musicgen_jax.sample --score=DIR --out=DIR   composes; the synthesizer plays, in --timbre

    python -m musicgen_jax.sample --model=DIR --out=OUT --text="calm piano" --seconds=30    of a MusicGen
    python -m musicgen_jax.sample ... --text="calm piano" --melody=FILE.wav

    python -m musicgen_jax.sample --vqvae=DIR --decode=X.codes --out=OUT.wav --tier=top

Priors of streams by other names: --prior=STREAM:DIR. Without --bottom (or --middle, or --tier) the audio is decoded
from the finest tier that there is. Interrupted and started again, it goes on where it was. What takes a value "by
stream" takes one for all, --temperature=0.9, or one for each, --temperature=top:0.9,bottom:1.1; what takes names takes
NAME,NAME or the flag again. In Python: `musicgen_jax.load(...)`.
"""

import pathlib
from typing import Any

from absl import flags

from musicgen_jax.command_line import cli, model_flags, option_flags
from musicgen_jax.runtime import allocator
from musicgen_jax.sampling import options
from musicgen_jax.training import verification

verification.define()
model_flags.define_all()
_OUT = cli.define_path(
    "out", None, "Folder for NNN.wav, codes.npz, samples.json; with --decode, a wav file.", required=True, writes=True
)
option_flags.define()
_TEXT_ENCODER = cli.define_path(
    "text_encoder", "", "Workdir of the text encoder of priors that read text; by default that in --model."
)
_DECODE = cli.define_path("decode", None, "File of codes that extract_codes --file wrote; nothing is sampled.")
_TIER = flags.DEFINE_string("tier", None, "Tier of --decode; by default the finest in the file.")
_MODELS = (*model_flags.NAMED, "prior", "model", "text_encoder")


@flags.multi_flags_validator(["decode", "tier", "mode", "top", "prior", "model", "score"])
def _require_one_of_two_ways(values: dict[str, Any]) -> bool:
    """Either the flags of --decode or those of sampling."""
    if values["decode"] is None:
        if values["mode"] != "upsample" and not any(values[name] for name in ("top", "prior", "model", "score")):
            raise flags.ValidationError(
                "Flag --top must have a value (or --decode, to turn a file of codes into sound)."
            )
        if values["tier"] is not None:
            raise flags.ValidationError("--tier goes with --decode; sampling decodes the finest tier that has a prior.")
        return True
    models = [name for name in _MODELS if flags.FLAGS[name].present]
    given = ", ".join(f"--{name}" for name in (*models, *option_flags.present()))
    if given:
        raise flags.ValidationError(f"--decode samples nothing: leave out {given}.")
    return True


def main() -> None:
    """Flags -> parts -> one call."""
    if _DECODE.value is not None:
        _decode()
    elif _composes_alone():
        _compose()
    else:
        _sample()


def _composes_alone() -> bool:
    named = any(flags.FLAGS[name].value for name in (*_MODELS, "vqvae", "tokenizer"))
    score = flags.FLAGS["score"].value
    return score is not None and not named and not pathlib.Path(score).is_file()


def _decode() -> None:
    vqvae = model_flags.tokenizer()
    from musicgen_jax import pretrained
    from musicgen_jax.runtime import console
    from musicgen_jax.sampling import output

    allocator.return_memory()
    output.decode_to_wav(pretrained.load_vqvae(vqvae), _DECODE.value, _TIER.value, _OUT.value)
    console.say(f"next: listen to {_OUT.value}")


def _compose() -> None:
    said = option_flags.given()
    from musicgen_jax import composition
    from musicgen_jax.command_line import closing
    from musicgen_jax.data import labels

    composer = composition.load(said.pop("score"))
    said["genre"] = [one for text in said["genre"] for one in labels.split(text, composer.genres)]
    composer.write(_OUT.value, **said)
    closing.after_compose(_OUT.value)


def _sample() -> None:
    models, said = model_flags.given(), option_flags.given()
    models |= {"text_encoder": _TEXT_ENCODER.value} if _TEXT_ENCODER.value else {}
    from musicgen_jax import generation
    from musicgen_jax.command_line import closing
    from musicgen_jax.data import labels

    generator = generation.load(**models)
    for name in (option.name for option in options.OPTIONS if option.type == "names" and option.name in said):
        said[name] = [one for text in said[name] for one in labels.split(text, generator.genres)]
    number = max(len(said["text"]), len(said["seeds"]))
    if number > 1 and not flags.FLAGS["num_samples"].present:
        said["num_samples"] = number
    generator.write(_OUT.value, **said)
    judged = ("vqvae", *(name for name, prior in generator.priors.items() if prior.scores_codes))
    closing.after_sample(_OUT.value, {name: generator.models[name] for name in judged})


if __name__ == "__main__":
    cli.run(main)

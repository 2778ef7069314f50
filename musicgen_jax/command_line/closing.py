"""The last lines of a command, on stderr: what it wrote, its main figures, and the command to run next.

The next command names its folders by the custom that those of a run lie side by side: RUN/audio, RUN/vqvae, RUN/codes,
RUN/top, RUN/middle, RUN/bottom.
"""

import contextlib
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from musicgen_jax import config
from musicgen_jax.command_line import model_flags
from musicgen_jax.runtime import console, files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.training import metrics

TINY_SAMPLE_RATE = 16000  # of configs/vqvae.py:scale=tiny


def after_prepare_data(out: str, report: Mapping[str, Any]) -> None:
    """Says how long the splits are.

    Args:
      out: the data set's folder.
      report: its report.json.
    """
    splits = [
        f"{split} {sum(report['tracks'][split].values())} tracks, {describe_seconds(3600 * hours)}"
        for split, hours in report["hours"].items()
    ]
    console.say(f"{out}: " + "; ".join(splits))
    if report.get("content") == "scores":
        flags = {"config": "configs/symbolic.py:scale=tiny", "workdir": _beside(out, "score"), "config.data.path": out}
        console.say_next("train_prior", flags)
        return
    sample_rate = report["settings"]["sample_rate"]
    flags = {"config": "configs/vqvae.py:scale=tiny", "workdir": _beside(out, "vqvae"), "config.data.path": out}
    if sample_rate != TINY_SAMPLE_RATE:
        flags["config.model.sample_rate"] = str(sample_rate)
    console.say_next("train_vqvae", flags)


def after_train_vqvae(workdir: str, run: config.VQVAETraining, held_out: tuple[str, str] | None) -> None:
    """Says how well training ended and where to hear it.

    Args:
      workdir: of the run.
      run: its config.
      held_out: the track that `tokenizers.reconstruction` wrote, and its split; None if it did not.
    """
    say_trained(workdir, run.training.num_steps, "loss")
    if held_out is not None:
        track, split = held_out
        finest, *coarser = (f"{name}.wav" for name in reversed(run.model.streams))
        console.say(
            f"first sound: {workdir}/reconstruction/{finest}, from the codes of original.wav beside it ({track}, "
            f"{split} split)" + (f"; {' and '.join(coarser)} are from fewer codes" if coarser else "")
        )
    console.say_next("extract_codes", {"vqvae": workdir, "data": run.data.path, "out": _beside(workdir, "codes")})


def after_extract_codes(out: str, streams: Sequence[str], scored: bool = False) -> None:
    """Says that the prior of the first of the streams comes next, told the score where the codes have scores."""
    config_file = f"configs/prior.py:tier={streams[0]},scale=tiny{',score=true' if scored else ''}"
    workdir = _beside(out, streams[0])
    if workdir == out.rstrip("/"):  # a codec's stream is called as the folder of its codes is
        workdir = f"{workdir}_prior"
    console.say_next("train_prior", {"config": config_file, "workdir": workdir, "config.data.path": out})


def after_extract_file(vqvae: str, out: str) -> None:
    """Says how the file of codes becomes sound."""
    console.say_next(
        "sample", {"vqvae": vqvae, "decode": out, "out": str(pathlib.Path(out).with_suffix(".decoded.wav"))}
    )


def after_train_prior(workdir: str, run: config.PriorTraining, streams: Sequence[str]) -> None:
    """Says how well training ended; next is the first of the streams without a prior, in the same way, or else
    sampling."""
    say_trained(workdir, run.training.num_steps, "nats_per_code")
    own = run.model.tier
    if run.init.path:  # beside the model that it began from are those that it belongs with
        _say_sample({own: workdir}, streams, beside=run.init.path)
        return
    missing = [tier for tier in streams if tier != own and not _is_workdir(_beside(workdir, tier))]
    if not missing:
        _say_sample({own: workdir}, streams)
        return
    given = config_arguments()
    name, _, argument = given.pop("config", "configs/prior.py:scale=tiny").partition(":")
    options = [option for option in argument.split(",") if option and not option.startswith("tier=")]
    config_file = f"{name}:" + ",".join([f"tier={missing[0]}", *options])
    flags = {"config": config_file, "workdir": _beside(workdir, missing[0]), "config.data.path": run.data.path}
    console.say_next("train_prior", flags | given)


def after_train_composer(workdir: str, run: config.ComposerTraining) -> None:
    """Says how well training ended; next is composing."""
    say_trained(workdir, run.training.num_steps, "nats_per_code")
    console.say_next("sample", {"score": workdir, "seconds": "20", "out": _beside(workdir, "compositions")})


def after_compose(out: str) -> None:
    """Says where the scores are, and with which command they and their composer are judged."""
    console.say(f"listen: {out}/000.wav; the score is {out}/000.mid")
    workdir = files.read_json(pathlib.Path(out) / "samples.json")["models"][config.STREAM]
    data = files.read_json(pathlib.Path(workdir) / "config.json")["data"]["path"] or "DIR"
    flags = {"score": workdir, "data": data, "samples": out, "out": _beside(out, "report")}
    console.say_next("evaluate", flags)


def after_sample(out: str, models: Mapping[str, str]) -> None:
    """Says where the samples are, and with which command they are judged.

    Args:
      out: the folder of samples.
      models: "vqvae" and tiers -> workdir, or ""; a composer beside the tokenizer is judged too.
    """
    console.say(f"listen: {out}/000.wav")
    run = files.read_json(pathlib.Path(models["vqvae"]) / "config.json")
    data = run["data"]["path"] or "DIR"  # a published tokenizer was trained on none of ours
    report = _beside(out, "report")
    flags = {"vqvae": models["vqvae"], "data": data, "samples": out} | model_flags.spelled(models)
    if composer := _composer_beside(models["vqvae"]):
        flags["score"] = composer
    console.say_next("evaluate", flags | {"out": report})


def after_evaluate(out: str) -> None:
    """Says what to do with the page, whose path is printed after this."""
    console.say(f"metrics: {out}/metrics.json")
    console.say("next: open the report in a browser; to train longer, repeat the training commands with a larger")
    console.say("      --config.training.num_steps: they go on from their last checkpoints")


def after_compress(out: str, prior: str, tier: str, streams: Sequence[str]) -> None:
    """Says how the smaller or faster model of `tier`, one of the streams, made from that in the folder `prior`, is
    tried."""
    _say_sample({tier: out}, streams, beside=prior)


def after_convert(out: str, tokenizer: str, holds_priors: bool, reads_text: bool = False) -> None:
    """Says how what a folder holds is tried.

    Args:
      out: the folder.
      tokenizer: workdir of the tokenizer in it, or "".
      holds_priors: whether published priors are in it, or it is the workdir of one.
      reads_text: whether a text encoder is beside them.
    """
    if tokenizer and reads_text:
        more = {"text": "calm piano", "seconds": "30", "out": _beside(out, "song")}
        console.say_next("sample", {"model": out} | more)
    elif tokenizer and holds_priors:
        console.say_next("sample", {"model": out, "seconds": "24", "out": _beside(out, "song")})
    elif tokenizer:
        console.say_next("extract_codes", {"vqvae": tokenizer, "file": "SONG.wav", "out": "SONG.codes"})
    else:
        console.say("next: convert the VQ-VAE and the other priors to folders beside it, and sample with --model=")
        console.say(f"      {pathlib.Path(out).absolute().parent}")


def after_convert_text(out: str) -> None:
    """Says what a text encoder is for."""
    more = {
        "config": "configs/musicgen.py:scale=tiny",
        "workdir": "DIR",
        "config.data.path": "CODES",
        "text_encoder": out,
    }
    console.say_next("train_prior", more)


def after_plan(verb: str, fits: bool) -> None:
    """Says how the run that was planned is started, if it fits."""
    if fits:
        console.say_next(verb, {"config": "", "workdir": "DIR", "config.data.path": "DIR"} | config_arguments())
    else:
        console.say('next: plan again with what "change" lists')


def config_arguments() -> dict[str, str]:
    """The arguments --config... of this command as they were typed: name -> value."""
    pairs = (argument.lstrip("-").partition("=") for argument in sys.argv[1:] if argument.startswith("--config"))
    return {name: value for name, _, value in pairs}


def describe_seconds(seconds: float) -> str:
    """A duration for people, such as "8.0 s", "22 min 41 s" or "3 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def say_trained(workdir: str, num_steps: int, name: str) -> None:
    """Says how well training ended: the last validation's figure of that name, where there was one."""
    measured = [line.get(f"eval/{name}") for line in metrics.read(f"{workdir}/metrics.jsonl")]
    measured = [value for value in measured if value is not None]
    figure = f", validation {name.replace('_', ' ')} {measured[-1]:.4f}" if measured else ""
    console.say(f"{workdir}: trained for {num_steps:,} steps{figure}")


def _say_sample(own: Mapping[str, str], streams: Sequence[str], beside: str | None = None) -> None:
    """Sampling with the models that lie beside a workdir, by default the only one of `own`, and with those of `own`."""
    beside = beside or next(iter(own.values()))
    names = ("vqvae", *(streams or own))
    found = {name: _beside(beside, name) for name in names}
    models = {"vqvae": "DIR"} | {name: path for name, path in found.items() if _is_workdir(path)} | own
    ordered = model_flags.spelled({name: models[name] for name in names if name in models})
    console.say_next("sample", ordered | {"seconds": "8", "out": _beside(beside, "samples")})


def _composer_beside(folder: str) -> str:
    """Workdir of the only composer among the folders beside one, by its stream, or ""."""
    found = []
    for path in sorted(pathlib.Path(folder).parent.glob("*/config.json")):
        with contextlib.suppress(UserError, OSError):  # what else lies there is no reason to end with an error
            model = files.read_json(path).get("model")
            found += [str(path.parent)] if isinstance(model, dict) and model.get("tier") == config.STREAM else []
    return found[0] if len(found) == 1 else ""


def _is_workdir(folder: str) -> bool:
    return (pathlib.Path(folder) / "config.json").is_file()


def _beside(folder: str, name: str) -> str:
    return os.path.join(os.path.dirname(folder.rstrip("/")), name)  # pathlib would make one slash of those of gs://

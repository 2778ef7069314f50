"""Which optimizer, at which rate, learns most in the same number of steps?

    python -m benchmarks.optimizers --codes=demo/codes --models=top,middle,bottom --steps=300 --out=run/optimizers \\
        --case=adamw:3e-3 --case=muon:8e-3 --case=muon:8e-3,b1=0.95,warmup_steps=40
    python -m benchmarks.optimizers --audio=demo/audio --models=vqvae --steps=450 --out=run/optimizers --case=muon:4e-3

Trains each model at scale tiny, one run after the other, each by its own command in a process of its own. A case is
OPTIMIZER:RATE, and behind it other fields of `config.OptimizerConfig` that are to differ from the model's config.
Prints one JSON line a run and, at the end, all of them as a table. `value` is the mean over the same windows of the
validation split after the last step: nats a code for priors, the loss for the VQ-VAE; null where training diverged.
`step_seconds` is the median over the lines of metrics.jsonl. Runs whose folder in --out is finished are not repeated.
"""

import dataclasses
import json
import pathlib
import shlex
import statistics
import subprocess
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.training import metrics

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
VQVAE = "vqvae"
PRIORS = ("top", "middle", "bottom")
MODELS = (VQVAE, *PRIORS)
DIVERGED = "updates in a row were skipped"  # of the message that training.loop ends a diverged run with
_MODELS = flags.DEFINE_list("models", list(PRIORS), f"What to train, of {', '.join(MODELS)}.")
_CASES = flags.DEFINE_multi_string("case", ["adamw:3e-3", "muon:8e-3"], "OPTIMIZER:RATE[,FIELD=VALUE...].")
_STEPS = flags.DEFINE_list("steps", ["300"], "Steps of a run; the schedule ends there. Several: a run for each.")
_AUDIO = cli.define_path("audio", "", "Folder of prepare_data, for the VQ-VAE.")
_CODES = cli.define_path("codes", "", "Folder of extract_codes, for priors.")
_OUT = cli.define_path("out", None, "Folder for the runs' workdirs.", required=True)
_EVAL_BATCHES = flags.DEFINE_integer("eval_batches", 32, "Batches of validation windows, after the last step.")
_DIFFUSION = flags.DEFINE_bool("diffusion", False, "Train diffusion models of the tiers instead of priors.")
_FLAGS = flags.DEFINE_string("flags", "", "More flags of the training command, such as --config.training.seed=1.")


@dataclasses.dataclass(frozen=True)
class Case:
    """One training run.

    Attributes:
      model: of MODELS.
      settings: fields of `config.OptimizerConfig` as they are written in a flag.
      steps: updates.
    """

    model: str
    settings: dict[str, str]
    steps: int

    def command(self, workdir: pathlib.Path) -> list[str]:
        """The command line that trains it, with one validation pass at the end."""
        verb, data = "train_prior", _CODES.value
        file = f"{'diffusion' if _DIFFUSION.value else 'prior'}.py:tier={self.model},scale=tiny"
        if self.model == VQVAE:
            verb, data, file = "train_vqvae", _AUDIO.value, "vqvae.py:scale=tiny"
        place = REPOSITORY / "configs" / file
        command = [sys.executable, "-m", f"musicgen_jax.{verb}", f"--config={place}", f"--workdir={workdir}"]
        command += [f"--config.optimizer.{name}={value}" for name, value in self.settings.items()]
        overrides = {"num_steps": self.steps, "eval_every": self.steps, "eval_batches": _EVAL_BATCHES.value}
        command += [f"--config.training.{name}={value}" for name, value in overrides.items()]
        return [*command, f"--config.data.path={data}", *shlex.split(_FLAGS.value)]

    def name(self) -> str:
        """Of its folder."""
        kind = ["diffusion"] if _DIFFUSION.value and self.model != VQVAE else []
        return "-".join([*kind, self.model, str(self.steps), *(f"{k}={v}" for k, v in self.settings.items())])


def main() -> None:
    """Flags -> JSON lines and a table."""
    cases = cases_of_flags()
    lines = []
    for case in cases:
        lines.append(measure(case, pathlib.Path(_OUT.value).resolve() / case.name()))
        print(json.dumps(lines[-1]), flush=True)
    print(table(lines))


def cases_of_flags() -> list[Case]:
    """Every model with every optimizer and number of steps.

    Raises:
      UserError: a flag that no run could take.
    """
    for model in _MODELS.value:
        config.require(model in MODELS, f"--models={model}: must be of {', '.join(MODELS)}")
        flag = _AUDIO if model == VQVAE else _CODES
        config.require(bool(flag.value), f"--{flag.name}: pass the folder that {model} is trained on")
    flag_values.require_positive(_EVAL_BATCHES)
    lengths, settings = flag_values.whole_numbers(_STEPS), [parse(case) for case in _CASES.value]
    return [Case(model, one, steps) for model in _MODELS.value for steps in lengths for one in settings]


def parse(case: str) -> dict[str, str]:
    """OPTIMIZER:RATE[,FIELD=VALUE...] -> fields.

    Raises:
      UserError: it is not written so, or `config.OptimizerConfig` has no such field or does not take the value.
    """
    first, *others = case.split(",")
    name, colon, rate = first.partition(":")
    config.require(bool(colon), f"--case={case}: write OPTIMIZER:RATE[,FIELD=VALUE...], such as muon:8e-3")
    settings = {"name": name, "peak_learning_rate": rate} | dict(other.partition("=")[::2] for other in others)
    kinds = {field.name: field.type for field in dataclasses.fields(config.OptimizerConfig)}
    for field in settings:
        config.require(field in kinds, f"--case={case}: no field {field!r}; there are {', '.join(kinds)}")
    try:
        config.OptimizerConfig(**{field: kinds[field](value) for field, value in settings.items()}).validate()
    except ValueError as error:
        raise UserError(f"--case={case}: {error}") from error
    return settings


def measure(case: Case, workdir: pathlib.Path) -> dict[str, object]:
    """Trains unless `workdir` has the finished run, and reads what came out.

    Raises:
      UserError: the training command failed other than by divergence; its own words.
    """
    log = workdir / "metrics.jsonl"
    error = None
    if not _held_out(log, case.steps):
        done = subprocess.run(case.command(workdir), cwd=REPOSITORY, capture_output=True, text=True)
        if done.returncode:
            error = done.stderr.strip().splitlines()[-1].removeprefix("error: ")
            config.require(DIVERGED in error, f"{case.name()}: {error}")
    held_out = {} if error else _held_out(log, case.steps)
    config.require(bool(error or held_out), f"{case.name()}: the data has no validation split to measure on")
    lines = metrics.read(log)
    seconds = [line["step_seconds"] for line in lines if "step_seconds" in line]
    return {
        "benchmark": "optimizers",
        "model": case.model,
        "steps": case.steps,
        "value": held_out.get("eval/loss"),
        "unit": "loss" if case.model == VQVAE else "nats/code",
        "step_seconds": statistics.median(seconds) if seconds else None,
        "optimizer": case.settings,
        "error": error,
        "held_out": {name.removeprefix("eval/"): value for name, value in held_out.items()},
    }


def _held_out(log: pathlib.Path, steps: int) -> dict[str, float]:
    """The metrics of the validation pass after the last step; empty if there was none."""
    found = [line for line in metrics.read(log) if line["step"] == steps and "eval/loss" in line]
    return {name: value for name, value in found[-1].items() if name.startswith("eval/")} if found else {}


def table(lines: list[dict[str, object]]) -> str:
    """Markdown: the runs of a model in order of their value, best first, diverged ones last."""
    rows = ["| model | steps | optimizer | held out | seconds a step |", "|---|---|---|---|---|"]
    order = {model: place for place, model in enumerate(_MODELS.value)}
    for line in sorted(lines, key=lambda n: (order[n["model"]], n["steps"], n["value"] or float("inf"))):
        name, rate, *others = (f"{field}={value}" for field, value in line["optimizer"].items())
        words = " ".join([name.removeprefix("name="), rate.removeprefix("peak_learning_rate="), *others])
        value = f"{line['value']:.3f} {line['unit']}" if line["value"] else "diverged"
        seconds = f"{line['step_seconds']:.3f}" if line["step_seconds"] else ""
        rows.append(f"| {line['model']} | {line['steps']} | {words} | {value} | {seconds} |")
    return "\n".join(rows)


if __name__ == "__main__":
    cli.run(main)

"""Makes a trained prior smaller and faster: int8 weights, fewer attention heads, guidance in one row a sample, or a
sampler of a few steps. Or makes one model of adapters and the model that they were trained beside.

    python -m musicgen_jax.compress --method=int8 --prior=DIR --out=DIR --data=CODES

    python -m musicgen_jax.compress --method=prune --fraction=0.25 --prior=DIR --out=DIR --data=CODES

    python -m musicgen_jax.compress --method=distill --steps=16,8,4 --prior=DIR --out=DIR --data=CODES

    python -m musicgen_jax.compress --method=guide --guide_by=text --prior=DIR --out=DIR --data=CODES

    python -m musicgen_jax.compress --method=merge --prior=DIR --out=DIR

The folder that comes out of int8, prune, guide and merge is a prior's as any other: sample and evaluate take it. That
of distill is a diffusion model's, for `sample --sampler=diffusion --steps=4`; DIR/rounds/ has those for the larger
numbers of steps. Interrupted and started again, distill goes on where it was.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from absl import flags

from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.runtime import allocator, files
from musicgen_jax.training import verification

# JAX and all else that is heavy is imported after the flags, by the functions that need it.
if TYPE_CHECKING:
    from musicgen_jax.priors import trained

verification.define()
_METHODS = ["int8", "prune", "guide", "distill", "merge"]
_METHOD = flags.DEFINE_enum("method", None, _METHODS, "What to do.", required=True)
_PRIOR = cli.define_path("prior", None, "Workdir of the prior, as train_prior wrote it.", required=True)
_OUT = cli.define_path(
    "out",
    None,
    "New workdir of what comes out; int8, prune and guide also write compression.json.",
    required=True,
    writes=True,
)
cli.define_path("base", "", "Workdir of the model that adapters in --prior were trained beside, where it has moved.")
_DATA = cli.define_path(
    "data",
    "",
    "Folder of extract_codes: its validation split scores the prior before and after. prune, guide, distill need it.",
)
_MAX_CODES = flags.DEFINE_integer("max_codes", 100_000, "Held-out codes that the prior is scored on.")
_ACTIVATIONS = flags.DEFINE_enum(
    "activations", "float", ["float", "int8"], "int8: round what the int8 weights are multiplied with as well."
)
_FRACTION = flags.DEFINE_float(
    "fraction", 0.1, "prune: share of the heads of each layer that is removed; 0: none, to compare with."
)
_IMPORTANCE = flags.DEFINE_enum(
    "importance",
    "gradient",
    config.IMPORTANCES,
    "prune: which heads stay, by the loss's gradient or attention weight.",
)
_WINDOWS = flags.DEFINE_integer("importance_windows", 64, "prune: training windows that the importance is measured on.")
_FINETUNE_STEPS = flags.DEFINE_integer(
    "finetune_steps", 100, "prune: training steps after the heads are gone; 0: none."
)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", 0.0, "Peak of the training; 0: prune and guide a tenth of the prior's own, distill 1e-3."
)
_GUIDE_BY = flags.DEFINE_list(
    "guide_by",
    [],
    "guide: conditions that guidance counts; by default score, lyrics and text where the prior was trained with and "
    "without, else labels.",
)
_MOST_GUIDANCE = flags.DEFINE_float("most_guidance", 5.0, "guide: the largest guidance that is learnt; the least is 1.")
_STEPS = flags.DEFINE_list("steps", ["16", "8", "4"], "distill: steps of the sampler, a round each; decreasing.")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1024, "distill: windows that the prior samples for training.")
_TRAIN_STEPS = flags.DEFINE_integer(
    "train_steps", 1000, "distill: training steps before the rounds; guide: all of its training steps."
)
_ROUND_STEPS = flags.DEFINE_integer("round_steps", 200, "distill: training steps of each round.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "distill: windows of a training step.")
_SEED = flags.DEFINE_integer("seed", 0, "distill: of everything random.", lower_bound=0, upper_bound=config.MAX_SEED)

# Flags that only some methods take.
_OF_METHOD = {
    "int8": (_ACTIVATIONS, _MAX_CODES),
    "prune": (_FRACTION, _IMPORTANCE, _WINDOWS, _FINETUNE_STEPS, _LEARNING_RATE, _MAX_CODES),
    "guide": (_GUIDE_BY, _MOST_GUIDANCE, _TRAIN_STEPS, _LEARNING_RATE, _MAX_CODES),
    "merge": (),
    "distill": (_STEPS, _NUM_SAMPLES, _TRAIN_STEPS, _ROUND_STEPS, _BATCH_SIZE, _SEED, _LEARNING_RATE),
}


def _check_flags() -> None:
    """Raises UserError for a flag that the method would leave unread."""
    own = {flag.name for flag in _OF_METHOD[_METHOD.value]}
    others = {flag.name for taken in _OF_METHOD.values() for flag in taken} - own
    given = ", ".join(f"--{name}" for name in sorted(others) if flags.FLAGS[name].present)
    config.require(not given, f"--method={_METHOD.value} does not take {given}: leave it out")


def main() -> None:
    """Flags -> parts -> one call."""
    allocator.keep_memory()
    _check_flags()
    from musicgen_jax import kinds, model_card, pretrained
    from musicgen_jax.codes import code_shards
    from musicgen_jax.command_line import closing
    from musicgen_jax.compression import figures

    out = pathlib.Path(_OUT.value)
    if _METHOD.value != "distill":
        files.output_folder(out)
    if _METHOD.value == "merge":
        _merge(out)
        return
    config.require(_MAX_CODES.value > 0, f"--max_codes={_MAX_CODES.value}: must be at least 1")
    prior = pretrained.load_prior(_PRIOR.value)
    config.require(
        prior.config.quantization.weights == "float",
        f"{_PRIOR.value} holds int8 weights already: pass the prior that they were made from",
    )
    # Where it has adapters, they have been loaded as part of the model.
    run = dataclasses.replace(kinds.read_run(_PRIOR.value, "prior", "musicgen"), lora=config.LoRAConfig())
    config.require(
        run.kind == "prior" or _METHOD.value != "distill",
        f"--method=distill needs a prior of configs/prior.py, and {_PRIOR.value} holds {kinds.of(run).name}",
    )
    config.require(
        not prior.config.guided_by or _METHOD.value == "int8",
        f"{_PRIOR.value} is told its guidance, which --method={_METHOD.value} would forget: pass the model that it was "
        "made of",
    )
    if _DATA.value and _METHOD.value != "distill":  # which scores nothing, and looks at its codes itself
        figures.check_codes(_DATA.value, prior.config, bool(run.init.path))
    complete = True
    if _METHOD.value == "int8":
        _quantize(prior, run, out)
    elif _METHOD.value == "guide":
        _guide(prior, run, out)
    elif _METHOD.value == "distill":
        complete = _distill(prior, run)
    else:
        _prune(prior, run, out)
    if complete:
        model_card.write(out)
        streams = code_shards.stream_names(_DATA.value or prior.codes_path)
        closing.after_compress(_OUT.value, _PRIOR.value, prior.config.tier, streams)


def _merge(out: pathlib.Path) -> None:
    import jax

    from musicgen_jax import kinds, model_card, pretrained
    from musicgen_jax.command_line import closing
    from musicgen_jax.conversion import native
    from musicgen_jax.runtime import console

    run = kinds.read_run(_PRIOR.value, *kinds.OVER_CODES)
    config.require(bool(run.lora.rank), f"--prior={_PRIOR.value} holds no adapters: it is a whole model already")
    params, buffers = pretrained.load_trained_on_codes(_PRIOR.value).weights
    run = dataclasses.replace(run, lora=config.LoRAConfig())
    with files.all_or_nothing(out):
        native.write(out, run, run.model, {"params": params, "buffers": buffers})
        model_card.write(out)
    console.say(f"{out}: {sum(leaf.nbytes for leaf in jax.tree.leaves(params)) / 2**20:.2f} MiB")
    closing.after_compress(_OUT.value, _PRIOR.value, run.model.tier, [run.model.tier])


def _quantize(prior: "trained.TrainedPrior", run: config.PriorTraining, out: pathlib.Path) -> None:
    from musicgen_jax import pretrained
    from musicgen_jax.compression import figures, int8
    from musicgen_jax.conversion import native
    from musicgen_jax.runtime import console

    console.say_devices()
    quantized = int8.quantize_prior(prior, _ACTIVATIONS.value)
    params, buffers = quantized.weights
    run = dataclasses.replace(run, model=quantized.config)
    with files.all_or_nothing(out):
        native.write(out, run, run.model, {"params": int8.stored(params), "buffers": buffers})
        stages = {"before": prior, "int8": pretrained.load_prior(str(out))}
        measured = {name: figures.measure(stage, _DATA.value, _MAX_CODES.value) for name, stage in stages.items()}
        figures.write(out, {"method": "int8", "prior": _PRIOR.value, "activations": _ACTIVATIONS.value}, measured)


def _prune(prior: "trained.TrainedPrior", run: config.PriorTraining, out: pathlib.Path) -> None:
    from musicgen_jax import kinds, pretrained
    from musicgen_jax.compression import figures, finetuning, pruning
    from musicgen_jax.priors import trained
    from musicgen_jax.training import start

    config.require(
        bool(_DATA.value),
        "--method=prune needs --data=DIR, the folder of extract_codes: heads are judged "
        "and the rest fine-tuned on its training split",
    )
    config.require(_WINDOWS.value > 0, f"--importance_windows={_WINDOWS.value}: must be at least 1")
    layer = prior.config.transformer.layer
    config.require(layer == "relative", f"--method=prune needs layers of the kind relative; of {_PRIOR.value}: {layer}")
    pruning.check(prior.functional.declared)
    removed = pruning.num_removed(_FRACTION.value, prior.config.transformer.num_heads)
    run = finetuning.run_config(run, _DATA.value, _FINETUNE_STEPS.value, _LEARNING_RATE.value)
    scores = pruning.importance(_IMPORTANCE.value, prior, finetuning.windows(run, _WINDOWS.value))
    kept = pruning.most_important(scores, removed)
    params, buffers = pruning.remove_heads(prior.weights[0], prior.functional.declared, kept), prior.weights[1]
    run.model = pruning.smaller(prior.config, kept)
    task = kinds.task(run)
    pruned = trained.TrainedPrior(run.model, task.functional, (params, buffers), _DATA.value)
    measured = {
        name: figures.measure(stage, _DATA.value, _MAX_CODES.value)
        for name, stage in (("before", prior), ("pruned", pruned))
    }
    facts = {
        "method": "prune",
        "prior": _PRIOR.value,
        "fraction": _FRACTION.value,
        "importance": _IMPORTANCE.value,
        "finetune_steps": _FINETUNE_STEPS.value,
        "scores": scores.tolist(),
        "kept_heads": kept.tolist(),
    }
    with start.only_one(out):
        files.output_folder(out)  # still: this took a while
        with files.all_or_nothing(out):
            finetuning.finetune(task, run, out, params, train=_FINETUNE_STEPS.value > 0)
            if _FINETUNE_STEPS.value:
                measured["finetuned"] = figures.measure(pretrained.load_prior(str(out)), _DATA.value, _MAX_CODES.value)
            figures.write(out, facts, measured)


def _guide(prior: "trained.TrainedPrior", run: config.PriorTraining, out: pathlib.Path) -> None:
    from musicgen_jax import kinds, pretrained
    from musicgen_jax.command_line import closing
    from musicgen_jax.compression import figures, finetuning, guiding
    from musicgen_jax.training import start

    rule = "the folder of extract_codes: what guidance gives is learnt on its training split"
    config.require(bool(_DATA.value), f"--method=guide needs --data=DIR, {rule}")
    config.require(_TRAIN_STEPS.value > 0, f"--train_steps={_TRAIN_STEPS.value}: must be at least 1")
    model = guiding.guided(prior, _GUIDE_BY.value, _MOST_GUIDANCE.value)
    run = finetuning.run_config(run, _DATA.value, _TRAIN_STEPS.value, _LEARNING_RATE.value)
    run.model, run.training.eval_every = model, run.training.log_every
    student = kinds.task(run)
    task, params = guiding.task(student, prior.functional), guiding.begun(prior.weights[0], student.functional)
    facts = {"method": "guide", "prior": _PRIOR.value, "guided_by": model.guided_by}
    measured = {"before": figures.measure(prior, _DATA.value, _MAX_CODES.value)}
    with start.only_one(out):
        files.output_folder(out)  # still: this took a while
        with files.all_or_nothing(out):
            finetuning.finetune(task, run, out, params, train=True, frozen=prior.weights[0])
            measured["guided"] = figures.measure(pretrained.load_prior(str(out)), _DATA.value, _MAX_CODES.value)
            figures.write(out, facts | {"most_guidance": model.most_guidance}, measured)
    closing.say_trained(_OUT.value, _TRAIN_STEPS.value, "kl")


def _distill(prior: "trained.TrainedPrior", run: config.PriorTraining) -> bool:
    """Whether it came to its end."""
    from musicgen_jax.command_line import closing
    from musicgen_jax.diffusion import distillation

    config.require(bool(_DATA.value), "--method=distill needs --data=DIR, the folder of extract_codes")
    shown = ",".join(_STEPS.value)
    config.require(
        all(steps.isdigit() for steps in _STEPS.value), f"--steps={shown}: write whole numbers: --steps=16,8,4"
    )
    settings = distillation.Settings(
        data=_DATA.value,
        steps=tuple(int(steps) for steps in _STEPS.value),
        num_samples=_NUM_SAMPLES.value,
        train_steps=_TRAIN_STEPS.value,
        round_steps=_ROUND_STEPS.value,
        batch_size=_BATCH_SIZE.value,
        learning_rate=_LEARNING_RATE.value or distillation.Settings.learning_rate,
        seed=_SEED.value,
    )
    complete = distillation.distill(prior, run, _PRIOR.value, settings, _OUT.value)
    if complete:
        closing.say_trained(
            _OUT.value, settings.round_steps if settings.steps else settings.train_steps, "nats_per_code"
        )
    return complete


if __name__ == "__main__":
    cli.run(main)

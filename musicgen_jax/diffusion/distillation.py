"""Distillation of an autoregressive prior into a diffusion model that samples in a few steps.

Rounds, each trained like any model, in a workdir of its own: `any` mask first, from the prior's weights and with its
probabilities as targets, then one round for each number of steps, largest first, whose teacher is the round before. The
targets are those of `targets.py`.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import code_dataset, provenance
from musicgen_jax.data import loader
from musicgen_jax.diffusion import denoiser, diffusion_loss, targets, teacher_samples, trained_diffusion
from musicgen_jax.nn import modules, parameters
from musicgen_jax.priors import code_task, prior, trained
from musicgen_jax.runtime import console, files
from musicgen_jax.sampling import journals
from musicgen_jax.sharding import meshes
from musicgen_jax.training import loop, rng, start

ROUNDS, SAMPLES, SETTINGS = "rounds", "teacher_samples.npz", "distillation.json"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a distillation.

    Attributes:
      data: code shards, of the tokenizer that the prior was trained with.
      steps: of the sampler, decreasing; each is a round of its own, and the last one is the result. Empty: `any` alone.
      num_samples: windows that the prior samples for training.
      train_steps: optimizer updates of the round `any`.
      round_steps: updates of each round by steps.
      batch_size: windows of an update.
      learning_rate: peak of the round `any`; the rounds by steps have a quarter of it.
      seed: of everything random.
    """

    data: str
    steps: tuple[int, ...] = (16, 8, 4)
    num_samples: int = 1024
    train_steps: int = 1000
    round_steps: int = 200
    batch_size: int = 16
    learning_rate: float = 1e-3
    seed: int = 0

    def validate(self, model: config.PriorConfig) -> None:
        """Raises UserError where a value is out of range, or does not fit the prior."""
        for name in ("num_samples", "train_steps", "round_steps"):
            config.require(getattr(self, name) >= 1, f"`{name}`={getattr(self, name)}: must be at least 1")
        of_one = model.num_codebooks == 1
        config.require(of_one, f"`prior`: is of {model.num_codebooks} codebooks; diffusion models are of one")
        half = "half of a batch learns to fill gaps"
        config.require(self.batch_size >= 2, f"`batch_size`={self.batch_size}: must be at least 2: {half}")
        positive = 0 < self.learning_rate < math.inf
        config.require(positive, f"`learning_rate`={self.learning_rate}: must be greater than 0, and finite")
        config.require(0 <= self.seed < 2**32, f"`seed`={self.seed}: must be from 0 to {2**32 - 1}")
        shown = ",".join(map(str, self.steps))
        decreasing = all(a > b for a, b in zip(self.steps, self.steps[1:], strict=False))
        config.require(
            decreasing and all(1 <= steps <= model.context // 2 for steps in self.steps),
            f"`steps`={shown}: must decrease, and lie between 1 and half the context of {model.context} codes",
        )


def distill(
    teacher: trained.TrainedPrior, run: config.PriorTraining, teacher_dir: str, settings: Settings, out: str
) -> bool:
    """Writes the workdir `out` of the last round's student, and those of the rounds before in `out`/rounds/.

    Started again with the same settings it goes on where it was; what is complete is not done again. SIGTERM and
    Ctrl-C save the round under way and end it.

    Args:
      teacher: an autoregressive prior.
      run: the config that it was trained with: its precision and AdamW's settings are the student's.
      teacher_dir: its workdir, for the student's config.
      settings: data, rounds and sizes.
      out: the folder; new, or of an interrupted run with the same settings.

    Returns:
      Whether all rounds are complete; False where it was told to stop before.

    Raises:
      UserError: settings out of range, codes of another tokenizer, or an `out` that holds something else or that
        another process writes to.
    """
    settings.validate(teacher.config)
    config.require(
        code_dataset.may_be_of(teacher.config, settings.data, bool(run.init.path)),
        f"`data`={settings.data} is not what the prior was trained on: tokenizer, codebook, labels or lengths differ; "
        "pass the code shards of its training",
    )
    run = _on_these_devices(run)
    mesh = meshes.make_mesh(run.mesh)
    meshes.check_batch_size(settings.batch_size, mesh)
    folder = pathlib.Path(out)
    _require_own(folder, settings, teacher)
    with start.only_one(folder):
        return _rounds(teacher, run, teacher_dir, settings, folder, mesh)


def _rounds(
    teacher: trained.TrainedPrior,
    run: config.PriorTraining,
    teacher_dir: str,
    settings: Settings,
    folder: pathlib.Path,
    mesh: jax.sharding.Mesh,
) -> bool:
    windows = code_dataset.Windows(settings.data, "train", teacher.config)
    samples = teacher_samples.read_or_sample(folder / SAMPLES, teacher, windows, settings.num_samples, settings.seed)
    names, of_round = ["any", *map(str, settings.steps)], teacher
    for name, steps in zip(names, (0, *settings.steps), strict=True):
        workdir = folder if name == names[-1] else folder / ROUNDS / name
        came_from = teacher_dir if of_round is teacher else str(folder / ROUNDS / names[names.index(name) - 1])
        student = student_run(run, settings, steps, came_from)
        console.say(f"round {name}: {workdir}")
        trained_round = _train_round(of_round, student, workdir, mesh, samples, windows)
        if trained_round is None:
            return False
        of_round = trained_round
    return True


def _on_these_devices(run: config.PriorTraining) -> config.PriorTraining:
    """The run with its parameters divided as in the prior's training where the devices allow it, else not at all."""
    divided = run.mesh.replica * run.mesh.fsdp * run.mesh.tensor
    if jax.device_count() % divided:
        return dataclasses.replace(run, mesh=config.MeshConfig(), shard_sequence=False)
    return dataclasses.replace(run, mesh=dataclasses.replace(run.mesh, data=-1, num_processes=0))


def _require_own(folder: pathlib.Path, settings: Settings, teacher: trained.TrainedPrior) -> None:
    """Raises UserError unless the folder is new or of these settings, codes and teacher, which it keeps.

    Codes and teacher are their contents, wherever they lie.
    """
    path = folder / SETTINGS
    wanted = config.to_dict(settings) | {"prior": modules.fingerprint(*teacher.weights)}
    wanted |= {"codes": provenance.of_codes(settings.data)}
    if not path.is_file():
        files.output_folder(folder).mkdir(parents=True, exist_ok=True)
        files.write_json(path, wanted)
    found = files.read_json(path)
    # What is older than the digest of the codes told them by their folder.
    known_by = "data" if "codes" in found else "codes"
    different = "; ".join(journals.differences(*({**facts, known_by: None} for facts in (found, wanted))))
    config.require(
        not different, f"{folder} is of other settings ({different}): choose another `out`, or give the same"
    )


def student_run(
    run: config.PriorTraining, settings: Settings, steps: int, teacher_dir: str
) -> config.DiffusionTraining:
    """Config of a round: the prior's model and recipe, fewer updates."""
    rounds = steps > 0
    num_steps = settings.round_steps if rounds else settings.train_steps
    student = config.DiffusionTraining(
        model=config.DiffusionConfig(**{f.name: getattr(run.model, f.name) for f in dataclasses.fields(run.model)}),
        data=dataclasses.replace(
            run.data,
            path=str(pathlib.Path(settings.data).absolute()),
            batch_size=settings.batch_size,
            seed=settings.seed,
        ),
        mesh=run.mesh,
        optimizer=dataclasses.replace(
            run.optimizer,
            name="adamw",  # which --learning_rate is meant for, whatever trained the prior
            peak_learning_rate=settings.learning_rate / (4 if rounds else 1),
            warmup_steps=min(run.optimizer.warmup_steps, num_steps // 10),
        ),
        training=dataclasses.replace(
            run.training,
            num_steps=num_steps,
            seed=settings.seed,
            accumulation_steps=1,
            eval_every=min(run.training.eval_every, num_steps),
            checkpoint_every=min(run.training.checkpoint_every, num_steps),
        ),
        shard_sequence=run.shard_sequence,
        distillation=config.DistillationConfig(teacher=teacher_dir, steps=steps, num_samples=settings.num_samples),
    )
    student.validate()
    return student


def student_params(teacher_params: modules.Tree, declared: modules.Tree, causal: bool) -> modules.Tree:
    """The student's initial parameters: the teacher's, a causal one's tables of distances mirrored for both ways.

    `declared` is what they are (`modules.Functional.declared`).
    """

    def started(leaf: jax.Array, parameter: parameters.Declaration) -> jax.Array:
        if not causal or "distances" not in parameter.axes:
            return jnp.copy(leaf)
        axis = parameter.axes.index("distances")
        ahead = jnp.flip(jax.lax.slice_in_dim(leaf, 1, None, axis=axis), axis)  # row m is distance m: 0 is in once
        return jnp.concatenate([ahead, leaf], axis)

    return jax.tree.map(started, teacher_params, declared)


def _train_round(
    teacher: trained.TrainedPrior,
    run: config.DiffusionTraining,
    workdir: pathlib.Path,
    mesh: jax.sharding.Mesh,
    samples: teacher_samples.Example,
    windows: code_dataset.Windows,
) -> trained_diffusion.TrainedDiffusion | None:
    """Trains one student up to its last step, and returns it as a teacher; None if SIGTERM came before."""
    layout = teacher.functional.shardings(prior.axis_rules(run), mesh)
    teacher = dataclasses.replace(teacher, weights=jax.device_put(teacher.weights, layout))
    task = code_task.code_task(denoiser.Denoiser, _loss(teacher, run.distillation.steps), run)
    initial = student_params(teacher.weights[0], teacher.functional.declared, teacher.config.causal)
    start.from_weights(task, run, workdir, mesh, initial)
    crop = teacher_samples.MixedWindow(samples, windows, run.distillation.data_share)
    indices = np.arange(len(samples["codes"]))
    final = loop.train(
        task,
        run,
        workdir,
        mesh,
        _taught(teacher, run, loader.training_batches(indices, crop, run.data, mesh)),
        code_dataset.validation_batches(run, mesh),
    )
    if int(final.step) < run.training.num_steps:
        return None
    weights = final.inference_params(), final.buffers
    return trained_diffusion.TrainedDiffusion(run.model, task.functional, weights, run.data.path)


def _loss(teacher: trained.TrainedPrior, steps: int) -> Callable[..., Any]:
    # Bound here, so that the step's program holds the teacher's output matrix alone, and not its other weights.
    predict_taught = teacher.functional.bind(*teacher.weights).predict

    def loss(model, batch, key, train):
        if train:
            return targets.distillation_loss(model, batch, key, predict_taught)
        if steps:
            return diffusion_loss.parallel_loss(model, batch, steps)
        return diffusion_loss.diffusion_loss(model, batch, key, train)

    return loss


def _taught(
    teacher: trained.TrainedPrior,
    run: config.DiffusionTraining,
    batches_from: Callable[[int], Iterator[loader.Batch]],
) -> Callable[[int], Iterator[loader.Batch]]:
    """The batches with masks and targets; those of a step depend on the seed and the step alone."""
    steps, soft_share = run.distillation.steps, run.distillation.soft_share

    @jax.jit
    def teach(weights, batch: loader.Batch, key: jax.Array) -> loader.Batch:
        model = teacher.functional.bind(*weights)
        if steps:
            return targets.step_targets(model, batch, key, steps, soft_share)
        return targets.prior_targets(model, batch, key)

    def taught_from(step: int) -> Iterator[loader.Batch]:
        for number, batch in enumerate(batches_from(step), start=step):
            yield teach(teacher.weights, batch, rng.key(run.training.seed, "masks", number))

    return taught_from

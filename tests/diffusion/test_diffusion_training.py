"""A diffusion model trains as a prior does, with the same command and loop; each loader takes its own kind."""

import dataclasses
import pathlib
import subprocess

import command_line
import jax
import numpy as np
import pytest
import tiny_diffusion

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.codes import code_dataset
from musicgen_jax.diffusion import diffusion_loss
from musicgen_jax.planning import workload
from musicgen_jax.priors import flops
from musicgen_jax.sharding import meshes
from musicgen_jax.training import loop

pytestmark = pytest.mark.long


def train(codes: str, workdir: pathlib.Path, num_steps: int, diffusion: bool = True) -> None:
    """On one device, with a constant learning rate: a run that is cut short differs in nothing but its end."""
    model = tiny_diffusion.model_config("middle", context=16)
    run = config.DiffusionTraining(
        model=code_dataset.resolve(model, codes),
        data=config.DataConfig(path=codes, batch_size=4),
        optimizer=config.OptimizerConfig(peak_learning_rate=1e-2),
        training=config.TrainingConfig(num_steps=num_steps, eval_every=2, eval_batches=1, checkpoint_every=2),
    )
    if not diffusion:
        fields = {field.name: getattr(run.model, field.name) for field in dataclasses.fields(config.PriorConfig)}
        parts = {field.name: getattr(run, field.name) for field in dataclasses.fields(config.PriorTraining)}
        run = config.PriorTraining(**parts | {"model": config.PriorConfig(**fields)})
    mesh = meshes.single_device_mesh()
    batches = code_dataset.training_batches(run, mesh)
    held_out = code_dataset.validation_batches(run, mesh)
    loop.train(kinds.task(run), run, workdir, mesh, batches, held_out)


@pytest.fixture(scope="module")
def workdirs(tiny_codes, tmp_path_factory) -> dict[str, str]:
    """A diffusion model and a prior, trained for four steps."""
    folder = tmp_path_factory.mktemp("models")
    train(tiny_codes, folder / "diffusion", 4)
    train(tiny_codes, folder / "prior", 4, diffusion=False)
    return {name: str(folder / name) for name in ("diffusion", "prior")}


def test_resumed_equals_uninterrupted(workdirs, tiny_codes, tmp_path):
    train(tiny_codes, tmp_path, 2)
    train(tiny_codes, tmp_path, 4)
    whole, resumed = (pretrained.load_diffusion(path, "middle") for path in (workdirs["diffusion"], str(tmp_path)))
    jax.tree.map(np.testing.assert_array_equal, resumed.weights, whole.weights)


def test_the_config_says_which_kind_it_is(workdirs):
    found = pretrained.load_diffusion(workdirs["diffusion"], "middle")
    assert found.sampler == "diffusion" and isinstance(found.config, config.DiffusionConfig)
    assert pretrained.load_prior(workdirs["prior"], "middle").sampler == "autoregressive"
    assert {name: kinds.in_folder(workdirs[name]).config.kind for name in ("diffusion", "prior")} == {
        "diffusion": "diffusion",
        "prior": "prior",
    }


def test_each_loader_refuses_the_other_kind(workdirs):
    with pytest.raises(
        ValueError, match=r"holds a diffusion model.*not a prior or a MusicGen prior: pass a folder that train_prior"
    ):
        pretrained.load_prior(workdirs["diffusion"], "middle")
    with pytest.raises(ValueError, match=r"not a diffusion model.*compress --method=distill"):
        pretrained.load_diffusion(workdirs["prior"], "middle")
    with pytest.raises(ValueError, match="of the middle tier where one of the bottom tier is wanted"):
        pretrained.load_diffusion(workdirs["diffusion"], "bottom")
    with pytest.raises(FileNotFoundError, match="no such folder: nowhere"):
        pretrained.load_diffusion("nowhere", "middle")


def run_command(*arguments: object) -> subprocess.CompletedProcess:
    return command_line.run(*arguments)


def test_commands(workdirs, tiny_codes, tmp_path):
    trained = run_command(
        "musicgen_jax.train_prior",
        "--config=configs/diffusion.py:tier=middle,scale=tiny",
        f"--workdir={tmp_path / 'model'}",
        f"--config.data.path={tiny_codes}",
        "--config.training.num_steps=2",
        "--config.model.context=32",
        "--config.model.schedule=cosine",
    )
    assert trained.returncode == 0, trained.stderr
    assert pretrained.load_diffusion(str(tmp_path / "model"), "middle").config.schedule == "cosine"
    out = tmp_path / "distilled"
    distill = ["musicgen_jax.compress", "--method=distill", f"--out={out}", f"--data={tiny_codes}", "--num_samples=4"]
    few = ["--train_steps=2", "--round_steps=1", "--batch_size=2", "--steps=4"]
    done = run_command(*distill, f"--prior={workdirs['prior']}", *few)
    assert done.returncode == 0, done.stderr
    assert pretrained.load_diffusion(str(out), "middle").config.context == 16
    for flags, message in (
        (["--steps=4,8"], "--steps=4,8: must decrease"),
        (["--steps=four"], "--steps=four: write whole numbers"),
        ([f"--prior={workdirs['diffusion']}"], "holds a diffusion model"),
    ):
        failed = run_command(*distill, f"--prior={workdirs['prior']}", *flags)
        assert failed.returncode != 0 and message in failed.stderr and "Traceback" not in failed.stderr


def test_a_plan_counts_twice_the_attention():
    model = tiny_diffusion.model_config("top")
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(config.PriorConfig)}
    both, one = (flops.prior_step_flops(m, 1).model for m in (model, config.PriorConfig(**fields)))
    settings, context = model.transformer, model.context
    inner, mean_seen = settings.num_heads * settings.head_dim, (context + 1) / 2
    # Queries with keys and with distances, weights with values: 2 operations each, 6 with the backward pass.
    attention = 6 * settings.num_layers * context * inner * mean_seen * 3
    assert both - one == pytest.approx(attention)
    run = config.DiffusionTraining(model=model, data=config.DataConfig(batch_size=2))
    work = workload.workload(run)
    assert work.flops.model > 0 and work.task.loss is diffusion_loss.diffusion_loss

"""Rounds of distillation, from a prior to a sampler of a few steps."""

import dataclasses
import functools
import json
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import pytest
import tiny_priors

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.codes import code_dataset
from musicgen_jax.diffusion import distillation, teacher_samples
from musicgen_jax.nn import modules, parameters
from musicgen_jax.priors import trained
from musicgen_jax.transformer import relative_distances


def run_config(codes: str) -> config.PriorTraining:
    """Of a tiny prior of the middle tier on these codes."""
    run = config.PriorTraining(
        model=tiny_priors.model_config("middle", context=16),
        data=config.DataConfig(path=codes, batch_size=4),
        mesh=config.MeshConfig(data=32, num_processes=4),  # of a larger machine
        optimizer=config.OptimizerConfig(peak_learning_rate=3e-3, warmup_steps=2),
        training=config.TrainingConfig(num_steps=3, eval_every=2, eval_batches=1, checkpoint_every=2, log_every=1),
    )
    run.model = code_dataset.resolve(run.model, codes)
    return run


def teacher(codes: str) -> trained.TrainedPrior:
    run = run_config(codes)
    return dataclasses.replace(tiny_priors.trained_prior(run.model), functional=kinds.of(run).functional(run))


def other_teacher(codes: str) -> trained.TrainedPrior:
    run = run_config(codes)
    return dataclasses.replace(tiny_priors.trained_prior(run.model, seed=5), functional=kinds.of(run).functional(run))


def distill(codes: str, out: pathlib.Path, **changes: Any) -> None:
    fields = {"data": codes, "steps": (4,), "num_samples": 6, "train_steps": 3, "round_steps": 2, "batch_size": 8}
    settings = distillation.Settings(**fields | changes)
    distillation.distill(teacher(codes), run_config(codes), "somewhere", settings, str(out))


def test_mirrored_distances_attend_alike_both_ways():
    table = np.random.default_rng(0).normal(size=(2, 3, 5, 4))  # [layers, H, M, D]
    params = {"attention": {"distances": table}, "bias": np.ones(3)}
    declared = {
        "attention": {"distances": parameters.Declaration("embedding", axes=("layers", "heads", "distances", None))},
        "bias": parameters.Declaration("bias", axes=(None,)),
    }
    mirrored = distillation.student_params(params, declared, causal=True)["attention"]["distances"]
    assert mirrored.shape == (2, 3, 9, 4)
    pattern = relative_distances.Pattern(causal=False)
    rows = relative_distances.strip(mirrored[0], pattern, 4, 9)  # of the distances 4 .. -4
    for column, distance in enumerate(range(4, -5, -1)):
        np.testing.assert_allclose(rows[:, column], table[0][:, abs(distance)], rtol=1e-6)
    assert params["attention"]["distances"].shape == table.shape  # the teacher keeps its own
    same = distillation.student_params(params, declared, causal=False)
    np.testing.assert_allclose(same["attention"]["distances"], table, rtol=1e-6)


@pytest.mark.long
def test_teachers_samples_are_its_own_and_the_labels_those_of_the_data(tiny_codes):
    model = run_config(tiny_codes).model
    windows = code_dataset.Windows(tiny_codes, "train", model)
    found = teacher_samples.sample(teacher(tiny_codes), windows, 5, seed=0)
    assert found["codes"].shape == (5, 16, 1) and found["above"].shape == (5, 4, 1)
    assert np.all((found["codes"] >= 0) & (found["codes"] < model.num_codes))
    assert not found["codes"][~found["mask"]].any()
    again = teacher_samples.sample(teacher(tiny_codes), windows, 5, seed=0)
    np.testing.assert_array_equal(again["codes"], found["codes"])
    mixed = teacher_samples.MixedWindow(found, windows, data_share=0.5)
    rng = np.random.default_rng(0)
    drawn = [mixed.random_map(2, rng)["codes"] for _ in range(40)]
    own = sum(np.array_equal(codes, found["codes"][2]) for codes in drawn)
    assert 10 < own < 30


@pytest.mark.long
def test_rounds_end_in_a_workdir_that_samples_and_goes_on(tiny_codes, tmp_path, monkeypatch):
    distill(tiny_codes, tmp_path / "whole")
    for name, steps in (("rounds/any", 0), ("", 4)):
        run = config.read_json(tmp_path / "whole" / name / "config.json", config.DiffusionTraining)
        assert run.distillation.steps == steps and run.model.tier == "middle"
    student = pretrained.load_diffusion(str(tmp_path / "whole"), "middle")
    # Stopped in the middle of the second round, it ends with the same weights.
    (tmp_path / "resumed").mkdir()
    for name in (distillation.SETTINGS, distillation.SAMPLES):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "resumed")
    shutil.copytree(tmp_path / "whole" / distillation.ROUNDS, tmp_path / "resumed" / distillation.ROUNDS)
    train = distillation.loop.train

    def stopped(task, run, workdir, *rest):
        if run.distillation.steps == 0:
            return train(task, run, workdir, *rest)  # done already
        train(task, dataclasses.replace(run, training=dataclasses.replace(run.training, num_steps=1)), workdir, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distillation.loop, "train", stopped)
        distill(tiny_codes, tmp_path / "resumed")
    distill(tiny_codes, tmp_path / "resumed")
    resumed = pretrained.load_diffusion(str(tmp_path / "resumed"), "middle")
    jax.tree.map(np.testing.assert_array_equal, resumed.weights, student.weights)
    before = modules.fingerprint(*student.weights)
    distill(tiny_codes, tmp_path / "whole")  # complete: nothing is done
    assert modules.fingerprint(*pretrained.load_diffusion(str(tmp_path / "whole"), "middle").weights) == before
    with pytest.raises(ValueError, match=r"is of other settings \(num_samples: 6, now 7\)"):
        distill(tiny_codes, tmp_path / "whole", num_samples=7)
    monkeypatch.setitem(globals(), "teacher", other_teacher)
    with pytest.raises(ValueError, match=r"is of other settings \(prior: "):
        distill(tiny_codes, tmp_path / "whole")
    for steps, found in ((None, 4), (4, 4), (3, 0)):  # none was distilled for three: the one for any number
        assert pretrained.load_diffusion(str(tmp_path / "whole"), "middle", steps).distilled_steps == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": (2, 4)}, "steps=2,4: must decrease"),
        ({"steps": (16,)}, "steps=16: .* between 1 and half the context of 16"),
        ({"steps": (0,)}, "steps=0"),
        ({"num_samples": 0}, "num_samples=0: must be at least 1"),
        ({"train_steps": 0}, "train_steps=0: must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: must be greater than 0"),
        ({"learning_rate": float("inf")}, "learning_rate=inf: must be greater than 0, and finite"),
        ({"batch_size": 1}, "batch_size=1: must be at least 2"),
        ({"batch_size": 9}, "batch_size=9 must be divisible by"),
        ({"seed": -1}, "seed=-1: must be from 0"),
    ],
)
def test_settings_out_of_range(tiny_codes, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        distill(tiny_codes, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_codes_of_another_tokenizer(tiny_codes, tmp_path):
    run = run_config(tiny_codes)
    run.model.vqvae = "another"
    settings = distillation.Settings(data=tiny_codes, steps=(4,))
    other = tiny_priors.trained_prior(run.model)
    with pytest.raises(ValueError, match="is not what the prior was trained on"):
        distillation.distill(other, run, "somewhere", settings, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_folder_of_something_else_is_left_alone(tiny_codes, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds other things \(notes\.txt\): choose another out"):
        distill(tiny_codes, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_students_learn_by_adamw_at_the_given_rate_whatever_trained_the_prior(tiny_codes):
    run = run_config(tiny_codes)
    run.optimizer = config.OptimizerConfig(name="muon", peak_learning_rate=8e-3, b2=0.98, weight_decay=0.01)
    settings = distillation.Settings(data=tiny_codes, learning_rate=2e-3)
    any_steps, four = (distillation.student_run(run, settings, steps, "somewhere").optimizer for steps in (0, 4))
    assert (any_steps.name, any_steps.peak_learning_rate, four.peak_learning_rate) == ("adamw", 2e-3, 5e-4)
    assert (any_steps.b2, any_steps.weight_decay) == (0.98, 0.01)


def test_a_folder_whose_distillation_has_not_finished(tiny_codes, tmp_path):
    distillation._require_own(tmp_path / "out", distillation.Settings(data=tiny_codes), teacher(tiny_codes))
    with pytest.raises(ValueError, match="has not finished: run that command again"):
        pretrained.load_diffusion(str(tmp_path / "out"))


def test_the_codes_of_a_distillation_are_their_content(tiny_codes, tmp_path):
    out, moved = tmp_path / "out", shutil.copytree(tiny_codes, tmp_path / "moved")
    own = functools.partial(distillation._require_own, out, teacher=teacher(tiny_codes))
    own(distillation.Settings(data=tiny_codes))
    own(distillation.Settings(data=str(moved)))
    metadata = json.loads((moved / "metadata.json").read_text())
    (moved / "metadata.json").write_text(json.dumps(metadata | {"audio": "f00d"}))
    with pytest.raises(ValueError, match=r"is of other settings \(codes: "):
        own(distillation.Settings(data=str(moved)))
    # Folders from before codes were known by their content had their path alone.
    older = json.loads((out / distillation.SETTINGS).read_text())
    del older["codes"]
    (out / distillation.SETTINGS).write_text(json.dumps(older))
    own(distillation.Settings(data=tiny_codes))
    with pytest.raises(ValueError, match=r"is of other settings \(data: "):
        own(distillation.Settings(data=str(moved)))


def test_a_prior_of_a_larger_machine(tiny_codes):
    run = run_config(tiny_codes)
    run.mesh = config.MeshConfig(fsdp=3)
    assert distillation._on_these_devices(run).mesh == config.MeshConfig()
    run.mesh = config.MeshConfig(fsdp=2, data=16)
    assert distillation._on_these_devices(run).mesh == config.MeshConfig(fsdp=2)

"""Trained models on other platforms than the one that they were trained on."""

import re

import jax
import numpy as np
import pytest
import tiny_priors
import tiny_workdirs

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.evaluation import prior_likelihood
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sharding import meshes


@pytest.fixture
def workdirs(tiny_tokenizer, tmp_path):
    """A prior and a diffusion model, each trained with the kernels of TPUs."""
    tiny_workdirs.write(tmp_path, tiny_tokenizer, ("top",))
    tiny_workdirs.write_diffusion(tmp_path, tiny_tokenizer, "middle")
    for tier in ("top", "middle"):
        path = tmp_path / tier / "config.json"
        path.write_text(path.read_text().replace('"attention": "blocked"', '"attention": "pallas"'))
        assert "pallas" in path.read_text()
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "load", "message"),
    [
        (
            "top",
            pretrained.load_vqvae,
            "top holds a prior, not a tokenizer: pass a folder that train_vqvae or convert wrote",
        ),
        ("middle", pretrained.load_vqvae, "middle holds a diffusion model, not a tokenizer"),
        (
            "vqvae",
            pretrained.load_prior,
            "vqvae holds a three-tier tokenizer, not a prior or a MusicGen prior: pass a folder that train_prior or",
        ),
        ("vqvae", pretrained.load_jukebox_prior, "vqvae holds a three-tier tokenizer, not a published prior"),
        ("top", pretrained.load_jukebox_prior, "top holds a prior, not a published prior"),
    ],
)
def test_a_model_of_another_kind_is_named(workdirs, folder, load, message):
    with pytest.raises(UserError, match=message):
        load(str(workdirs / folder))


def test_a_run_writes_to_no_folder_of_other_things(workdirs):
    kinds.check_workdir(str(workdirs / "new"), config.PriorTraining())
    kinds.check_workdir(str(workdirs / "top"), config.PriorTraining())
    for folder, reason in (("vqvae", "holds a three-tier tokenizer"), ("middle", "holds a diffusion model")):
        with pytest.raises(UserError, match=f"{folder} {reason}, not a prior: choose another workdir"):
            kinds.check_workdir(str(workdirs / folder), config.PriorTraining())
    (workdirs / "file").touch()
    (workdirs / "broken").symlink_to(workdirs / "absent")
    for name in ("file", "broken"):
        with pytest.raises(UserError, match=f"{name} is no folder"):
            kinds.check_workdir(str(workdirs / name), config.PriorTraining())
    # Damage to the config alone stops no run: it is written again. Beside no checkpoints it may be a person's.
    (workdirs / "top" / "config.json").write_text("{")
    kinds.check_workdir(str(workdirs / "top"), config.PriorTraining())
    persons = workdirs / "persons" / "config.json"
    persons.parent.mkdir()
    for text, reason in (("{", "is no whole JSON"), ('{"colour": "red"}', "holds a config.json of no model")):
        persons.write_text(text)
        with pytest.raises(UserError, match=reason):
            kinds.check_workdir(str(persons.parent), config.PriorTraining())


def test_a_config_of_absurd_sizes_is_refused_before_anything_is_built(workdirs):
    path = workdirs / "vqvae" / "config.json"
    path.write_text(re.sub(r'"depth": \d+', '"depth": 1000000000', path.read_text()))
    with pytest.raises(UserError, match=r"depth=1000000000: must be at most 1000"):
        pretrained.load_vqvae(str(workdirs / "vqvae"))
    path.write_text('{"model": []}')
    with pytest.raises(UserError, match=r"config\.json: config\.model is \[\] and must be an object"):
        pretrained.load_vqvae(str(workdirs / "vqvae"))


def test_kernels_of_tpus_are_replaced_where_there_are_none(workdirs):
    prior = pretrained.load_prior(str(workdirs / "top"))
    assert prior.config.transformer.attention == "blocked"
    batch = tiny_priors.batch(prior.config)
    logits = jax.jit(lambda weights: prior.functional.bind(*weights)(batch))(prior.weights)
    same = tiny_priors.trained_prior(prior.config, seed=0)  # the weights that were written
    np.testing.assert_array_equal(logits, jax.jit(lambda weights: same.functional.bind(*weights)(batch))(same.weights))
    assert pretrained.load_diffusion(str(workdirs / "middle")).config.transformer.attention == "blocked"
    assert all("pallas" in (workdirs / tier / "config.json").read_text() for tier in ("top", "middle"))


def test_such_a_prior_is_evaluated(tiny_tokenizer, tiny_codes, workdirs):
    path = workdirs / "top" / "config.json"
    path.write_text(path.read_text().replace('"path": "codes"', f'"path": "{tiny_codes}"'))
    found = prior_likelihood.evaluate_prior(pretrained.load_prior(str(workdirs / "top")), "validation", 100)
    assert np.isfinite(found["nats_per_code"])
    assert pretrained.training_steps(str(workdirs / "top")) == 0  # its weights were written, not trained


def test_a_tpu_keeps_them(workdirs, monkeypatch):
    monkeypatch.setattr(meshes, "platform", lambda: "tpu")
    assert pretrained.load_prior(str(workdirs / "top")).config.transformer.attention == "pallas"


# What a folder holds -> its config, what loads such a folder, and what that says it wants.
KINDS = {
    "a three-tier tokenizer": (config.VQVAETraining(), pretrained.load_vqvae, "a tokenizer"),
    "a prior": (config.PriorTraining(), pretrained.load_prior, "a prior or a MusicGen prior"),
    "a diffusion model": (config.DiffusionTraining(), pretrained.load_diffusion, "a diffusion model"),
    "a published prior": (config.JukeboxPriorConfig(), pretrained.load_jukebox_prior, "a published prior"),
}


@pytest.mark.parametrize("wanted", KINDS)
@pytest.mark.parametrize("found", KINDS)
def test_a_model_of_another_kind(tmp_path, wanted, found):
    config.write_json(tmp_path / "config.json", KINDS[found][0])
    _, load, name = KINDS[wanted]
    if wanted != found:
        with pytest.raises(UserError, match=rf"{tmp_path} holds {found}, not {name}: pass a folder that "):
            load(str(tmp_path))


def test_a_prior_of_another_tier(tmp_path):
    config.write_json(tmp_path / "config.json", config.PriorTraining(model=tiny_priors.model_config("middle")))
    with pytest.raises(UserError, match="holds a prior of the middle tier where one of the top tier is wanted"):
        pretrained.load_prior(str(tmp_path), "top")

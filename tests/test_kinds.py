"""One table of kinds: what a folder holds, and the task that a run trains."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import pytest
import tiny_dac
import tiny_diffusion
import tiny_musicgen
import tiny_runs
import tiny_scores
import tiny_workdirs

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.runtime.errors import UserError

DATA = config.DataConfig(path="somewhere", batch_size=2)
RUNS = {
    "vqvae": config.VQVAETraining(model=tiny_runs.vqvae_config(), clip_samples=tiny_runs.CLIP_SAMPLES, data=DATA),
    "residual": config.ResidualVQVAETraining(
        model=tiny_runs.residual_config(), clip_samples=tiny_runs.CLIP_SAMPLES, data=DATA
    ),
    "encodec": config.EncodecTraining(model=tiny_runs.encodec_config(), clip_samples=tiny_runs.CLIP_SAMPLES, data=DATA),
    "dac": config.DACTraining(model=tiny_dac.model_config(), clip_samples=16 * tiny_dac.HOP, data=DATA),
    "prior": config.PriorTraining(model=tiny_runs.prior_config("middle"), data=DATA),
    "musicgen": config.MusicgenTraining(model=tiny_musicgen.model_config(), data=DATA),
    "diffusion": config.DiffusionTraining(model=tiny_diffusion.model_config("middle"), data=DATA),
    "composer": config.ComposerTraining(model=tiny_scores.model_config(), data=DATA),
    "jukebox_prior": config.JukeboxPriorConfig(),
    "t5": config.T5Config(),
}
YOUNG = ("residual", "encodec", "dac", "composer", "musicgen", "t5")  # whose folders have always said it


def as_before(values: dict[str, Any]) -> dict[str, Any]:
    """The contents of a config.json of the time when it did not say its kind."""
    values = dict(values)
    if values.pop("kind") == "diffusion":
        values["model"] = values["model"] | {"kind": "diffusion"}
    return values


def test_every_kind_is_in_the_table():
    assert kinds.KINDS.keys() == RUNS.keys()
    for name, kind in kinds.KINDS.items():
        assert kind.config.kind == name and kinds.of(RUNS[name]) is kind
    for facts in ("name", "written_by"):
        assert len({getattr(kind, facts) for kind in kinds.KINDS.values()}) == len(kinds.KINDS)
    assert kinds.TOKENIZERS == ("vqvae", "residual", "encodec", "dac")


@pytest.mark.parametrize("name", RUNS)
def test_config_json_says_the_kind_and_older_ones_are_known_by_their_fields(tmp_path, name):
    path = tmp_path / "config.json"
    config.write_json(path, RUNS[name])
    written = json.loads(path.read_text())
    assert written["kind"] == name
    assert "kind" not in written.get("model", {})
    for values in (written,) if name in YOUNG else (written, as_before(written)):
        path.write_text(json.dumps(values))
        assert kinds.in_folder(tmp_path) is kinds.KINDS[name]
        assert config.read_json(path, kinds.KINDS[name].config) == RUNS[name]


def test_folders_of_no_kind_and_of_a_newer_one(tmp_path):
    assert kinds.in_folder(tmp_path) is None and kinds.in_folder(tmp_path / "absent") is None
    path = tmp_path / "config.json"
    path.write_text('{"colour": "red"}')
    assert kinds.in_folder(tmp_path) is None
    path.write_text('{"kind": "zither"}')
    with pytest.raises(UserError, match=r"config\.json is of a model of the kind 'zither'.*it has vqvae, residual, "):
        kinds.read_run(str(tmp_path), "prior")
    path.write_text('{"kind": ["prior"]}')
    with pytest.raises(UserError, match="which this version does not have"):
        kinds.in_folder(tmp_path)


def test_one_of_several_kinds_is_read_as_what_it_is(tmp_path):
    config.write_json(tmp_path / "config.json", RUNS["diffusion"])
    assert kinds.read_run(str(tmp_path), "prior", "diffusion") == RUNS["diffusion"]
    with pytest.raises(
        UserError, match="holds a diffusion model, not a prior or a three-tier tokenizer: pass a folder that train"
    ):
        kinds.read_run(str(tmp_path), "prior", "vqvae")


def test_a_run_keeps_the_windows_that_it_began_with(tmp_path, capsys):
    run = dataclasses.replace(RUNS["prior"], unknown_labels=0.25)
    kinds.keep_windows(str(tmp_path), run)
    assert run.unknown_labels == 0.25  # there is nothing to go on with
    config.write_json(tmp_path / "config.json", run)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["unknown_labels"]  # as of a version that knew no such thing
    (tmp_path / "config.json").write_text(json.dumps(values))
    for _ in range(2):  # the second time it says so itself
        run = dataclasses.replace(run, unknown_labels=0.25)
        kinds.keep_windows(str(tmp_path), run)
        assert run.unknown_labels == 0 and "began with unknown_labels=0 and keeps it" in capsys.readouterr().err
        config.write_json(tmp_path / "config.json", run)


@pytest.mark.long
def test_models_of_older_folders_are_loaded(tiny_tokenizer, tmp_path):
    tiny_workdirs.write(tmp_path, tiny_tokenizer, ("top",))
    tiny_workdirs.write_diffusion(tmp_path, tiny_tokenizer, "middle")
    for name in ("vqvae", "top", "middle"):
        path: pathlib.Path = tmp_path / name / "config.json"
        path.write_text(json.dumps(as_before(json.loads(path.read_text()))))
    assert pretrained.load_vqvae(str(tmp_path / "vqvae")).fingerprint == tiny_tokenizer.fingerprint
    samplers = [pretrained.load_code_model(str(tmp_path / tier)).sampler for tier in ("top", "middle")]
    assert samplers == ["autoregressive", "diffusion"]


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, kind in kinds.KINDS.items() if kind.task])
def test_a_task_says_all_that_trainer_and_planner_need(name):
    task = kinds.task(RUNS[name])
    assert {leaf.shape[0] for leaf in task.batch.values()} == {2}
    assert {"scores": "codes"}.get(kinds.KINDS[name].data, kinds.KINDS[name].data) in task.batch

    def loss(params: dict, buffers: dict, batch: dict, key: jax.Array) -> jax.Array:
        return task.loss(task.functional.bind(params, buffers), batch, key, True)[0]

    weights = jax.eval_shape(task.functional.init, jax.random.key(0))
    assert jax.eval_shape(loss, *weights, dict(task.batch), jax.random.key(0)).shape == ()
    twice = kinds.task(dataclasses.replace(RUNS[name], data=dataclasses.replace(DATA, batch_size=4)))
    assert twice.flops().model == 2 * task.flops().model > 0
    assert twice.traffic == 2 * task.traffic > 0

"""The command line of compress, as a person calls it, on a prior that was really trained."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import command_line
import numpy as np
import pytest
import tiny_priors
import tiny_workdirs

from musicgen_jax import config, generation, kinds, pretrained
from musicgen_jax.codes import code_dataset
from musicgen_jax.compression import figures
from musicgen_jax.evaluation import prior_likelihood
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sharding import meshes
from musicgen_jax.training import loop, metrics

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def workdir(tiny_codes, tmp_path_factory) -> pathlib.Path:
    """A middle prior of four heads, 60 steps old: better than a table of how often each code occurs."""
    model = tiny_priors.model_config("middle", context=32, num_heads=4, head_dim=4)
    run = config.PriorTraining(
        model=code_dataset.resolve(model, tiny_codes),
        data=config.DataConfig(path=tiny_codes, batch_size=8),
        optimizer=config.OptimizerConfig(peak_learning_rate=1e-2),
        training=config.TrainingConfig(num_steps=60, eval_every=0, checkpoint_every=60),
    )
    folder = tmp_path_factory.mktemp("priors") / "middle"
    mesh = meshes.single_device_mesh()
    batches = code_dataset.training_batches(run, mesh)
    loop.train(kinds.task(run), run, folder, mesh, batches, lambda: iter(()))
    return folder


def compress(*arguments: object) -> subprocess.CompletedProcess:
    return command_line.run("musicgen_jax.compress", *arguments)


@pytest.mark.parametrize("activations", ["float", "int8"])
def test_int8_loses_at_most_half_a_percent(workdir, tiny_codes, tmp_path, activations):
    out = tmp_path / "int8"
    flags = ("--method=int8", f"--prior={workdir}", f"--out={out}")
    done = compress(*flags, f"--data={tiny_codes}", f"--activations={activations}", "--max_codes=5000")
    assert done.returncode == 0, done.stderr
    found = json.loads((out / figures.FILE_NAME).read_text())
    before, after = found["before"]["nats_per_code"], found["int8"]["nats_per_code"]
    assert f"{after:.4f} nats per code" in done.stdout
    assert before < np.log(16) and after != before and after < 1.005 * before
    assert found["int8"]["bytes"] < 0.75 * found["before"]["bytes"]  # tables of embeddings are a large share here

    prior = pretrained.load_prior(str(out), "middle")
    assert prior.config.quantization == config.QuantizationConfig("int8", activations)
    again = prior_likelihood.evaluate_prior(prior, "validation", 5000)
    assert again["nats_per_code"] == pytest.approx(after, rel=1e-6)

    repeated = compress("--method=int8", f"--prior={out}", f"--out={tmp_path / 'twice'}")
    assert repeated.returncode == 1 and "int8 weights already" in repeated.stderr
    assert not (tmp_path / "twice").exists()
    taken = compress(*flags)
    assert taken.returncode == 1 and "choose another --out" in taken.stderr


@pytest.mark.parametrize("importance", ["gradient", "attention"])
def test_pruned_heads_are_gone(workdir, tiny_codes, tmp_path, importance):
    out = tmp_path / "pruned"
    flags = ["--method=prune", f"--prior={workdir}", f"--out={out}", f"--importance={importance}", "--fraction=0.25"]
    steps = 30 if importance == "gradient" else 0
    done = compress(*flags, f"--data={tiny_codes}", f"--finetune_steps={steps}", "--max_codes=5000")
    assert done.returncode == 0, done.stderr
    found = json.loads((out / figures.FILE_NAME).read_text())
    assert np.shape(found["scores"]) == (2, 4) and np.shape(found["kept_heads"]) == (2, 3)
    assert found["pruned"]["bytes"] < found["before"]["bytes"]
    prior = pretrained.load_prior(str(out))
    assert prior.config.transformer.num_heads == 3
    assert prior.weights[0]["stack"]["layers"]["attention"]["qkv"].shape == (2, 16, 3, 3, 4)
    last = "finetuned" if steps else "pruned"
    again = prior_likelihood.evaluate_prior(prior, "validation", 5000)
    assert again["nats_per_code"] == pytest.approx(found[last]["nats_per_code"], rel=1e-6)
    if steps:
        assert found["finetuned"]["nats_per_code"] < found["pruned"]["nats_per_code"]
    assert config.read_json(out / "config.json", config.PriorTraining).model == prior.config


def test_a_prior_that_is_told_its_guidance(tiny_codes, tiny_tokenizer, tmp_path):
    model = tiny_priors.model_config(num_layers=1, context=32, label_dropout=0.3)
    model = code_dataset.resolve(model, tiny_codes)
    run = config.PriorTraining(model=model, data=config.DataConfig(path=tiny_codes, batch_size=4))
    tiny_workdirs.write(tmp_path, tiny_tokenizer, ())
    params, buffers = tiny_priors.trained_prior(model, tiny_codes).weights
    params["labels"]["genre"] *= 10  # else it is hardly heard
    params["logits"] *= 4
    tiny_workdirs.write_workdir(tmp_path / "top", run, (params, buffers))
    out = tmp_path / "guided"
    flags = ("--method=guide", f"--data={tiny_codes}", f"--out={out}", "--most_guidance=3", "--max_codes=2000")
    done = compress(*flags, f"--prior={tmp_path / 'top'}", "--train_steps=30", "--learning_rate=0.01")
    assert done.returncode == 0, done.stderr
    told = config.read_json(out / "config.json", config.PriorTraining).model
    assert told.guided_by == ("labels",) and told.most_guidance == 3
    found = json.loads((out / figures.FILE_NAME).read_text())
    assert found["guided"]["nats_per_code"] < 1.1 * found["before"]["nats_per_code"]
    kl = [line["eval/kl"] for line in metrics.read(out / "metrics.jsonl") if "eval/kl" in line]
    assert kl[-1] < kl[0] and f"validation kl {kl[-1]:.4f}" in done.stderr + done.stdout
    music = generation.load(vqvae=tmp_path / "vqvae", top=out)
    told, more = (music.generate(0.5, genre="flute", guidance=guidance) for guidance in (1, 3))
    assert (told != more).any()
    with pytest.raises(UserError, match="from 1 to 3"):
        music.generate(0.5, guidance=4)
    again = compress("--method=int8", f"--data={tiny_codes}", f"--prior={out}", f"--out={tmp_path / 'rounded'}")
    assert again.returncode == 0, again.stderr
    assert pretrained.load_prior(str(tmp_path / "rounded")).config.guided_by == ("labels",)
    forgets = compress("--method=prune", f"--data={tiny_codes}", f"--prior={out}", f"--out={tmp_path / 'pruned'}")
    assert forgets.returncode == 1 and "which --method=prune would forget" in forgets.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method=guide"], "needs --data"),
        (["--method=guide", "--data={codes}"], "was never trained without labels"),
        (["--method=guide", "--data={codes}", "--train_steps=0"], "train_steps=0: must be at least 1"),
        (["--method=prune"], "needs --data"),
        (["--method=prune", "--data={codes}", "--fraction=0.1"], "of 4 heads a layer removes none"),
        (["--method=prune", "--data={codes}", "--fraction=1"], "less than 1"),
        (["--method=prune", "--data={codes}", "--fraction=0.25", "--finetune_steps=-1"], "finetune_steps=-1"),
        (
            ["--method=prune", "--data={codes}", "--fraction=0.25", "--learning_rate=inf"],
            "learning_rate=inf: must be 0",
        ),
        (["--method=int8", "--data={out}/none"], "none"),
        (["--method=int8", "--data={out}"], "holds no prepared dataset"),
        (["--method=int8", "--fraction=0.5"], "does not take --fraction"),
    ],
)
def test_bad_flags_are_one_line(workdir, tiny_codes, tmp_path, flags, message):
    flags = [flag.format(codes=tiny_codes, out=tmp_path) for flag in flags]
    done = compress(*flags, f"--prior={workdir}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_space_nothing_is_left(workdir, tmp_path):
    flags = ["--method=int8", f"--prior={workdir}", f"--out={tmp_path / 'out'}"]
    limited = ["bash", "-c", 'trap "" XFSZ; ulimit -f 8; exec "$@"', "-", sys.executable, "-m", "musicgen_jax.compress"]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [*limited, *flags], cwd=command_line.REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "error: " in done.stderr.splitlines()[-1] and "no space left for a checkpoint: free some" in done.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_folder_that_is_no_prior(tmp_path):
    done = compress("--method=int8", f"--prior={tmp_path / 'none'}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 1 and done.stderr.startswith("error: no such folder")


def test_codes_of_another_tokenizer(tiny_codes):
    with pytest.raises(ValueError, match="pass codes of that one"):
        figures.check_codes(tiny_codes, tiny_priors.model_config())


def test_codes_of_other_music_by_the_same_tokenizer_are_said(tiny_codes, capsys):
    model = code_dataset.resolve(tiny_priors.model_config(), tiny_codes)
    figures.check_codes(tiny_codes, model)
    assert "warning" not in capsys.readouterr().err
    figures.check_codes(tiny_codes, dataclasses.replace(model, track_seconds=1.0))
    assert "is not what the prior was trained on" in capsys.readouterr().err

"""Verbs whose folders are gs://BUCKET/PATH, on a server of Cloud Storage: every path flag that docs/storage.md lists.

Each command runs as on a machine of its own, which has no copy of anything yet.
"""

import itertools
import json
import os
import pathlib
import re
import subprocess

import command_line
import numpy as np
import object_server
import pytest
import soundfile
import test_pipeline
import tiny_priors
import tiny_workdirs
from conftest import random_weights, tones

from musicgen_jax import __main__ as dispatcher
from musicgen_jax import config, kinds
from musicgen_jax.codes import code_dataset
from musicgen_jax.conversion import checkpoint_files
from musicgen_jax.runtime import buckets
from musicgen_jax.training import checkpointing

pytestmark = pytest.mark.long

ROOT = pathlib.Path(__file__).resolve().parents[1]
URL = f"gs://{object_server.BUCKET}"
RATE = 4000
_machines = itertools.count()


@pytest.fixture
def bucket(object_store, tmp_path, monkeypatch):
    """The bucket's file system, past the code under test; copies that this process makes lie in tmp_path/cache."""
    import fsspec

    for name, value in object_store.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MUSICGEN_JAX_BUCKETS", str(tmp_path / "cache"))
    monkeypatch.setattr(buckets, "_present", {})
    system = fsspec.filesystem("gs", use_listings_cache=False, skip_instance_cache=True)
    if system.find(object_server.BUCKET):
        system.rm(system.find(object_server.BUCKET))
    return system


def run(tmp_path: pathlib.Path, verb: str, *flags: object) -> subprocess.CompletedProcess:
    """The verb, on a new machine."""
    environment = {"MUSICGEN_JAX_BUCKETS": str(tmp_path / f"machine{next(_machines)}")}
    passed = {name: os.environ[name] for name in ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL")}
    return command_line.run(f"musicgen_jax.{verb}", *flags, environment=passed | environment)


def succeeded(*arguments: object) -> subprocess.CompletedProcess:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "machine" not in done.stdout + done.stderr.replace("to this machine", ""), "a copy's path is shown"
    return done


def put(system, folder: str | pathlib.Path, name: str) -> None:
    """Copies a folder of this machine to the bucket."""
    for file in pathlib.Path(folder).rglob("*"):
        if file.is_file():
            system.put_file(str(file), f"{object_server.BUCKET}/{name}/{file.relative_to(folder)}")


def made_there(tmp_path: pathlib.Path, name: str, run_config, weights: tuple) -> None:
    """A trained model's workdir in the bucket, its checkpoint written there by Orbax."""
    folder = buckets.local_path(f"{URL}/{name}", "workdir")
    tiny_workdirs.write_workdir(folder, run_config, weights)
    buckets.push(folder)


def test_prepare_data(bucket, tmp_path):
    for index in range(3):
        soundfile.write(tmp_path / f"{index}.wav", tones(index, 2 * RATE), RATE)
        bucket.put_file(str(tmp_path / f"{index}.wav"), f"bucket/songs/flute/{index}.wav")
    flags = ["--dataset=recordings", f"--source={URL}/songs", f"--out={URL}/audio", f"--sample_rate={RATE}"]
    done = succeeded(tmp_path, "prepare_data", *flags, "--runner=serial")
    assert f"{URL}/audio: files {{'ok': 3}}" in done.stdout
    assert f"--workdir={URL}/vqvae --config.data.path={URL}/audio" in done.stderr
    report = json.loads(bucket.cat("bucket/audio/report.json"))
    assert report["settings"]["source"] == f"{URL}/songs"
    assert bucket.exists("bucket/audio/musicgen_audio/1.0.0/dataset_info.json")

    before = {name: about["generation"] for name, about in bucket.find("bucket/audio", detail=True).items()}
    again = succeeded(tmp_path, "prepare_data", *flags, "--runner=serial")
    assert f"{URL}/audio is complete already" in again.stdout
    assert before == {name: about["generation"] for name, about in bucket.find("bucket/audio", detail=True).items()}
    other = run(tmp_path, "prepare_data", *flags, "--seed=1", "--runner=serial")
    assert other.returncode == 1 and f"error: {URL}/audio holds a dataset made with other settings" in other.stderr


def test_a_recording_to_codes_and_back(bucket, tiny_tokenizer, tmp_path):
    made_there(tmp_path, "vqvae", config.VQVAETraining(model=tiny_tokenizer.config), tiny_tokenizer._weights)
    assert bucket.exists("bucket/vqvae/checkpoints/0/commit_success.txt")
    soundfile.write(tmp_path / "in.wav", tones(1, RATE), RATE)
    bucket.put_file(str(tmp_path / "in.wav"), "bucket/in.wav")
    flags = [f"--vqvae={URL}/vqvae", f"--file={URL}/in.wav", f"--out={URL}/new/x.codes"]
    assert f"{URL}/new/x.codes: 1.00 s" in succeeded(tmp_path, "extract_codes", *flags).stdout
    flags = [f"--tokenizer={URL}/vqvae", f"--decode={URL}/new/x.codes", f"--out={URL}/x.wav"]
    succeeded(tmp_path, "sample", *flags)
    bucket.get_file("bucket/x.wav", str(tmp_path / "x.wav"))
    assert soundfile.info(tmp_path / "x.wav").frames == RATE


def test_checkpoints_in_a_bucket(bucket, tmp_path):
    folder = buckets.local_path(f"{URL}/run", "workdir")
    model = tiny_priors.model_config("top", num_layers=1)
    prior = tiny_priors.trained_prior(model)
    abstract = kinds.task(config.PriorTraining(model=model)).functional
    with checkpointing.Checkpointer(folder, keep=2) as checkpointer:
        assert checkpointer.latest_step() is None
        checkpointer.save_model(*prior.weights, config.to_dict(model))
    assert bucket.exists("bucket/run/checkpoints/0/model/_METADATA") and not (folder / "checkpoints").exists()
    # A save that was killed left all but the mark that Orbax writes last.
    for name in bucket.find("bucket/run/checkpoints/0"):
        if not name.endswith("commit_success.txt"):
            bucket.pipe(name.replace("/0/", "/7/", 1), bucket.cat(name))
    with checkpointing.Checkpointer(folder) as checkpointer:
        assert checkpointer.latest_step() == 0
    with pytest.raises(checkpointing.NotFoundError, match="gs://bucket/other/checkpoints does not exist"):
        checkpointing.Checkpointer(buckets.local_path(f"{URL}/other", "workdir"))
    assert abstract.num_parameters() > 0


def test_compress(bucket, tiny_codes, tmp_path):
    model = tiny_priors.model_config("middle", context=32, num_layers=1)
    run_config = config.PriorTraining(model=code_dataset.resolve(model, tiny_codes), data=config.DataConfig(path="x"))
    functional = kinds.task(run_config).functional
    made_there(tmp_path, "middle", run_config, random_weights(functional))
    put(bucket, tiny_codes, "codes")
    flags = ["--method=int8", f"--prior={URL}/middle", f"--data={URL}/codes", f"--out={URL}/int8", "--max_codes=100"]
    succeeded(tmp_path, "compress", *flags)
    assert json.loads(bucket.cat("bucket/int8/compression.json"))["prior"] == f"{URL}/middle"
    assert bucket.exists("bucket/int8/checkpoints/0/commit_success.txt")
    again = run(tmp_path, "compress", *flags)
    assert again.returncode == 1 and f"--out={URL}/int8 holds other things" in again.stderr


def test_convert(bucket, tiny_tokenizer, tmp_path):
    pytest.importorskip("safetensors")
    model = config.VQVAETraining(model=tiny_tokenizer.config)
    made_there(tmp_path, "vqvae", model, tiny_tokenizer._weights)
    flags = ["--source=jukebox", "--direction=export", f"--checkpoint={URL}/published/x.safetensors"]
    done = run(tmp_path, "convert", *flags, f"--out={URL}/vqvae")
    assert done.returncode == 0, done.stderr
    bucket.get_file("bucket/published/x.safetensors", str(tmp_path / "x.safetensors"))
    assert checkpoint_files.read(tmp_path / "x.safetensors")
    there = run(tmp_path, "convert", *flags, f"--out={URL}/vqvae")
    assert there.returncode == 1 and f"{URL}/published/x.safetensors exists" in there.stderr
    flags = ["--source=jukebox", f"--checkpoint={URL}/published/x.safetensors", f"--out={URL}/native"]
    other = run(tmp_path, "convert", *flags)  # it was read, and is no release of Jukebox's sizes
    assert (
        other.returncode == 1
        and f"{URL}/published/x.safetensors" in other.stderr
        and not bucket.exists("bucket/native")
    )


@pytest.mark.parametrize(
    ("verb", "flags", "message"),
    [
        ("prepare_data", ["--dataset=recordings", "--source=s3://b/x", "--out=o"], "--source=s3://b/x: only paths on"),
        (
            "train_vqvae",
            ["--config=gs://b/vqvae.py:scale=tiny", "--workdir=w"],
            "--config=gs://b/vqvae.py:scale=tiny: only",
        ),
        ("train_prior", ["--config=prior", "--workdir=hdfs://b/w"], "--workdir=hdfs://b/w: only paths on"),
        ("plan", ["--config=gs://b/vqvae.py", "--topology=h100:1"], "--config=gs://b/vqvae.py: only paths on"),
        (
            "extract_codes",
            ["--vqvae=v", "--data=d", "--out=gs://b/o", "--distributed"],
            "--out=gs://b/o with --distributed",
        ),
        ("prepare_data", ["--dataset=midi", "--out=gs://b/o", "--runner=spark"], "--out=gs://b/o with --runner"),
        ("sample", ["--prior=top:gs://b//x", "--vqvae=v", "--out=o"], "--prior=gs://b//x: write gs://BUCKET/PATH"),
        ("evaluate", ["--vqvae=gs://b/../x", "--data=d", "--out=o"], "--vqvae=gs://b/../x: write gs://BUCKET/PATH"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(verb, flags, message, tmp_path):
    done = command_line.run(
        f"musicgen_jax.{verb}", *flags, cwd=ROOT, environment={"MUSICGEN_JAX_BUCKETS": str(tmp_path)}
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: ") and message in done.stderr


def test_the_page_lists_every_path_flag():
    page = (ROOT / "docs" / "storage.md").read_text()
    rows = {one[1].strip(): one[2] + one[3] for one in (line.split("|") for line in page.splitlines()) if len(one) > 3}
    for verb in dispatcher.VERBS:
        code = (ROOT / "musicgen_jax" / f"{verb}.py").read_text()
        for flag in re.findall(r'cli\.define_path\(\s*"(\w+)"', code):
            assert f"`--{flag}`" in rows[f"`{verb}`"], f"{verb} --{flag} is in no row of docs/storage.md"


def test_the_whole_pipeline_in_a_bucket(bucket, tones_folder, tmp_path, monkeypatch):
    """The demo's script, whose folder is in the bucket; then training goes on on another machine.

    Recordings become tones where no other recipe is asked for.
    """
    put(bucket, tones_folder, "songs")
    done = test_pipeline.run_demo(f"{URL}/demo", "--dataset=recordings", f"--source={URL}/songs", recipe="")
    assert done.returncode == 0, done.stderr[-3000:]
    for name in (
        "vqvae/checkpoints/6/commit_success.txt",
        "residual/metrics.jsonl",
        "codes/tracks.jsonl",
        "samples/000.wav",
    ):
        assert bucket.exists(f"bucket/demo/{name}")
    assert bucket.exists("bucket/demo/report/report.html")
    metrics = json.loads(bucket.cat("bucket/demo/report/metrics.json"))
    assert metrics["about"]["training_steps"] == {"vqvae": 6, "residual": 6}
    bucket.get_file("bucket/demo/samples/codes.npz", str(tmp_path / "codes.npz"))
    assert set(np.load(tmp_path / "codes.npz").files) == {"residual"}
    assert json.loads(bucket.cat("bucket/demo/vqvae/config.json"))["data"]["path"] == f"{URL}/demo/audio"
    assert json.loads(bucket.cat("bucket/demo/samples/samples.json"))["models"]["residual"] == f"{URL}/demo/residual"
    flags = ["--config=configs/prior.py:tier=residual,scale=tiny", *test_pipeline.FEW_STEPS, *test_pipeline.SMALL_PRIOR]
    flags.append(f"--workdir={URL}/demo/residual")
    more = succeeded(
        tmp_path, "train_prior", *flags, f"--config.data.path={URL}/demo/codes", "--config.training.num_steps=8"
    )
    assert "resuming from step 6" in more.stderr
    steps = [json.loads(line)["step"] for line in bucket.cat("bucket/demo/residual/metrics.jsonl").splitlines()]
    assert max(steps) == 8 and np.all(np.diff(steps) >= 0)

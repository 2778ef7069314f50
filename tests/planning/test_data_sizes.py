"""Predictions of disk and host memory against what runs at tiny scale take. Each says how far off it may be."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import command_line
import jax
import numpy as np
import pytest
import soundfile
import tiny_runs

from configs import vqvae
from musicgen_jax import config
from musicgen_jax.codes import code_shards
from musicgen_jax.planning import compilation, data_sizes, plan, workload
from musicgen_jax.sharding import meshes
from musicgen_jax.training import checkpointing, state

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SOURCE = str(REPOSITORY / "configs" / "vqvae.py")
RATE, SECONDS, TRACKS = 16000, 70, 6


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> pathlib.Path:
    """Noise, which nothing makes smaller: what is counted is without compression."""
    folder = tmp_path_factory.mktemp("noise")
    for index in range(TRACKS):
        audio = np.random.default_rng(index).uniform(-1, 1, RATE * SECONDS)
        soundfile.write(folder / f"{index}.wav", audio, RATE)
    return folder


@pytest.fixture(scope="module")
def tokenizer_work() -> workload.Workload:
    return workload.workload(vqvae.get_config("scale=tiny"))


def music(**more: float) -> data_sizes.Collection:
    return data_sizes.Collection(TRACKS * SECONDS / 3600, SECONDS, **more)


def bytes_in(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# A process begins with the peak of the one that starts it: a small one, whatever the tests before have held.
LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss * 1024 if status == 0 else f"status {status}")
"""


def peak_bytes(verb: str, *flags: object) -> int:
    """Resident memory that the verb's process had at most."""
    command = [sys.executable, "-m", f"musicgen_jax.{verb}", *map(str, flags)]
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], cwd=REPOSITORY, capture_output=True, text=True)
    return int(done.stdout)


def at_rate(work: workload.Workload, rate: int) -> workload.Workload:
    model = dataclasses.replace(work.run.model, sample_rate=rate)
    return dataclasses.replace(work, run=dataclasses.replace(work.run, model=model))


@pytest.mark.long
def test_prepared_audio_is_within_5_percent_and_its_memory_within_25(recordings, tokenizer_work, tmp_path):
    flags = ["--dataset=recordings", f"--source={recordings}", f"--out={tmp_path / 'out'}", f"--sample_rate={RATE}"]
    peak = peak_bytes("prepare_data", *flags, "--runner=serial")
    found = data_sizes.sizes(at_rate(tokenizer_work, RATE), music(processes=0))["prepare"]
    assert bytes_in(tmp_path / "out") == pytest.approx(found["disk_bytes"], rel=0.05)
    assert peak == pytest.approx(found["host_bytes"], rel=0.25)


def test_codes_are_within_10_percent_before_they_are_compressed(tiny_codes, tiny_vqvae_config, tokenizer_work):
    entries = code_shards.read_index(tiny_codes)
    seconds = sum(entry.num_samples for entry in entries) / tiny_vqvae_config.sample_rate
    work = dataclasses.replace(tokenizer_work, run=dataclasses.replace(tokenizer_work.run, model=tiny_vqvae_config))
    found = data_sizes.sizes(work, data_sizes.Collection(seconds / 3600, seconds / len(entries)))
    info = json.loads((pathlib.Path(tiny_codes) / "dataset_info.json").read_text())
    arrays = sum(int(split["numBytes"]) for split in info["splits"])
    beside = 3 * data_sizes.SHARD_BYTES + len(entries) * data_sizes.TRACK_BYTES
    assert arrays == pytest.approx(found["extract"]["disk_bytes"] - beside, rel=0.1)
    padding = 3 * data_sizes.SHARD_BYTES  # a split of these few codes is next to nothing, and filled up
    assert bytes_in(pathlib.Path(tiny_codes)) < found["extract"]["disk_bytes"] + padding


def test_checkpoints_are_within_10_percent(tmp_path):
    transformer = config.TransformerConfig(num_layers=4, width=256, num_heads=4, head_dim=64, mlp_width=1024)
    model = dataclasses.replace(tiny_runs.prior_config("top"), transformer=transformer)
    work = workload.workload(config.PriorTraining(model=model, data=config.DataConfig(batch_size=2)))
    abstract = compilation.abstract_state(work, meshes.single_device_mesh())
    rng = np.random.default_rng(0)

    def drawn(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        random = leaf.dtype == np.float32 and leaf.shape
        values = rng.standard_normal(leaf.shape, np.float32) if random else np.zeros(leaf.shape, leaf.dtype)
        return jax.device_put(values, leaf.sharding)

    current: state.TrainState = jax.tree.map(drawn, abstract)
    with checkpointing.Checkpointer(tmp_path, keep=1) as checkpointer:
        checkpointer.save(current, config.to_dict(work.run.model))
    found = data_sizes.checkpoint(abstract, work.run)
    assert bytes_in(tmp_path / "checkpoints") == pytest.approx(found["disk_bytes"], rel=0.1)
    assert found["kept_disk_bytes"] == found["disk_bytes"] * (work.run.training.keep_checkpoints + 1)
    assert found["host_bytes_per_chip"] == found["disk_bytes"]  # one device holds all


@pytest.mark.long
def test_memory_of_training_is_within_40_percent(recordings, tmp_path):
    flags = ["--dataset=recordings", f"--source={recordings}", f"--out={tmp_path / 'audio'}", f"--sample_rate={RATE}"]
    assert command_line.run("musicgen_jax.prepare_data", *flags).returncode == 0
    few = ["--config.training.num_steps=2", "--config.data.batch_size=2", "--config.training.eval_every=0"]
    flags = [f"--config={SOURCE}:scale=tiny", *few, f"--config.data.path={tmp_path / 'audio'}"]
    peak = peak_bytes("train_vqvae", *flags, f"--workdir={tmp_path / 'run'}")
    planned = json.loads(command_line.run("musicgen_jax.plan", flags[0], few[1], "--hours=0.12").stdout)
    on_host = planned["data"]["train"]["host_bytes"] + planned["checkpoints"]["state_bytes"]  # the device is the host
    assert peak == pytest.approx(on_host, rel=0.4)


def test_what_grows_with_what(tokenizer_work):
    small, large = (data_sizes.sizes(tokenizer_work, data_sizes.Collection(hours)) for hours in (1e3, 1e4))
    for step in ("prepare", "extract", "train"):
        assert 9.9 < large[step]["disk_bytes"] / small[step]["disk_bytes"] < 10.1
        assert small[step]["host_bytes"] <= large[step]["host_bytes"] < 1e10
    rate = tokenizer_work.run.model.sample_rate
    assert small["prepare"]["disk_bytes"] == pytest.approx(1e3 * 3600 * 2 * rate, rel=0.01)
    assert small["train"]["disk_bytes"] == small["prepare"]["disk_bytes"] > small["extract"]["disk_bytes"]


def test_priors_read_codes_and_composers_scores():
    of_prior = plan.plan_data(config.PriorTraining(), data_sizes.Collection(100.0))["data"]
    assert of_prior["train"]["disk_bytes"] == of_prior["extract"]["disk_bytes"]
    of_composer = plan.plan_data(config.ComposerTraining(), data_sizes.Collection(100.0))["data"]
    assert "extract" not in of_composer
    assert of_composer["train"]["disk_bytes"] == of_composer["prepare"]["disk_bytes"] < 1e8


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--topology must have a value (or --hours"),
        (["--hours=0"], "--hours=0: must be in (0, 1e+08]"),
        (["--hours=1", "--track_seconds=-1"], "--track_seconds=-1: must be greater than 0"),
        (["--hours=1", "--num_slices=2"], "--num_slices: say --topology too"),
    ],
)
def test_bad_questions_are_one_line(flags, message):
    done = command_line.run("musicgen_jax.plan", f"--config={SOURCE}:scale=tiny", *flags)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1) and message in done.stderr

"""Ten steps equal five, a kill, and five more: real processes, real entry points, every bit."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import command_line
import jax
import numpy as np
import pytest
import xla_flags
from orbax.checkpoint import v1 as ocp

from musicgen_jax.training import metrics

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(REPOSITORY / ".cache" / "jax"))
SECONDS = 600  # a busy machine compiles for minutes; before a process counts as hung
CLOCK = re.compile(r"_per_second$|_wait_fraction$|^step_seconds$|^share_of_peak$")

TRAINING = [
    "--config.training.num_steps=10",
    "--config.training.log_every=1",
    "--config.training.eval_every=5",
    "--config.training.eval_batches=1",
    "--config.training.checkpoint_every=5",
    "--config.training.keep_checkpoints=3",
    "--config.training.ema_decay=0.9",
    "--config.data.batch_size=4",
    "--config.optimizer.warmup_steps=2",
]
VQVAE = [
    "--config=configs/vqvae.py:scale=tiny",
    "--config.model.sample_rate=4000",
    "--config.model.quantizer.num_codes=16",
    "--config.model.quantizer.code_width=8",
    "--config.clip_samples=2048",
    *(f"--config.model.{tier}.{field}" for tier in ("top", "middle", "bottom") for field in ("width=8", "depth=1")),
    # Few levels: each start traces and loads them all.
    "--config.model.top.downsampling=(1, 1, 1)",
    "--config.model.middle.downsampling=(1, 1)",
    "--config.model.bottom.downsampling=(1,)",
]
RESIDUAL = [
    "--config=configs/vqvae.py:scale=tiny,kind=residual",
    "--config.model.sample_rate=4000",
    "--config.model.quantizer.num_codes=16",
    "--config.model.quantizer.num_codebooks=2",
    "--config.model.quantizer.code_width=8",
    "--config.clip_samples=2560",
    "--config.model.residual.width=8",
    "--config.model.residual.depth=1",
]
PRIOR = [
    "--config=configs/prior.py:tier=middle,scale=tiny",
    "--config.model.context=32",
    "--config.model.transformer.num_layers=2",
    "--config.model.transformer.width=16",
    "--config.model.transformer.mlp_width=32",
    "--config.model.transformer.num_heads=2",
    "--config.model.transformer.head_dim=8",
    "--config.model.transformer.dropout=0.1",
    "--config.model.conditioner.width=8",
    "--config.model.conditioner.depth=1",
]


class Trainer:
    """Starts one entry point again and again in one workdir."""

    def __init__(self, verb: str, arguments: list[str], data: str, workdir: pathlib.Path):
        self.workdir = workdir
        flags = [*arguments, *TRAINING, f"--workdir={workdir}", f"--config.data.path={data}"]
        self._command = ["-m", f"musicgen_jax.{verb}", *flags]
        self._environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": xla_flags.FAST,  # equal bits of equal programs, whatever these are
            "JAX_COMPILATION_CACHE_DIR": CACHE,  # all these processes compile the same two programs
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    def start(self, python: str) -> subprocess.Popen:
        log = (self.workdir.parent / f"{self.workdir.name}.log").open("a")
        command = [python, *self._command]
        return subprocess.Popen(command, cwd=REPOSITORY, env=self._environment, stdout=log, stderr=subprocess.STDOUT)

    def finish(self) -> None:
        """Runs to the end."""
        assert self.start(command_line.python()).wait(SECONDS) == 0, self.output()

    def start_and_signal(self, signum: int, when: Callable[[], bool]) -> int:
        """Starts a Python of its own, sends a signal as soon as `when()`, and returns the exit code."""
        process = self.start(sys.executable)
        try:
            deadline = time.monotonic() + SECONDS
            while not when():
                assert process.poll() is None, self.output()
                assert time.monotonic() < deadline, self.output()
                time.sleep(0.002)
            process.send_signal(signum)
            return process.wait(SECONDS)
        finally:
            process.kill()

    def output(self) -> str:
        return (self.workdir.parent / f"{self.workdir.name}.log").read_text()

    def steps(self) -> list[int]:
        """Checkpoints there are."""
        return sorted(int(path.name) for path in (self.workdir / "checkpoints").glob("*") if path.name.isdigit())

    def logged(self) -> list[int]:
        """Steps in metrics.jsonl."""
        return [line["step"] for line in metrics.read(self.workdir / "metrics.jsonl")]


def arrays(workdir: pathlib.Path, step: int) -> dict[str, bytes]:
    """Every array of a checkpoint, by path."""
    path = workdir / "checkpoints" / str(step)
    saved = ocp.checkpointables_metadata(path).metadata
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])  # whatever devices it was saved from
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), saved)
    loaded = ocp.load_checkpointables(path, described)
    flat = {}

    def walk(path: str, node) -> None:
        for name, value in node.items():
            walk(f"{path}/{name}", value) if isinstance(value, dict) else flat.update({f"{path}/{name}": value})

    for item in ("model", "trainer"):
        walk(item, loaded[item])
    return {path: np.asarray(value).tobytes() for path, value in flat.items()}


def log(workdir: pathlib.Path) -> list[dict]:
    """metrics.jsonl without what depends on the clock."""
    lines = metrics.read(workdir / "metrics.jsonl")
    return [{name: value for name, value in line.items() if not CLOCK.search(name)} for line in lines]


def check_resume(verb: str, arguments: list[str], data: str, root: pathlib.Path, expected_paths: list[str]) -> None:
    whole = Trainer(verb, arguments, data, root / "whole")
    whole.finish()
    assert whole.steps() == [5, 10]
    expected = arrays(whole.workdir, 10)
    for path in expected_paths:
        assert any(path in found for found in expected), path
    assert expected != arrays(whole.workdir, 5)
    lines = log(whole.workdir)
    assert [(line["step"], "eval/loss" in line) for line in lines] == [
        *((step, False) for step in range(1, 6)),
        (5, True),
        *((step, False) for step in range(6, 11)),
        (10, True),
    ]

    # kill -9 as soon as the checkpoint of step 5 is there.
    killed = Trainer(verb, arguments, data, root / "killed")
    assert killed.start_and_signal(signal.SIGKILL, lambda: 5 in killed.steps()) == -signal.SIGKILL
    shutil.rmtree(killed.workdir / "checkpoints" / "10", ignore_errors=True)  # a kill that came late is none
    assert killed.steps() == [5], killed.output()
    with (killed.workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')  # what a kill in the middle of a write leaves
    killed.finish()
    assert "resuming from step 5" in killed.output()
    assert arrays(killed.workdir, 10) == expected
    assert log(killed.workdir) == lines  # the losses of steps 6 to 10 are those of the same batches

    terminated = Trainer(verb, arguments, data, root / "terminated")
    assert terminated.start_and_signal(signal.SIGTERM, terminated.logged) == 0, terminated.output()
    (saved,) = terminated.steps()[-1:]
    assert saved < 10 and f"SIGTERM: saved step {saved}" in terminated.output()
    terminated.finish()
    assert f"resuming from step {saved}" in terminated.output()
    assert arrays(terminated.workdir, 10) == expected
    assert [line for line in log(terminated.workdir) if "loss" in line] == [line for line in lines if "loss" in line]
    assert json.loads((terminated.workdir / "config.json").read_text())["training"]["num_steps"] == 10


@pytest.mark.slow
def test_vqvae(tmp_path, tiny_audio_dataset):
    codebook = ["model/buffers/top/quantizer/counts", "model/buffers/bottom/quantizer/sums"]
    check_resume("train_vqvae", VQVAE, tiny_audio_dataset, tmp_path, [*codebook, "trainer/opt_state/", "ema_params/"])


@pytest.mark.slow
def test_vqvae_against_a_discriminator_by_data_statistics(tmp_path, tiny_audio_dataset):
    adversarial = [
        "--config.adversarial.weight=1.0",
        "--config.adversarial.fft_sizes=(128, 64)",
        "--config.adversarial.width=4",
        "--config.loss.normalization=data",
        "--config.loss.linf=0.02",
        "--config.loss.data_seconds=20.0",
        "--config.optimizer.name=adamw",  # Muon, above, takes thrice as long to compile and to load
    ]
    expected = ["model/params/discriminator/scales", "model/buffers/balancers/residual/norms", "trainer/opt_state/"]
    check_resume("train_vqvae", [*RESIDUAL, *adversarial], tiny_audio_dataset, tmp_path, expected)


@pytest.mark.slow
def test_prior(tmp_path, tiny_codes):
    expected = ["model/params/stack/layers/attention/qkv", "trainer/opt_state/", "model/ema_params/"]
    check_resume("train_prior", PRIOR, tiny_codes, tmp_path, expected)

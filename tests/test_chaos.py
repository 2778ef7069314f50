"""A run that is killed twenty times, loses checkpoints, meets read errors, flipped bits and Ctrl-C, and fills its disk
ends as if nothing had happened, bit for bit.

Real processes of the real entry point, forked from a server that has its imports behind it: a life costs a second.
"""

import multiprocessing
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import test_resume
import xla_flags

from musicgen_jax.training import metrics

pytestmark = pytest.mark.slow

KILLS = 20
STEPS, EVERY = 120, 5
SECONDS = 300  # before a life counts as hung
ARGUMENTS = [
    f"--config={test_resume.REPOSITORY}/configs/prior.py:tier=top,scale=tiny",
    *test_resume.PRIOR[1:],
    *test_resume.TRAINING,
    f"--config.training.num_steps={STEPS}",
    f"--config.training.checkpoint_every={EVERY}",
    "--config.training.eval_every=0",
]


def live(arguments: list[str], log: str, max_file_bytes: int) -> None:
    """One life of a trainer, from its entry point on, in a process of its own."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if max_file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    sys.argv = ["train_prior", *arguments]
    from musicgen_jax import train_prior
    from musicgen_jax.command_line import cli

    cli.run(train_prior.main)


class Trainer:
    """A run that lives several times in one workdir."""

    def __init__(
        self, server: multiprocessing.context.BaseContext, data: str, workdir: pathlib.Path, log: pathlib.Path
    ):
        self._server, self.workdir, self._log = server, workdir, log
        self._arguments = [*ARGUMENTS, f"--workdir={workdir}", f"--config.data.path={data}"]

    def start(self, max_file_bytes: int = 0) -> multiprocessing.Process:
        process = self._server.Process(target=live, args=(self._arguments, str(self._log), max_file_bytes), daemon=True)
        process.start()
        return process

    def finish(self, max_file_bytes: int = 0) -> int:
        """Lives to the end and returns the exit code."""
        process = self.start(max_file_bytes)
        process.join(SECONDS)
        process.kill()
        return process.exitcode

    def kill_when(self, moment: Callable[[], bool], delay: float) -> None:
        """Starts, and kills -9 so many seconds after `moment()` became true."""
        process = self.start()
        deadline = time.monotonic() + SECONDS
        while not moment():
            assert process.is_alive() and time.monotonic() < deadline, self.output()
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.join()
        assert process.exitcode == -9, self.output()

    def steps_after_start(self) -> Callable[[], int]:
        """How many steps the next life has logged; -1 before it begins, when it makes metrics.jsonl anew."""
        path = self.workdir / "metrics.jsonl"
        old, base = path.stat().st_ino if path.exists() else None, max(self.checkpoints(), default=0)

        def count() -> int:
            if not path.exists() or path.stat().st_ino == old:
                return -1
            return max((line["step"] for line in metrics.read(path)), default=0) - base

        return count

    def checkpoints(self) -> list[int]:
        return sorted(int(path.name) for path in (self.workdir / "checkpoints").glob("*") if path.name.isdigit())

    def output(self) -> str:
        return self._log.read_text(errors="replace")


@pytest.fixture
def server(monkeypatch) -> multiprocessing.context.BaseContext:
    """Forks processes in which everything is imported and no device is started."""
    paths = [str(test_resume.REPOSITORY), str(test_resume.REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", xla_flags.FAST)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", test_resume.CACHE)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["musicgen_jax.train_prior", "test_chaos"])
    return context


@pytest.fixture
def small_disk(tmp_path) -> Iterator[pathlib.Path | None]:
    """A folder on a disk of 16 MiB; None where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True, check=False)
    if not mounted or mounted.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: pathlib.Path) -> None:
    """Changes one bit in the middle, where arrays lie."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = [
    lambda checkpoint: flip(next((checkpoint / "model" / "ocdbt.process_0" / "d").iterdir())),
    lambda checkpoint: flip(next((checkpoint / "trainer" / "ocdbt.process_0" / "d").iterdir())),
    lambda checkpoint: truncate(next((checkpoint / "model" / "d").iterdir())),
    lambda checkpoint: shutil.rmtree(checkpoint / "trainer"),
    lambda checkpoint: truncate(checkpoint / "_CHECKPOINT_METADATA"),
    lambda checkpoint: (checkpoint / "model" / "manifest.ocdbt").unlink(),
]


def fill_the_disk(trainer: Trainer, disk: pathlib.Path | None) -> None:
    """A life that has room for its log but for no checkpoint ends with one line that says what to do."""
    before = trainer.output()
    room = (trainer.workdir / "metrics.jsonl").stat().st_size + 2**14
    if disk is None:
        code = trainer.finish(max_file_bytes=room)
    else:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - room))
        code = trainer.finish()
        ballast.unlink()
    said = trainer.output()[len(before) :]
    assert code == 1, said
    # Whichever file meets the full disk first: a checkpoint, or a line of metrics.
    sentences = "no space left for a checkpoint: free some", "No space left on device, while writing --workdir="
    assert said.count("error: ") == 1 and any(sentence in said for sentence in sentences), said
    assert "Traceback" not in said, said


def fail_to_read(trainer: Trainer, newest: int) -> None:
    """A life whose disk has an error ends with one line, and leaves checkpoints and metrics as they are."""
    path = trainer.workdir / "checkpoints" / str(newest) / "model" / "_METADATA"
    kept = path.with_name("kept")
    path.rename(kept)
    path.symlink_to("/proc/self/mem")  # reading its beginning is an input/output error

    def contents() -> dict[pathlib.Path, bytes]:
        whole = [trainer.workdir / "checkpoints" / str(step) for step in trainer.checkpoints()]
        files = [file for folder in whole for file in folder.rglob("*") if file.is_file() and file != path]
        return {file: file.read_bytes() for file in [*files, trainer.workdir / "metrics.jsonl"]}

    files, before = contents(), trainer.output()
    code = trainer.finish()
    said = trainer.output()[len(before) :]
    assert code == 1 and said.count("error: ") == 1 and "Traceback" not in said, said
    assert f"checkpoint {newest} in " in said and "could not be read: [Errno 5]" in said, said
    assert contents() == files
    path.unlink()
    kept.rename(path)


def interrupt(trainer: Trainer, steps: Callable[[], int]) -> None:
    """A life that meets Ctrl-C saves the step that it is in."""
    process, before = trainer.start(), trainer.output()
    while steps() < 1:
        assert process.is_alive(), trainer.output()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join(SECONDS)
    said = trainer.output()[len(before) :]
    (saved,) = re.findall(r"Ctrl-C: saved step (\d+);", said)
    assert process.exitcode == 130 and "Traceback" not in said, said
    assert trainer.checkpoints()[-1] == int(saved), said


def random_moment(
    trainer: Trainer, rng: np.random.Generator, steps: Callable[[], int], newest: int, start_seconds: float
) -> tuple[Callable[[], bool], float]:
    """When to kill the next life: (a condition, seconds after it)."""
    kind = rng.integers(4) if newest < STEPS - 50 else 0
    if kind == 0:  # while it starts, reads the checkpoint, compiles
        moment = time.monotonic() + rng.uniform(0, start_seconds)
        return lambda: time.monotonic() > moment or steps() > 0, 0.0
    if kind == 1:  # after a few steps
        after = rng.integers(1, 2 * EVERY)
        return lambda: steps() >= after, 0.0
    # While the checkpoint after the next is written.
    return lambda: max(trainer.checkpoints(), default=0) > newest, rng.uniform(0, 0.2)


def test_twenty_kills_torn_checkpoints_and_a_full_disk(tmp_path, tiny_codes, server, small_disk):
    whole = Trainer(server, tiny_codes, tmp_path / "whole", tmp_path / "whole.log")
    begun, clock = whole.steps_after_start(), time.monotonic()
    process = whole.start()
    while begun() < 1:
        assert process.is_alive(), whole.output()
        time.sleep(0.01)
    start_seconds = time.monotonic() - clock
    process.join(SECONDS)
    assert process.exitcode == 0, whole.output()

    trainer = Trainer(server, tiny_codes, (small_disk or tmp_path) / "run", tmp_path / "run.log")
    rng = np.random.default_rng(0)
    damages, full, failed = list(DAMAGES), False, False
    for kill in range(KILLS):
        steps, newest = trainer.steps_after_start(), max(trainer.checkpoints(), default=0)
        moment, delay = random_moment(trainer, rng, steps, newest, start_seconds)
        trainer.kill_when(moment, delay)
        whole_ones = trainer.checkpoints()
        if kill >= 4 and not full and whole_ones:
            fill_the_disk(trainer, small_disk)
            full = True
        elif full and not failed and whole_ones and whole_ones[-1] < STEPS - 50:
            fail_to_read(trainer, whole_ones[-1])
            interrupt(trainer, trainer.steps_after_start())
            failed = True
        elif kill % 2 and damages and len(whole_ones) > 1:
            damages.pop()(trainer.workdir / "checkpoints" / str(whole_ones[-1]))
    assert full and failed and not damages, trainer.output()

    assert trainer.finish() == 0, trainer.output()
    assert trainer.output().count(" is damaged: ") >= len(DAMAGES)
    assert test_resume.arrays(trainer.workdir, STEPS) == test_resume.arrays(whole.workdir, STEPS)
    assert test_resume.log(trainer.workdir) == test_resume.log(whole.workdir)

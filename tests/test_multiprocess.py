"""Real processes that train together: the same as one, and when one is stopped or killed, all end and go on later."""

import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import command_line
import numpy as np
import pytest
import test_chaos
import test_resume
import xla_flags

pytestmark = pytest.mark.slow

LAUNCHER = test_resume.REPOSITORY / "launch" / "local_processes.sh"
SECONDS = 600  # before a process counts as hung
STEPS, EVERY = 30, 10
PRIOR = ["--config=configs/prior.py:tier=top,scale=tiny", *test_resume.PRIOR[1:]]
LONGER = [
    f"--config.training.num_steps={STEPS}",
    f"--config.training.checkpoint_every={EVERY}",
    "--config.training.keep_checkpoints=9",
]
SECONDS_TO_NOTICE = 60  # that a partner is gone; JAX's own heartbeat takes 100


class Trainers(test_resume.Trainer):
    """The same training command as several processes; their output goes to WORKDIR.log and WORKDIR.NUMBER.log."""

    def __init__(self, data: str, workdir: pathlib.Path):
        super().__init__("train_prior", PRIOR, data, workdir)
        self._command += LONGER  # the later flag wins
        # Each start compiles, in 3 s instead of 30: JAX's cache serves process 0 alone, and what it gives back may wait
        # for the other processes in another order than theirs.
        del self._environment["JAX_COMPILATION_CACHE_DIR"]
        self._environment["XLA_FLAGS"] = xla_flags.FAST

    def start_all(self, num_processes: int, python: str) -> list[subprocess.Popen]:
        with socket.create_server(("", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
        processes = []
        for number in range(num_processes):
            place = {"COORDINATOR": address, "NUM_PROCESSES": num_processes, "PROCESS_ID": number}
            environment = {f"MUSICGEN_JAX_{name}": str(value) for name, value in place.items()}
            with self.log(number).open("a") as log:
                processes.append(
                    subprocess.Popen(
                        [python, *self._command],
                        cwd=test_resume.REPOSITORY,
                        env=self._environment | environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        return processes

    def finish_all(self, num_processes: int) -> None:
        """Runs to the end."""
        processes = self.start_all(num_processes, command_line.python())
        assert wait_for(processes, SECONDS) == [0] * num_processes, self.outputs()

    def launch(self, *before: str) -> subprocess.CompletedProcess:
        """Two processes by the launcher; `before` is put in front of the command."""
        return subprocess.run(
            [LAUNCHER, "2", *before, sys.executable, *self._command],
            cwd=test_resume.REPOSITORY,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def signal_one(self, number: int, signum: int, when: Callable[[], bool], seconds: float) -> list[int]:
        """Starts two Pythons of their own, sends one a signal as soon as `when()`, and returns both exit codes."""
        processes = self.start_all(2, sys.executable)
        try:
            deadline = time.monotonic() + SECONDS
            while not when():
                assert all(process.poll() is None for process in processes), self.outputs()
                assert time.monotonic() < deadline, self.outputs()
                time.sleep(0.002)
            processes[number].send_signal(signum)
            return wait_for(processes, seconds)
        finally:
            for process in processes:
                process.kill()

    def log(self, number: int) -> pathlib.Path:
        return self.workdir.parent / f"{self.workdir.name}.{number}.log"

    def outputs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.workdir.parent.glob("*.log")))


def wait_for(processes: list[subprocess.Popen], seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    try:
        return [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()


def losses(workdir: pathlib.Path, name: str = "loss") -> dict[int, float]:
    return {line["step"]: line[name] for line in test_resume.log(workdir) if name in line}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_codes) -> Trainers:
    """Two processes, undisturbed, started by the launcher."""
    trainers = Trainers(tiny_codes, tmp_path_factory.mktemp("whole") / "whole")
    result = trainers.launch()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "[0] " in result.stdout and "[1] " in result.stdout
    for said in ("running on ", "train: 100 %", "next: "):
        assert f"[0] {said}" in result.stdout and f"[1] {said}" not in result.stdout, "the first one speaks for all"
    assert trainers.steps() == [10, 20, 30]
    return trainers


def test_two_equal_one(tmp_path, tiny_codes, whole):
    alone = Trainers(tiny_codes, tmp_path / "alone")
    alone.finish()
    for name in ("loss", "eval/loss", "grad_norm"):
        together, expected = losses(whole.workdir, name), losses(alone.workdir, name)
        assert together.keys() == expected.keys() and len(expected) >= STEPS // 5
        np.testing.assert_allclose(list(together.values()), list(expected.values()), atol=1e-5, rtol=1e-5)
    assert losses(whole.workdir)[STEPS] < losses(whole.workdir)[1]


@pytest.mark.parametrize(("signum", "name", "code"), [(signal.SIGTERM, "SIGTERM", 0), (signal.SIGINT, "Ctrl-C", 130)])
def test_a_signal_to_one(signum, name, code, tmp_path, tiny_codes, whole):
    trainers = Trainers(tiny_codes, tmp_path / "stopped")
    codes = trainers.signal_one(1, signum, trainers.logged, SECONDS)
    assert codes == [0, code], trainers.outputs()
    (saved,) = trainers.steps()[-1:]
    assert saved < STEPS and f"SIGTERM: saved step {saved}" in trainers.log(0).read_text()
    assert "Traceback" not in trainers.outputs() and ("once more ends it" in trainers.outputs()) == (name == "Ctrl-C")
    trainers.finish_all(2)
    assert f"resuming from step {saved}" in trainers.log(0).read_text()
    assert test_resume.arrays(trainers.workdir, STEPS) == test_resume.arrays(whole.workdir, STEPS)


def test_a_flipped_bit_and_a_read_error_that_one_process_alone_meets(tmp_path, tiny_codes, whole):
    trainers = Trainers(tiny_codes, tmp_path / "run")
    shutil.copytree(whole.workdir, trainers.workdir)
    elsewhere = tmp_path / "elsewhere"  # what process 1 reads
    shutil.copytree(whole.workdir, elsewhere)
    metadata = elsewhere / "checkpoints" / str(STEPS) / "trainer" / "_METADATA"
    metadata.unlink()
    metadata.symlink_to("/proc/self/mem")  # reading its beginning is an input/output error
    script = f'[ $MUSICGEN_JAX_PROCESS_ID = 0 ] || set -- "$@" --workdir={elsewhere}; "$@"'
    result = trainers.launch("bash", "-c", script, "bash")
    output = result.stdout + result.stderr
    assert result.returncode == 1 and "Traceback" not in output, output
    assert f"checkpoint {STEPS} in {elsewhere}" in output and "could not be read: [Errno 5]" in output, output
    assert trainers.steps() == [10, 20, 30] and "damaged" not in output

    (data,) = (trainers.workdir / "checkpoints" / str(STEPS) / "model" / "ocdbt.process_1" / "d").iterdir()
    test_chaos.flip(data)
    trainers.finish_all(2)
    said = trainers.log(0).read_text()
    assert (
        f"checkpoint {STEPS} in " in said and f"it is now {STEPS}.damaged" in said and "resuming from step 20" in said
    )
    assert test_resume.arrays(trainers.workdir, STEPS) == test_resume.arrays(whole.workdir, STEPS)


@pytest.mark.parametrize("number", [0, 1])
def test_kill_9_of_one(number, tmp_path, tiny_codes, whole):
    trainers = Trainers(tiny_codes, tmp_path / "killed")
    codes = trainers.signal_one(number, signal.SIGKILL, lambda: EVERY in trainers.steps(), SECONDS_TO_NOTICE)
    assert codes[number] == -signal.SIGKILL and codes[1 - number] != 0, trainers.outputs()
    # JAX ends a process at once when its coordinator, process 0, is gone: either may be the faster to say so.
    said = trainers.log(1 - number).read_text()
    assert f"error: process {number} of 2" in said or (number == 0 and "another task died" in said), said
    for late in (20, 30):  # a kill that came late is none
        shutil.rmtree(trainers.workdir / "checkpoints" / str(late), ignore_errors=True)

    alone = Trainers(tiny_codes, tmp_path / "alone")
    shutil.copytree(trainers.workdir, alone.workdir)
    trainers.finish_all(2)
    assert f"resuming from step {EVERY}" in trainers.log(0).read_text()
    assert test_resume.arrays(trainers.workdir, STEPS) == test_resume.arrays(whole.workdir, STEPS)

    if number:  # one process goes on where two were
        alone.finish()
        assert f"resuming from step {EVERY}" in alone.output()
        final, expected = losses(alone.workdir), losses(whole.workdir)
        np.testing.assert_allclose([final[s] for s in expected], list(expected.values()), atol=1e-5, rtol=1e-5)


def test_an_error_in_one_ends_all(tmp_path, tiny_codes):
    """The launcher's exit code is the failure's; each process says what happened; nobody waits."""
    trainers = Trainers(tiny_codes, tmp_path / "failed")
    # Only process 1 has no data: a host whose disk was not mounted.
    script = '[ $MUSICGEN_JAX_PROCESS_ID = 0 ] || set -- "$@" --config.data.path=/nowhere; "$@"'
    result = trainers.launch("bash", "-c", script, "bash")
    output = result.stdout + result.stderr
    assert result.returncode == 1, output
    assert "[1] error: " in output and "/nowhere" in output
    assert "[0] error: process 1 of 2" in output
    assert "Traceback" not in output, output

"""extract_codes as several real processes: each does its share, and the codes are those of one process."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
import tiny_workdirs
import xla_flags
from conftest import prepare_tones

from musicgen_jax import config
from musicgen_jax.data import output_folder, shards

pytestmark = pytest.mark.slow

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
LAUNCHER = REPOSITORY / "launch" / "local_processes.sh"
SECONDS = 600  # before a process counts as hung
# Two records a file, as if there were much audio; and time enough for a signal to come in between.
SMALL_FILES = """
import time
from musicgen_jax.data import shard_files
shard_files.RECORDS_PER_SHARD = 2
write = shard_files.write_records
def slowly(*arguments):
    time.sleep(0.1)
    return write(*arguments)
shard_files.write_records = slowly
from musicgen_jax import extract_codes
from musicgen_jax.command_line import cli
cli.run(extract_codes.main)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_tokenizer) -> pathlib.Path:
    """A tokenizer in `vqvae`, audio of 24 tracks in `audio`."""
    root = tmp_path_factory.mktemp("folders")
    run = config.VQVAETraining(model=tiny_tokenizer.config)
    tiny_workdirs.write_workdir(root / "vqvae", run, tiny_tokenizer._weights)
    prepare_tones(root / "audio", (60_000, 90_000, 30_000, 123_456) * 6)
    return root


def command(folders: pathlib.Path, out: pathlib.Path) -> list[str]:
    flags = [f"--vqvae={folders / 'vqvae'}", f"--data={folders / 'audio'}", f"--out={out}", "--window_seconds=4"]
    return [sys.executable, "-c", SMALL_FILES, *flags]


def environment() -> dict[str, str]:
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags.FAST}


@pytest.fixture(scope="module")
def alone(folders) -> dict[str, bytes]:
    """What one process writes."""
    out = folders / "alone"
    subprocess.run(command(folders, out), cwd=REPOSITORY, env=environment(), check=True, timeout=SECONDS)
    return contents(out)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_write_what_one_writes(folders, alone):
    out = folders / "together"
    done = subprocess.run(
        [LAUNCHER, "2", *command(folders, out)],
        cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(out) == alone and len(alone) > 15
    assert "[0] " in done.stdout and "[0] next: " in done.stdout and "[1] next: " not in done.stdout


@pytest.mark.parametrize("number", [0, 1])
def test_one_is_killed_and_one_alone_goes_on(folders, alone, number):
    out = folders / f"killed{number}"
    place = output_folder.Place(out)
    processes = start_two(folders, out)
    try:
        written = place.spool / "sizes"
        deadline = time.monotonic() + SECONDS
        while len(list(written.glob("*"))) < 2:
            assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
            time.sleep(0.002)
        processes[number].send_signal(signal.SIGKILL)
        for process in processes:
            process.wait(SECONDS)
    finally:
        for process in processes:
            process.kill()
    assert not shards.is_complete(out), "the kill came too late to be one"
    done = [path.name for path in written.iterdir() if not path.name.startswith(".")]  # others were being written
    before = {name: (place.partial / name).stat().st_mtime_ns for name in done}
    subprocess.run(command(folders, out), cwd=REPOSITORY, env=environment(), check=True, timeout=SECONDS)
    assert contents(out) == alone
    assert before and all((out / name).stat().st_mtime_ns == time for name, time in before.items())


def start_two(folders: pathlib.Path, out: pathlib.Path) -> list[subprocess.Popen]:
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    places = [
        {"MUSICGEN_JAX_COORDINATOR": address, "MUSICGEN_JAX_NUM_PROCESSES": "2", "MUSICGEN_JAX_PROCESS_ID": str(number)}
        for number in range(2)
    ]
    return [subprocess.Popen(command(folders, out), cwd=REPOSITORY, env=environment() | place) for place in places]

"""The same preparation on Apache Beam: killed and started again, two workers give the bytes of one process."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from musicgen_jax.data import beam_runner, output_folder, shards
from musicgen_jax.runtime.errors import UserError

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
RATE = 8000
TWO_WORKERS = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
SECONDS = 300  # before a process counts as hung
NUM_FILES = 24
# A track a part and two records a shard, as if there were much audio.
PREPARE = """
import sys
from absl import flags
from musicgen_jax import prepare_data
from musicgen_jax.command_line import cli
from musicgen_jax.data import shard_files, spool
spool.MAX_TRACKS, shard_files.RECORDS_PER_SHARD = 1, 2
if __name__ == "__main__":
    cli.run(prepare_data.main)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    """Recordings of 2 to 25 s, and a file that is none."""
    folder = tmp_path_factory.mktemp("beam") / "in"
    for index in range(NUM_FILES):
        audio = np.random.default_rng(index).standard_normal((2 + index) * RATE) * 0.1
        (folder / f"genre{index % 3}").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"genre{index % 3}" / f"{index:02d}.flac", audio, RATE)
    (folder / "broken.mp3").write_text("no music " * 100)
    return folder


@pytest.fixture(scope="module")
def beam() -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: pip install 'musicgen_jax[beam]'")


def command(source: pathlib.Path, out: pathlib.Path, *flags: str) -> list[str]:
    where = ["--dataset=recordings", f"--source={source}", f"--out={out}", f"--sample_rate={RATE}"]
    return [sys.executable, "-c", PREPARE, *where, *flags]


def start(source: pathlib.Path, out: pathlib.Path, *flags: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(source, out, *flags), cwd=REPOSITORY, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_gives_the_bytes_of_one_process(source, tmp_path, beam):
    alone = start(source, tmp_path / "alone", "--runner=serial")
    assert alone.wait(SECONDS) == 0, alone.stdout.read()
    on_beam = ["--runner=direct", f"--beam_options={' '.join(TWO_WORKERS)}"]
    out = tmp_path / "out"
    parts = output_folder.Place(out).spool / "parts"
    killed = start(source, out, *on_beam)
    try:
        deadline = time.monotonic() + SECONDS
        while len(list(parts.glob("*/*.rows"))) < NUM_FILES // 3:
            assert killed.poll() is None and time.monotonic() < deadline, killed.stdout.read()
            time.sleep(0.002)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)  # its workers too, as where a machine goes down
        killed.wait(SECONDS)
    made = {path: modified(path) for path in parts.glob("*/*.rows")}
    assert NUM_FILES // 3 <= len(made) < NUM_FILES + 1, "the kill came too late to be one"
    assert not shards.is_complete(out) and all(path.name.startswith(".") for path in out.iterdir())

    again = start(source, out, *on_beam)
    seen = dict(made)
    while again.poll() is None:
        seen |= {path: when for path in made if (when := modified(path)) is not None}
        time.sleep(0.002)
    output = again.stdout.read()
    assert again.returncode == 0, output
    assert seen == made, "a part that was whole was made again"
    assert contents(out) == contents(tmp_path / "alone")
    assert len(list(out.glob("*.array_record-*"))) > 10 and "read tracks: 100 %" in output
    assert "INFO:" not in output.replace("INFO:__main__:Logging handler created", "")


def modified(path: pathlib.Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # all is done, and the spool goes
        return None


def test_what_beam_does_not_know_is_refused(beam):
    with pytest.raises(UserError, match="Apache Beam has no option --direct_numworkers=2"):
        beam_runner.BeamRunner("direct", ["--direct_numworkers=2"])
    with pytest.raises(UserError, match="Apache Beam has no option stray"):
        beam_runner.BeamRunner("direct", ["--streaming", "stray"])


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (["--direct_num_workers=1"], "direct_num_workers", 1),
        (["--direct_num_workers", "2"], "direct_num_workers", 2),
        (["--streaming"], "streaming", True),
    ],
)
def test_options_may_be_defaults_or_two_words(beam, options, name, value):
    assert beam_runner.BeamRunner("direct", options)._options.get_all_options()[name] == value


def test_a_value_that_beam_does_not_take_is_refused(beam):
    with pytest.raises(UserError, match=r"beam_options.*direct_num_workers.*invalid int value: 'many'"):
        beam_runner.BeamRunner("direct", ["--direct_num_workers=many"])


def test_without_beam_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.options", None)
    with pytest.raises(UserError, match=r"runner=flink needs Apache Beam, .* pip install 'musicgen_jax\[beam\]'"):
        beam_runner.BeamRunner("flink")

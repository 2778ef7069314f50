"""What a long loop and a finished command tell a person on stderr."""

import io
import os
import pty
import re
import subprocess
import sys
import types

import pytest

from musicgen_jax.runtime import console, progress_report


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """[now]: the seconds that the module sees, which the test moves on."""
    now = [100.0]
    monkeypatch.setattr(progress_report, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    return now


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == "", "stdout is for other programs"
    assert "\r" not in captured.err
    return [line for line in captured.err.splitlines() if not line.startswith("running on")]


def test_a_log_gets_a_line_every_tenth(capsys, clock):
    with progress_report.Progress("train", 900, "steps") as bar:
        for step in range(900):
            clock[0] += 60.0 if step == 0 else 0.5  # compiles first
            bar.note(f"loss {step}")
            bar.update()
    lines = lines_of(capsys)
    assert len(lines) == 10
    assert lines[0] == "train: 10 %, 90 of 900 steps, 01:44 elapsed, 06:45 left, 2 steps/s, loss 89"
    assert lines[-1] == "train: 100 %, 900 of 900 steps, 08:29 elapsed, 2 steps/s, loss 899"


def test_compiling_says_nothing_about_the_time_left(capsys, clock):
    with progress_report.Progress("sample top", 20, "codes") as bar:
        clock[0] += 60.0
        bar.update(2)
        clock[0] += 1.0
        bar.update(2)
    first, second = lines_of(capsys)
    assert "left" not in first and "codes/s" not in first
    assert "00:08 left, 2 codes/s" in second


def test_what_was_found_done_says_nothing_about_the_speed(capsys, clock):
    with progress_report.Progress("sample top", 1000, "codes", done=200) as bar:
        bar.skip(300)
        for _ in range(5):
            clock[0] += 10.0
            bar.update(100)
    lines = lines_of(capsys)
    assert [line.split(",")[0] for line in lines] == [
        f"sample top: {percent} %" for percent in (50, 60, 70, 80, 90, 100)
    ]
    assert "10 codes/s" in lines[2]


def test_the_total_is_never_passed(capsys):
    with progress_report.Progress("extract codes", 12.3, "audio-s") as bar:
        for _ in range(13):
            bar.update(1.0)
    assert lines_of(capsys)[-1].startswith("extract codes: 100 %, 12 of 12 audio-s")


def test_fractions_add_up_to_the_whole(capsys):
    with progress_report.Progress("reconstruct", 0.3, "audio-s") as bar:
        for _ in range(3):
            bar.update(0.1)
    assert lines_of(capsys)[-1].startswith("reconstruct: 100 %")


def test_nothing_to_do_prints_nothing(capsys):
    with progress_report.Progress("check files", 0, "MB") as bar:
        bar.update(0)
    with progress_report.Progress("train", 9, "steps", show=False) as bar:
        bar.update(9)
    assert lines_of(capsys) == []


BARS = """
from musicgen_jax.runtime import progress_report
with progress_report.Progress("train", 4, "steps") as bar:
    for step in range(4):
        bar.note(f"loss {step}")
        bar.update()
"""


def test_a_terminal_gets_a_bar():
    """Of a terminal that says it has no columns, too: a fresh pseudo-terminal has none."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", BARS], stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    text = b""
    while chunk := _read(ours):
        text += chunk
    assert process.wait(timeout=60) == 0
    os.close(ours)
    shown = text.decode().split("\r")
    assert "running on" in shown[0]
    assert re.search(r"train: 100 %\|█+\| 4 of 4 steps \[00:\d\d<00:00, .* steps/s, loss 3\]", shown[-2]), shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


def test_devices_are_told_once(capsys):
    console.say_once.cache_clear()
    console.say_devices()
    console.say_devices(None)
    assert capsys.readouterr().err == f"running on {console.describe_cores(console.num_cores())}\n"


class Device:
    platform, device_kind = "gpu", "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("devices", "processes", "text"),
    [(1, 1, "1 x NVIDIA H100 80GB HBM3"), (16, 4, "16 x NVIDIA H100 80GB HBM3 in 4 processes")],
)
def test_accelerators_are_counted_and_named(monkeypatch, devices, processes, text):
    monkeypatch.setattr("jax.devices", lambda: [Device()] * devices)
    monkeypatch.setattr("jax.process_count", lambda: processes)
    assert console.describe_devices() == text


def test_only_the_first_process_speaks(monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    console.say("hello")
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize(
    ("argv", "orig_argv", "start"),
    [
        (
            ["/x/train_vqvae.py"],
            [".venv/bin/python", "-m", "musicgen_jax.train_vqvae"],
            ".venv/bin/python -m musicgen_jax.",
        ),
        (["/nowhere/musicgen-jax"], ["/x/python", "/nowhere/musicgen-jax"], "/nowhere/musicgen-jax "),
        (["a_script.py"], ["python3", "a_script.py"], "python -m musicgen_jax."),
    ],
)
def test_the_next_command_is_started_like_this_one(monkeypatch, capsys, argv, orig_argv, start):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    console.say_next("sample", {"vqvae": os.path.abspath("my run/vqvae"), "middle": "", "seconds": "8"})
    assert capsys.readouterr().err == f"next: {start}sample '--vqvae=my run/vqvae' --seconds=8\n"

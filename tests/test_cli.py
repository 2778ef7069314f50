"""Entry points fail with one line on stderr and exit code 1."""

import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]

APP = """
from absl import flags
from musicgen_jax import cli
N = flags.DEFINE_integer("n", None, "a number", required=True)
def main():
    if N.value == 1: raise ValueError("n is 1;\\n  choose 2")
    if N.value == 2: open("/nonexistent/file")
    if N.value == 3: raise KeyboardInterrupt
    if N.value == 4: raise AssertionError("a defect")
    print("fine")
cli.run(main)
"""


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", APP, *arguments], cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n=1"], "error: n is 1; choose 2\n"),
        (["--n=2"], "No such file"),
        ([], "--n must have a value"),
        (["--n=x"], "--n=x"),
        (["--n=5", "--m=1"], "Unknown command line flag 'm'"),
        (["--n=5", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_user_errors_are_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


def test_the_rest():
    assert run("--n=5").stdout == "fine\n"
    assert run("--n=3").returncode == 130
    for arguments in (["--n=4"], ["--n=1", "--traceback"]):  # a defect of ours, or asked for
        done = run(*arguments)
        assert done.returncode != 0 and "Traceback" in done.stderr
    assert "a number" in run("--help").stdout

"""Set-up by make: which Python it takes, and what it says where there is none."""

import os
import pathlib
import shutil
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SYSTEM = "sh make touch mkdir chmod rm"
OLD = "exit 1"  # to the question whether it is new enough
# Makes an environment whose python and pip do nothing but say that they were called.
NEW = """
case "$*" in
  *venv*)
    mkdir -p "$3/bin"
    printf '#!/bin/sh\\necho "$0 $*" >> "%s"\\n' "$LOG" > "$3/bin/python"
    chmod +x "$3/bin/python" ;;
esac
"""
NO_ENSUREPIP = 'case "$*" in *venv*) echo "ensurepip is not available"; exit 1 ;; esac'


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """The Makefile, with a demo that does nothing, in a folder of its own."""
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "demo.sh").write_text('#!/bin/sh\necho "demo with $PYTHON" >> "$LOG"\n')
    (tmp_path / "launch" / "demo.sh").chmod(0o755)
    (tmp_path / "setup.py").touch()
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    return tmp_path


def make(checkout: pathlib.Path, *arguments: str, **pythons: str) -> subprocess.CompletedProcess:
    """Runs make on a machine that has nothing but a shell, make and the given Pythons (name -> body in shell)."""
    programs = checkout / "programs"
    shutil.rmtree(programs, ignore_errors=True)
    programs.mkdir()
    for name in SYSTEM.split():
        (programs / name).symlink_to(shutil.which(name))
    for name, body in pythons.items():
        path = programs / name.replace("_", ".")
        path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> "$LOG"\n{body}\n')
        path.chmod(0o755)
    environment = {"PATH": str(programs), "LOG": str(checkout / "log"), "HOME": "/nonexistent"}
    return subprocess.run(
        ["make", *arguments], cwd=checkout, env=environment, capture_output=True, text=True, timeout=60
    )


def log(checkout: pathlib.Path) -> str:
    return (checkout / "log").read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestSetUp:
    def test_the_first_python_that_is_new_enough(self, checkout):
        done = make(checkout, "demo", python3=OLD, python3_11=NEW)
        assert done.returncode == 0, done.stderr
        lines = log(checkout).splitlines()
        assert "python3.11 -m venv .venv" in lines
        assert any(line.startswith(".venv/bin/python -m pip install") and "-e .[demo]" in line for line in lines)
        assert lines[-1] == "demo with .venv/bin/python"

    def test_installed_once(self, checkout):
        make(checkout, "demo", python3=NEW)
        os.remove(checkout / "log")
        done = make(checkout, "demo", python3=NEW)
        assert done.returncode == 0 and log(checkout) == "demo with .venv/bin/python\n"

    def test_none_is_new_enough(self, checkout):
        done = make(checkout, "demo", python3=OLD)
        assert done.returncode != 0
        assert "error: Python 3.11 or newer is needed, and none was found among: python3 python3.12" in done.stderr
        assert "make demo PYTHON=/path/to/python3.12" in done.stderr
        assert not (checkout / ".venv").exists()

    def test_the_one_that_is_named(self, checkout):
        done = make(checkout, "demo", "PYTHON=mine", "VENV=other", python3=NEW, mine=NEW)
        assert done.returncode == 0, done.stderr
        assert "mine -m venv other" in log(checkout) and "python3 " not in log(checkout)
        assert "demo with other/bin/python" in log(checkout)

    def test_a_python_without_ensurepip(self, checkout):
        """What it says itself is shown; the next attempt begins anew."""
        done = make(checkout, "demo", python3=NO_ENSUREPIP)
        assert done.returncode != 0
        assert "ensurepip is not available" in done.stdout and "could not make the virtual environment" in done.stderr
        assert make(checkout, "demo", python3=NEW).returncode == 0

    def test_an_environment_of_an_old_python(self, checkout):
        (checkout / ".venv" / "bin").mkdir(parents=True)
        python = checkout / ".venv" / "bin" / "python"
        python.write_text('#!/bin/sh\ncase "$*" in *pip*) ;; *) exit 1 ;; esac\n')
        python.chmod(0o755)
        done = make(checkout, "demo", python3=NEW)
        assert (
            done.returncode != 0 and ".venv was made by a Python older than 3.11: remove it (make clean)" in done.stderr
        )

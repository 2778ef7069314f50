"""A virtual environment in which nothing of this repository is importable until a test installs it.

It sees the packages that the tests run with, so that nothing comes from a network.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SOURCES = ("musicgen_jax", "configs", "colab", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def copy_sources(folder: pathlib.Path) -> pathlib.Path:
    """What a clone holds that installing and running need, without what was built beside it."""
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


def make(folder: pathlib.Path, *wheels: pathlib.Path) -> pathlib.Path:
    """Makes the environment, installs the wheels, and returns its bin/."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    for wheel in wheels:
        pip("--python", str(python), "install", "--no-index", "--no-deps", str(wheel))
    # Last: pip would take an editable installation of this repository, which lies there as well, for the same. A path
    # in a .pth file is searched, but the .pth files in it are not read, so that installation has no effect here.
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "test_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def pip(*arguments: str, cwd: pathlib.Path | None = None) -> None:
    """Runs the pip of the test environment."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr


def environment(**more: str) -> dict[str, str]:
    """Variables of a shell that knows nothing of this repository."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more

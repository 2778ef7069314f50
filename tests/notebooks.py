"""Notebooks, as a person runs them: alone, in an environment of their own."""

import json
import pathlib
import subprocess

import clean_environment
import nbformat
import xla_flags
from nbclient import NotebookClient


def read(name: str) -> nbformat.NotebookNode:
    """A notebook of colab/."""
    return nbformat.read(clean_environment.REPOSITORY / "colab" / name, as_version=4)


def replace(notebook: nbformat.NotebookNode, id: str, source: str) -> None:
    """Gives a cell another source."""
    next(cell for cell in notebook.cells if cell.id == id).source = source


def git_repository(folder: pathlib.Path) -> str:
    """A repository to clone, with what this one holds; its URL."""
    clean_environment.copy_sources(folder)
    commit = ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message=all"]
    for command in (["init", "--quiet"], ["add", "--all"], commit):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder.as_uri()


def execute(notebook: nbformat.NotebookNode, folder: pathlib.Path, environment: pathlib.Path, monkeypatch) -> None:
    """Runs it in `folder`, in a kernel of the environment, which takes nothing from a network."""
    kernel = environment.parent / "jupyter" / "kernels" / "clean"
    kernel.mkdir(parents=True)
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    spec = {
        "argv": [str(environment / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "clean",
        "language": "python",
        "env": {"PYTHONPATH": "", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags.FAST} | offline,
    }
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(environment.parent / "jupyter"))
    client = NotebookClient(notebook, timeout=900, kernel_name="clean", resources={"metadata": {"path": str(folder)}})
    try:
        client.execute()
    finally:
        nbformat.write(notebook, folder / "executed.ipynb")  # for a person who looks for the cause of a failure


def text_of(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """What each code cell printed."""
    return {
        cell.id: "".join(output.get("text", "") for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def count_players(notebook: nbformat.NotebookNode) -> int:
    """How many sounds its cells show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("<audio" in output.get("data", {}).get("text/html", "") for output in outputs)

"""The notebook, from top to bottom with few training steps, as a person has it: alone, in an environment of its own."""

import ast
import json
import pathlib
import subprocess

import clean_environment
import nbformat
import pytest
import xla_flags
from IPython.core import inputtransformer2
from nbclient import NotebookClient

NOTEBOOK = clean_environment.REPOSITORY / "colab" / "quickstart.ipynb"


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def replace(notebook: nbformat.NotebookNode, id: str, source: str) -> None:
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


def test_it_is_stored_without_a_former_run_and_every_cell_is_python():
    for cell in read().cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            ast.parse(inputtransformer2.TransformerManager().transform_cell(cell.source))


@pytest.mark.slow
def test_quickstart_runs_from_top_to_bottom(tmp_path, tones_folder, monkeypatch):
    environment = tmp_path / "environment"
    clean_environment.make(environment)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    notebook = read()
    replace(notebook, "repository", f'repository_url = "{git_repository(tmp_path / "origin")}"')
    dataset = f"--dataset=recordings --source={tones_folder}"
    parameters = f'out = "run"\ndataset = "{dataset}"\nvqvae_steps = 6\nprior_steps = 6\nseconds = 1.5'
    replace(notebook, "parameters", parameters)
    # Cells are run again, in any notebook's life: those up to the first sound.
    again = next(index for index, cell in enumerate(notebook.cells) if cell.id == "codes")
    repeated = nbformat.from_dict(json.loads(json.dumps(notebook.cells[:again])))
    for cell in repeated:
        cell.id += "-again"
    notebook.cells[again:again] = repeated
    execute(notebook, elsewhere, environment, monkeypatch)
    assert (elsewhere / "musicgen_jax_repository" / "configs").is_dir()
    printed = text_of(notebook)
    assert printed["setup-again"] == "", "it was installed already"
    assert "nothing to do" in printed["data-again"] and "resuming from step 6" in printed["tokenizer-again"]
    assert "\r" not in "".join(printed.values())
    assert count_players(notebook) == 4 + 4 + 4
    metrics = json.loads((elsewhere / "run" / "report" / "metrics.json").read_text())
    assert set(metrics["prior"]) == {"top", "middle", "bottom", "bits_per_second"}
    assert (elsewhere / "run" / "report" / "report.html").stat().st_size > 100_000


def text_of(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """What each code cell printed."""
    return {
        cell.id: "".join(output.get("text", "") for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def count_players(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("<audio" in output.get("data", {}).get("text/html", "") for output in outputs)


@pytest.mark.slow
def test_outside_a_clone_it_says_what_is_missing(tmp_path, monkeypatch):
    environment = tmp_path / "environment"
    clean_environment.make(environment)
    notebook = read()
    with pytest.raises(Exception, match="set repository_url in the cell above"):
        execute(notebook, tmp_path, environment, monkeypatch)

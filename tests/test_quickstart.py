"""The notebook, executed from top to bottom with few training steps."""

import json
import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = pathlib.Path(__file__).resolve().parents[1] / "colab" / "quickstart.ipynb"


def few_steps(notebook: nbformat.NotebookNode, out: pathlib.Path, dataset: str) -> None:
    """Rewrites the parameters cell."""
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source = f'out = "{out}"\ndataset = "{dataset}"\nvqvae_steps = 6\nprior_steps = 6\nseconds = 1.5'


@pytest.mark.slow
def test_quickstart_runs_from_top_to_bottom(tmp_path: pathlib.Path, tones_folder: pathlib.Path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    few_steps(notebook, tmp_path, f"--dataset=recordings --source={tones_folder}")
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()
    players = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "<audio" in output.get("data", {}).get("text/html", "")
    ]
    assert len(players) == 4
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert set(metrics["prior"]) == {"top", "middle", "bottom", "bits_per_second"}
    assert (tmp_path / "report" / "report.html").stat().st_size > 100_000

"""The notebook, from top to bottom with few training steps, as a person has it: alone, in an environment of its own."""

import ast
import json

import clean_environment
import nbformat
import notebooks
import pytest
import test_pipeline
from IPython.core import inputtransformer2

NAME = "quickstart.ipynb"


@pytest.mark.parametrize("name", [NAME, "musicgen.ipynb"])
def test_they_are_stored_without_a_former_run_and_every_cell_is_python(name):
    for cell in notebooks.read(name).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            ast.parse(inputtransformer2.TransformerManager().transform_cell(cell.source))


@pytest.mark.slow
def test_quickstart_runs_from_top_to_bottom(tmp_path, tones_folder, monkeypatch):
    environment = tmp_path / "environment"
    clean_environment.make(environment)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    notebook = notebooks.read(NAME)
    notebooks.replace(notebook, "repository", f'repository_url = "{notebooks.git_repository(tmp_path / "origin")}"')
    dataset = f"--dataset=recordings --source={tones_folder}"
    parameters = f'out = "run"\ndataset = "{dataset}"\nvqvae_steps = 6\nprior_steps = 7\nseconds = 1.0\n'
    # Smaller models as well, by more flags where a number of steps becomes one.
    small = {6: test_pipeline.SMALL_TOKENIZERS["tiers"], 7: test_pipeline.SMALL_PRIOR}
    cheap = [*test_pipeline.QUICK_TO_COMPILE, "--config.data.batch_size=2"]
    parameters += f"flag_of, small, cheap = num_steps, {small}, {cheap}\n"
    parameters += "num_steps = lambda number: [*flag_of(number), *small[number], *cheap]"
    notebooks.replace(notebook, "parameters", parameters)
    # Cells are run again, in any notebook's life: those up to the first sound.
    again = next(index for index, cell in enumerate(notebook.cells) if cell.id == "codes")
    repeated = nbformat.from_dict(json.loads(json.dumps(notebook.cells[:again])))
    for cell in repeated:
        cell.id += "-again"
    notebook.cells[again:again] = repeated
    notebooks.execute(notebook, elsewhere, environment, monkeypatch)
    assert (elsewhere / "musicgen_jax_repository" / "configs").is_dir()
    printed = notebooks.text_of(notebook)
    assert printed["setup-again"] == "", "it was installed already"
    assert "nothing to do" in printed["data-again"] and "resuming from step 6" in printed["tokenizer-again"]
    assert "\r" not in "".join(printed.values())
    assert notebooks.count_players(notebook) == 4 + 4 + 4
    metrics = json.loads((elsewhere / "run" / "report" / "metrics.json").read_text())
    assert set(metrics["prior"]) == {"top", "middle", "bottom", "bits_per_second"}
    assert (elsewhere / "run" / "report" / "report.html").stat().st_size > 100_000


@pytest.mark.slow
def test_outside_a_clone_it_says_what_is_missing(tmp_path, monkeypatch):
    environment = tmp_path / "environment"
    clean_environment.make(environment)
    notebook = notebooks.read(NAME)
    with pytest.raises(Exception, match="set repository_url in the cell above"):
        notebooks.execute(notebook, tmp_path, environment, monkeypatch)

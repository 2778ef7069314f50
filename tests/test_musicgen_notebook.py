"""The notebook of a published checkpoint, from top to bottom with a tiny one of random weights in the same files."""

import json

import clean_environment
import notebooks
import pytest
import tiny_musicgen_files

NAME = "musicgen.ipynb"
PROMPTS = ["calm piano", "loud drums"]


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path, tones_folder, monkeypatch):
    environment = tmp_path / "environment"
    clean_environment.make(environment)
    elsewhere = tmp_path / "elsewhere"
    tiny_musicgen_files.write(elsewhere / "published")
    notebook = notebooks.read(NAME)
    notebooks.replace(notebook, "repository", f'repository_url = "{notebooks.git_repository(tmp_path / "origin")}"')
    parameters = f'checkpoint, out = "published", "run"\nprompts, seconds = {PROMPTS}, 1\n'
    parameters += f'recordings, steps, rank = "{tones_folder}", 6, 4'
    notebooks.replace(notebook, "parameters", parameters)
    notebooks.execute(notebook, elsewhere, environment, monkeypatch)
    assert notebooks.count_players(notebook) == 2 + 1 + 2
    printed = notebooks.text_of(notebook)
    assert printed["fetch"] == "", "it lay there already"
    run = elsewhere / "run"
    samples = json.loads((run / "samples" / "samples.json").read_text())["samples"]
    assert [one["text"] for one in samples] == PROMPTS
    assert json.loads((run / "tuned" / "config.json").read_text())["lora"]["rank"] == 4
    assert list((run / "tuned" / "checkpoints").iterdir())

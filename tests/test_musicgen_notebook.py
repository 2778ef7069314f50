"""The notebook of a published checkpoint, from top to bottom with a tiny one of random weights in the same files."""

import json

import clean_environment
import notebooks
import pytest
import tiny_musicgen_files

NAME = "musicgen.ipynb"
PROMPTS = ["calm piano", "loud drums"]


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch):
    environment = tmp_path / "environment"
    clean_environment.make(environment)
    elsewhere = tmp_path / "elsewhere"
    tiny_musicgen_files.write(elsewhere / "published")
    notebook = notebooks.read(NAME)
    notebooks.replace(notebook, "repository", f'repository_url = "{notebooks.git_repository(tmp_path / "origin")}"')
    parameters = f'checkpoint, out = "published", "run"\nprompts, seconds = {PROMPTS}, 1\n'
    # No recordings: a window of 30 s of the tiny codec has too many codes to be trained on.
    parameters += 'recordings = ""'
    notebooks.replace(notebook, "parameters", parameters)
    notebooks.execute(notebook, elsewhere, environment, monkeypatch)
    assert notebooks.count_players(notebook) == 2 + 1
    printed = notebooks.text_of(notebook)
    assert printed["fetch"] == printed["tune"] == "", "it lay there already, and nothing was to be learned"
    samples = json.loads((elsewhere / "run" / "samples" / "samples.json").read_text())["samples"]
    assert [one["text"] for one in samples] == PROMPTS

"""The notebook of a published checkpoint, from top to bottom with a tiny one of random weights in the same files."""

import json
import pathlib

import clean_environment
import notebooks
import numpy as np
import pytest
import soundfile
import tiny_encodec
import tiny_musicgen_files

from musicgen_jax.training import metrics

NAME = "musicgen.ipynb"
PROMPTS = ["calm piano", "loud drums"]
RATE, STEPS, RANK = 4000, 4, 4


def write_recordings(folder: pathlib.Path) -> None:
    """Five tones of two seconds, with captions."""
    folder.mkdir()
    seconds = np.arange(2 * RATE) / RATE
    for index in range(5):
        soundfile.write(folder / f"{index}.wav", 0.4 * np.sin(2 * np.pi * (200 + 50 * index) * seconds), RATE)
        (folder / f"{index}.json").write_text(json.dumps({"caption": PROMPTS[index % 2]}))


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch):
    environment = tmp_path / "environment"
    clean_environment.make(environment)
    elsewhere = tmp_path / "elsewhere"
    tiny_musicgen_files.write(elsewhere / "published", **tiny_encodec.LONG_HOPS)
    write_recordings(elsewhere / "recordings")
    notebook = notebooks.read(NAME)
    notebooks.replace(notebook, "repository", f'repository_url = "{notebooks.git_repository(tmp_path / "origin")}"')
    parameters = f'checkpoint, out, recordings = "published", "run", "recordings"\nprompts, seconds = {PROMPTS}, 1\n'
    notebooks.replace(notebook, "parameters", f"{parameters}steps, rank = {STEPS}, {RANK}")
    notebooks.execute(notebook, elsewhere, environment, monkeypatch)
    assert notebooks.count_players(notebook) == 2 + 1 + 2
    printed = notebooks.text_of(notebook)
    assert printed["fetch"] == "", "it lay there already"
    assert f"trained for {STEPS} steps, validation nats per code" in printed["tune"]
    tuned = elsewhere / "run" / "tuned"
    assert json.loads((tuned / "config.json").read_text())["lora"]["rank"] == RANK
    assert [line["step"] for line in metrics.read(tuned / "metrics.jsonl") if "eval/nats_per_code" in line] == [STEPS]
    for name in ("samples", "tuned_samples"):
        samples = json.loads((elsewhere / "run" / name / "samples.json").read_text())["samples"]
        assert [one["text"] for one in samples] == PROMPTS

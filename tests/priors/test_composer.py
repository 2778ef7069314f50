"""Composers are trained by the trainer of all models: resumed as uninterrupted, and better than counting pairs."""

import json

import jax
import numpy as np
import pytest
import tiny_scores

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.codes import score_dataset
from musicgen_jax.sharding import meshes
from musicgen_jax.training import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_scores.prepare(tmp_path_factory.mktemp("scores") / "data")


def train(folder, workdir, num_steps, tokens="grid", **changes):
    model = score_dataset.resolve(tiny_scores.model_config(tokens, **changes), folder)
    run = config.ComposerTraining(
        model=model,
        data=config.DataConfig(path=folder, batch_size=8),
        optimizer=config.OptimizerConfig(peak_learning_rate=1e-2),
        training=config.TrainingConfig(
            num_steps=num_steps, eval_every=num_steps, checkpoint_every=2 if num_steps <= 4 else num_steps
        ),
    )
    mesh = meshes.single_device_mesh()
    batches, held_out = (make(run, mesh) for make in (score_dataset.training_batches, score_dataset.validation_batches))
    loop.train(kinds.task(run), run, workdir, mesh, batches, held_out)


@pytest.mark.long
def test_resumed_equals_uninterrupted(folder, tmp_path):
    settings = {"layer": "lstm", "num_layers": 1, "mlp_width": 0}
    train(folder, tmp_path / "whole", 4, **settings)
    for steps in (2, 4):
        train(folder, tmp_path / "parts", steps, **settings)
    whole, parts = (pretrained.load_composer(str(tmp_path / name)) for name in ("whole", "parts"))
    assert whole.config.transformer.layer == "lstm"
    jax.tree.map(np.testing.assert_array_equal, whole.weights, parts.weights)


def bigram_nats(windows):
    """Of the windows' own pairs, smoothed by nothing: as good as a table of pairs can be on them."""
    counts = np.zeros((windows.model.num_codes,) * 2)
    for index in range(len(windows.pieces)):
        codes = windows.codes(index)
        np.add.at(counts, (codes[:-1], codes[1:]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return -(counts[counts > 0] * np.log(shares[counts > 0])).sum() / counts.sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tokens", "changes"),
    [
        ("grid", {}),
        ("grid", {"layer": "lstm", "mlp_width": 0}),
        ("grid", {"layer": "absolute"}),
        ("performance", {"width": 64}),
    ],
)
def test_learns_more_than_which_token_follows_which(folder, tmp_path, tokens, changes):
    train(folder, tmp_path, {"grid": 150, "performance": 500}[tokens], tokens, **changes)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert any("eval/nats_per_code" in line for line in lines)
    found = np.mean([line["nats_per_code"] for line in lines if "nats_per_code" in line][-2:])
    model = pretrained.load_composer(str(tmp_path)).config
    assert found < bigram_nats(score_dataset.ScoreWindows(folder, "train", model))

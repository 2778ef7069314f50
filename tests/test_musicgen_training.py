"""A MusicGen from scratch: trained on anybody's codes, gone on with, judged, sampled."""

import json

import command_line
import numpy as np
import pytest
import tiny_workdirs

from musicgen_jax import generation
from musicgen_jax.training import metrics

SIZES = [
    "--config.model.context=48",
    "--config.model.transformer.num_layers=1",
    "--config.model.transformer.width=32",
    "--config.model.transformer.num_heads=2",
    "--config.model.transformer.head_dim=16",
    "--config.model.transformer.mlp_width=32",
    "--config.data.batch_size=4",
    "--config.training.eval_every=3",
    "--config.training.checkpoint_every=3",
    "--config.training.log_every=3",
]


@pytest.mark.long
def test_trained_gone_on_with_judged_and_sampled(tiny_codes, tiny_tokenizer, tiny_audio_dataset, tmp_path):
    train = (
        "musicgen_jax.train_prior",
        "--config=configs/musicgen.py:tier=top,scale=tiny,text=false",
        f"--workdir={tmp_path / 'top'}",
        f"--config.data.path={tiny_codes}",
        *SIZES,
    )
    for steps in (3, 6):
        done = command_line.run(*train, f"--config.training.num_steps={steps}")
        assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "top" / "config.json").read_text())
    assert told["kind"] == "musicgen" and told["model"]["num_codebooks"] == 1
    lines = list(metrics.read(tmp_path / "top" / "metrics.jsonl"))
    assert lines[-1]["step"] == 6 and any("eval/nats_per_code" in line for line in lines)
    out, tokenizer = tmp_path / "report", tmp_path / "models" / "vqvae"
    tiny_workdirs.write(tmp_path / "models", tiny_tokenizer)
    models = [f"--vqvae={tokenizer}", f"--top={tmp_path / 'top'}", f"--data={tiny_audio_dataset}"]
    done = command_line.run("musicgen_jax.evaluate", *models, f"--codes={tiny_codes}", f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert np.isfinite(json.loads((out / "metrics.json").read_text())["prior"]["top"]["nats_per_code"])
    generator = generation.load(vqvae=tokenizer, top=tmp_path / "top")
    assert np.isfinite(generator.generate(0.5, top_k=3)).all()

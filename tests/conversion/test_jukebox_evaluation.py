"""Published priors are judged like any other: nats of held-out codes, without words."""

import jax
import numpy as np
import published_files
import pytest
from conftest import prepare_tones

from musicgen_jax import generation
from musicgen_jax.codes import code_dataset
from musicgen_jax.evaluation import evaluation
from musicgen_jax.tokenizers import extraction

pytest.importorskip("safetensors")


def slow_nats(prior, codes: str, split: str, num_frames: int) -> float:
    """Mean -log p of the first frames, fewer than a context, of every track."""
    windows = code_dataset.Windows(codes, split, prior.config)
    nats = []
    for track in range(len(windows.entries)):
        batch = {name: array[None] for name, array in windows.window(track, 0).items()}
        logits = prior.functional.bind(*prior.weights)(prior.judged(batch))
        logs = np.asarray(jax.nn.log_softmax(logits), np.float64)[0, :num_frames, 0]
        nats.append(-np.take_along_axis(logs, batch["codes"][0, :num_frames], axis=1))
    return float(np.mean(nats))


@pytest.mark.long
def test_a_published_cascade_is_judged(tmp_path):
    models = generation.load(published_files.write_cascade(tmp_path))
    audio = prepare_tones(tmp_path / "audio", (6000,) * 5, models.sample_rate)
    codes = str(tmp_path / "codes")
    extraction.extract(models.tokenizer, audio, codes, window_seconds=2.0)
    settings = evaluation.Settings(audio, "", codes, max_seconds=0.5, max_codes=120, num_clips=1)
    metrics = evaluation.evaluate(models.tokenizer, models.priors, settings, models.models, str(tmp_path / "out"))
    for tier, prior in models.priors.items():
        found = metrics["prior"][tier]
        num_frames = found["num_codes"] // found["num_tracks"]
        assert 0 < num_frames <= prior.config.context
        assert found["nats_per_code"] == pytest.approx(slow_nats(prior, codes, metrics["split"], num_frames), abs=1e-4)
    assert metrics["prior"]["bits_per_second"] > 0

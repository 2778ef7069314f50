"""What a tokenizer in training makes of held-out clips."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_runs
import toy

from musicgen_jax import config, kinds
from musicgen_jax.data import audio_dataset
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers.vqvae import heard
from musicgen_jax.training import state


@pytest.mark.parametrize("num_devices", [1, 2])
def test_the_sounds_are_held_out_clips_and_what_becomes_of_them(tiny_audio_dataset, num_devices, monkeypatch):
    """On any mesh: the module's own encode and decode."""
    monkeypatch.setattr(heard, "SECONDS", 0.1)
    run = config.VQVAETraining(
        model=tiny_runs.vqvae_config(),
        clip_samples=tiny_runs.CLIP_SAMPLES,
        data=config.DataConfig(path=str(tiny_audio_dataset), batch_size=2),
    )
    task = kinds.task(run)
    mesh = meshes.make_mesh(config.MeshConfig(), jax.devices()[:num_devices])
    current, _ = tiny_runs.start(task, run.training, mesh)
    sounds = heard.held_out(task.functional, run, mesh)
    with jax.set_mesh(mesh):
        found = sounds(current)
    clips = {name.partition("/")[0] for name in found}
    assert {f"clip_0/{name}" for name in ("original", "top", "middle", "bottom")} <= found.keys()
    assert 1 <= len(clips) <= heard.NUM_CLIPS and len(found) == 4 * len(clips)
    originals = np.stack([found[f"{clip}/original"][0] for clip in sorted(clips)])
    (batch,) = audio_dataset.validation_batches(
        run.data.path, originals.shape[1], dataclasses.replace(run.data, batch_size=4), 1, toy.mesh()
    )()
    assert originals.shape[1] >= 400 and np.array_equal(originals, np.asarray(batch["audio"])[: len(originals)])
    model = task.functional.bind(jax.device_get(current.params), jax.device_get(current.buffers))
    expected = model.tier("bottom").decode(model.tier("bottom").encode(originals))
    produced = np.stack([found[f"{clip}/bottom"][0] for clip in sorted(clips)])
    np.testing.assert_allclose(produced, expected, atol=1e-5)
    assert {rate for _, rate in found.values()} == {4000} and isinstance(current, state.TrainState)

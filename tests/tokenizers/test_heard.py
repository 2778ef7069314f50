"""What a tokenizer in training makes of held-out clips."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

from musicgen_jax import config
from musicgen_jax.data import audio_dataset
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers.vqvae import heard


class Echo:
    """Has three streams, each of which is a share of the sound."""

    def __init__(self, params, buffers):
        self.gain = params["gain"]

    def encode(self, audio):
        return {"top": audio, "middle": 2 * audio, "bottom": 4 * audio}

    def decode(self, codes):
        return {name: self.gain * one for name, one in codes.items()}


@pytest.mark.parametrize("num_devices", [1, 2])
def test_the_sounds_are_held_out_clips_and_what_becomes_of_them(tiny_audio_dataset, num_devices, monkeypatch):
    """On any mesh the same, by the weights that are sampled with."""
    monkeypatch.setattr(heard, "SECONDS", 0.1)
    run = config.VQVAETraining(
        model=tiny_runs.vqvae_config(),
        clip_samples=tiny_runs.CLIP_SAMPLES,
        data=config.DataConfig(path=str(tiny_audio_dataset), batch_size=2),
    )
    mesh = meshes.make_mesh(config.MeshConfig(), jax.devices()[:num_devices])
    state = types.SimpleNamespace(inference_params=lambda: {"gain": jnp.float32(0.25)}, buffers={})
    sounds = heard.held_out(types.SimpleNamespace(bind=Echo), run, mesh)
    with jax.set_mesh(mesh):
        found = sounds(state)
    clips = sorted({name.partition("/")[0] for name in found})
    assert list(found) == [f"{clip}/{name}" for clip in clips for name in ("original", "top", "middle", "bottom")]
    assert 1 <= len(clips) <= heard.NUM_CLIPS and {rate for _, rate in found.values()} == {4000}
    originals = np.stack([found[f"{clip}/original"][0] for clip in clips])
    assert originals.shape[1] == 512  # 0.1 s, in whole codes of 128 samples
    data = dataclasses.replace(run.data, batch_size=4)
    (batch,) = audio_dataset.validation_batches(run.data.path, 512, data, 1, meshes.single_device_mesh())()
    assert np.array_equal(originals, np.asarray(batch["audio"])[: len(originals)])
    for name, gain in (("top", 0.25), ("middle", 0.5), ("bottom", 1.0)):
        assert np.array_equal(np.stack([found[f"{clip}/{name}"][0] for clip in clips]), gain * originals)


def test_without_held_out_clips_it_says_why(tiny_audio_dataset, monkeypatch):
    monkeypatch.setattr(heard, "SECONDS", 0.1)
    monkeypatch.setattr(audio_dataset, "validation_batches", lambda *_: lambda: iter(()))
    run = config.VQVAETraining(model=tiny_runs.vqvae_config(), data=config.DataConfig(path=str(tiny_audio_dataset)))
    sounds = heard.held_out(types.SimpleNamespace(bind=Echo), run, meshes.single_device_mesh())
    with pytest.raises(UserError, match="no validation split"):
        sounds(types.SimpleNamespace(inference_params=dict, buffers={}))

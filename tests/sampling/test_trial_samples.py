"""What is heard of a model in training: the sampler's own codes, given held-out ones."""

import dataclasses

import numpy as np
import pytest
import tiny_priors
import tiny_scores

from musicgen_jax.codes import code_shards, score_dataset
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import prompts, requests, trial_samples


def _prior(tokenizer, codes, tier):
    stream = tokenizer.layout.stream(tier)
    changes = {"num_layers": 1, "num_codes": stream.num_codes, "vqvae": tokenizer.fingerprint}
    rate = tokenizer.layout.frames_per_second(tier)
    model = tiny_priors.model_config(tier, **changes, codes_per_second=rate, genres=("unknown", "flute", "organ"))
    return tiny_priors.trained_prior(model, codes_path=codes)


@pytest.mark.long
def test_samples_are_given_held_out_codes(tiny_tokenizer, tiny_codes, monkeypatch):
    monkeypatch.setattr(trial_samples, "SECONDS", 0.6)
    prior, layout = _prior(tiny_tokenizer, tiny_codes, "middle"), tiny_tokenizer.layout
    seen = {}
    validate = requests.Request.validate

    def watched(self, layout, priors, prompt=None, scores=None):
        seen.update(request=self, prompt=prompt)
        validate(self, layout, priors, prompt, scores)

    monkeypatch.setattr(requests.Request, "validate", watched)
    sounds = trial_samples.decoded(prior, tiny_tokenizer, seed=3)
    assert list(sounds) == ["sample_0", "sample_1"]
    tracks = code_shards.Tracks(tiny_codes, "validation")
    frames = int(0.6 * 4000) // layout.hop_length
    for number in range(2):
        audio, rate = sounds[f"sample_{number}"]
        assert (rate, audio.shape, audio.dtype) == (4000, (frames * layout.hop_length,), np.float32)
        held_out = tracks.read(number, ["top"], 0, frames * layout.hop_length)["top"]
        assert np.array_equal(seen["prompt"].codes["top"][number], held_out)
        assert seen["request"].genre_of(number) == tracks.entries[number].labels["genre"]
    again = trial_samples.decoded(prior, tiny_tokenizer, seed=3)
    assert all(np.array_equal(again[name][0], audio) for name, (audio, _) in sounds.items())
    assert isinstance(seen["prompt"], prompts.Prompt)


def test_what_cannot_be_sampled_is_said(tiny_tokenizer, tiny_codes):
    prior = _prior(tiny_tokenizer, tiny_codes, "top")
    other = dataclasses.replace(prior, config=dataclasses.replace(prior.config, vqvae="other"))
    with pytest.raises(UserError, match="was trained on codes of VQ-VAE other"):
        trial_samples.decoded(other, tiny_tokenizer)


@pytest.mark.long
def test_composed_scores_are_played(tmp_path, monkeypatch):
    monkeypatch.setattr(trial_samples, "COMPOSED_SECONDS", 1.0)
    folder = tiny_scores.prepare(tmp_path / "data")
    model = score_dataset.resolve(tiny_scores.model_config("grid"), folder)
    sounds = trial_samples.composed(tiny_scores.composer_of(model, tiny_scores.nothing))
    assert list(sounds) == ["composed_0", "composed_1"]
    assert all(rate == 16_000 and audio.shape == (16_000,) for audio, rate in sounds.values())
    assert any(np.abs(audio).max() > 0.01 for audio, _ in sounds.values())

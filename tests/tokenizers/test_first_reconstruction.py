"""What a tokenizer makes of a held-out recording, as wav files."""

import numpy as np
import pytest
from tiny_layouts import TIERS

from musicgen_jax.data import audio_dataset, audio_io
from musicgen_jax.tokenizers import reconstruction


def test_a_held_out_track_in_every_version(tiny_tokenizer, tiny_audio_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "SECONDS", 1.5)
    track, split = reconstruction.write(tiny_tokenizer, tiny_audio_dataset, tmp_path)
    facts, blocks = next(audio_dataset.read_tracks(tiny_audio_dataset, "test"))
    assert (track, split) == (facts["track_id"], "test")
    sounds = {name: audio_io.read_audio(tmp_path / "reconstruction" / f"{name}.wav", 4000) for name in names()}
    expected = np.concatenate(list(blocks))[:6000]
    assert np.abs(sounds["original"] - expected).max() < 1e-4
    codes = tiny_tokenizer.encode(iter([expected]))
    for tier in TIERS:
        assert len(sounds[tier]) == len(expected)
        decoded = tiny_tokenizer.decode(codes[tier], tier)[: len(expected)]
        assert np.abs(sounds[tier] - np.clip(decoded, -1, 1)).max() < 1e-4


def names() -> list[str]:
    return ["original", *TIERS]


@pytest.mark.parametrize(("there", "chosen"), [(["train", "validation"], "validation"), (["train"], "train")])
def test_without_a_test_split(tiny_tokenizer, tiny_audio_dataset, tmp_path, monkeypatch, there, chosen):
    monkeypatch.setattr(reconstruction, "SECONDS", 1.5)
    monkeypatch.setattr(reconstruction.shards, "split_names", lambda data: there)
    assert reconstruction.write(tiny_tokenizer, tiny_audio_dataset, tmp_path)[1] == chosen

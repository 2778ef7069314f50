"""EnCodec's encoder as an embedding, from a published file."""

import encodec_oracle
import numpy as np
import pytest
import tiny_encodec

from musicgen_jax.evaluation.embeddings import choice
from musicgen_jax.runtime.errors import UserError


def test_frames_are_the_latents_that_are_quantized(tmp_path):
    pytest.importorskip("safetensors")
    path = tiny_encodec.write(tmp_path / "32khz", "32khz")
    (embedding,) = choice.load([f"encodec:{path}"], None)
    assert (embedding.name, embedding.distance) == ("encodec", "FD-encodec")
    assert (embedding.sample_rate, embedding.dimensions) == (4000, 8)
    audio = encodec_oracle.tiny_audio(1)[0]
    frames = embedding.embed(audio, 4000)
    assert frames.shape == (len(audio) // 6, 8) and embedding.hop_seconds == 6 / 4000
    with np.load(encodec_oracle.GOLDEN) as file:
        # The last frames see how the recording, no whole number of frames, is filled up: here with silence.
        entries, codes = file["32khz/codebooks"][0], file["32khz/codes"][0, :-6, 0]
    distances = np.sum((frames[:, None] - entries) ** 2, axis=-1)
    np.testing.assert_array_equal(np.argmin(distances, axis=1)[: len(codes)], codes)


def test_what_hears_two_channels_is_refused(tmp_path):
    pytest.importorskip("safetensors")
    path = tiny_encodec.write(tmp_path / "48khz", "48khz")
    with pytest.raises(UserError, match="2 channels"):
        choice.load([f"encodec:{path}"], None)

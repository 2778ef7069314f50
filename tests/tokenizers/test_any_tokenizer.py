"""The rest of the package asks nothing of a tokenizer but what `tokenizers.tokenizer.Tokenizer` promises."""

import functools
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import SAMPLE_RATE

from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards
from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.data import audio_dataset, audio_io
from musicgen_jax.sampling import output
from musicgen_jax.tokenizers import chunked, extraction, reconstruction
from musicgen_jax.tokenizers.tokenizer import Tokenizer

HOP = 5
LEVELS = 64


class Staircase(Tokenizer):
    """No network and no config: each frame is the mean of its samples, coarsely in one code and finely in a second.

    Beyond the frame itself nothing counts, and the margins say so.
    """

    def __init__(self):
        self.layout = Layout(SAMPLE_RATE, 1, (Stream("steps", HOP, 2, LEVELS),), "57a12")

    def codebooks(self) -> dict[str, np.ndarray]:
        coarse = (np.arange(LEVELS, dtype=np.float32) + 0.5) * 2 / LEVELS - 1
        return {"steps": np.stack([coarse, (coarse / LEVELS)])[..., None]}

    def encoder(self, window_seconds: float = 10.0) -> chunked.Encoder:
        margin = chunked.Margin(0, 0)
        window = chunked.window_samples(self.layout, window_seconds, margin)

        def encode_windows(audio: np.ndarray) -> dict[str, np.ndarray]:
            mean = audio.reshape(len(audio), -1, HOP).mean(axis=-1)
            whole = np.clip((mean + 1) / 2 * LEVELS**2, 0, LEVELS**2 - 1).astype(np.int32)
            return {"steps": np.stack([whole // LEVELS, whole % LEVELS], axis=-1)}

        return chunked.Encoder(self.layout, margin, window, encode_windows)

    def decode_blocks(self, codes: np.ndarray, stream: str, window_seconds: float = 10.0) -> Iterator[np.ndarray]:
        margin = self.margin(stream)
        window = chunked.window_samples(self.layout, window_seconds, margin)
        entries = self.codebooks()["steps"][..., 0]

        def decode_window(part: np.ndarray, start: int) -> np.ndarray:
            heights = sum(entries[q][part[..., q]] for q in range(part.shape[-1]))
            return np.repeat(heights, HOP, axis=1)

        return chunked.decode(decode_window, codes, HOP, margin, window)

    def margin(self, stream: str) -> chunked.Margin:
        return chunked.Margin(0, 0)


@pytest.fixture(scope="module")
def codes(tmp_path_factory, tiny_audio_dataset) -> str:
    folder = str(tmp_path_factory.mktemp("staircase") / "codes")
    extraction.extract(Staircase(), tiny_audio_dataset, folder, window_seconds=1.0)
    return folder


def means(audio: np.ndarray) -> np.ndarray:
    """Of each frame of a waveform [S], padded with zeros."""
    return np.pad(audio, (0, -len(audio) % HOP)).reshape(-1, HOP).mean(axis=1)


def test_its_codes_are_those_of_the_audio(codes, tiny_audio_dataset):
    tracks = code_shards.Tracks(codes, "train")
    for index, (facts, blocks) in enumerate(audio_dataset.read_tracks(tiny_audio_dataset, "train")):
        assert tracks.entries[index].track_id == facts["track_id"]
        found = tracks.read(index, ["steps"], 0, 2**40)["steps"]
        heard = Staircase().decode(found, "steps", window_seconds=0.3)
        want = means(np.concatenate(list(blocks)))
        np.testing.assert_allclose(heard, np.repeat(want, HOP), atol=1.1 / LEVELS**2)
        coarse = Staircase().decode(found[:, :1], "steps")
        assert 0.3 / LEVELS < np.abs(coarse - heard).max() < 1.1 / LEVELS


def test_a_prior_is_trained_on_them(codes):
    model = code_dataset.resolve(config.PriorConfig(tier="steps", context=64), codes)
    assert (model.num_codebooks, model.num_codes, model.above) == (2, LEVELS, "")
    assert model.codes_per_second == SAMPLE_RATE / HOP and model.vqvae == "57a12"
    window = code_dataset.Windows(codes, "train", model).window(0, 7)
    want = code_shards.Tracks(codes, "train").read(0, ["steps"], 7 * HOP, 71 * HOP)["steps"]
    np.testing.assert_array_equal(window["codes"], want)
    assert {name: one.shape for name, one in code_shards.read_codebooks(codes).items()} == {"steps": (2, LEVELS, 1)}


def test_it_is_a_codec_and_has_a_first_sound(tiny_audio_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "SECONDS", 1.0)
    reconstruction.write(Staircase(), tiny_audio_dataset, tmp_path)
    read = functools.partial(audio_io.read_audio, sample_rate=SAMPLE_RATE)
    original, steps = (read(tmp_path / "reconstruction" / f"{name}.wav") for name in ("original", "steps"))
    np.testing.assert_allclose(steps, np.repeat(means(original), HOP), atol=2 / LEVELS**2)
    file, sound = str(tmp_path / "x.codes"), str(tmp_path / "x.wav")
    extraction.extract_file(Staircase(), str(tmp_path / "reconstruction" / "original.wav"), file, window_seconds=0.4)
    output.decode_to_wav(Staircase(), file, None, sound)
    np.testing.assert_allclose(read(sound), steps, atol=2 / LEVELS**2)

import json

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import tiny_layouts
from conftest import tones

from musicgen_jax.codes import code_file
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import prompts
from musicgen_jax.tokenizers import extraction

RATE = 4000


@pytest.fixture(scope="module")
def audio():
    """Three seconds: 93 whole codes of the top tier, and three quarters of one."""
    return tones(3, 3 * RATE)


@pytest.fixture(scope="module")
def whole(tiny_tokenizer, audio):
    """Codes of its whole codes of the top tier."""
    return tiny_tokenizer.encode(iter([audio[: 93 * 128]]))


def assert_equal(prompt, expected):
    assert list(prompt.codes) == list(expected)
    for tier, codes in expected.items():
        np.testing.assert_array_equal(prompt.codes[tier], codes if codes.ndim == 3 else codes[None])
        assert prompt.codes[tier].dtype == np.int32


def test_a_recording_gives_its_whole_codes(tiny_tokenizer, audio, whole, tmp_path):
    soundfile.write(tmp_path / "x.wav", audio, RATE, subtype="FLOAT")
    for source in (audio, tmp_path / "x.wav", str(tmp_path / "x.wav")):
        prompt = prompts.load(source, tiny_tokenizer)
        assert_equal(prompt, whole)
        assert prompt.seconds == 93 * 128 / RATE


def test_recordings_are_read_whole_or_refused(tiny_tokenizer, audio, tmp_path, capsys):
    soundfile.write(tmp_path / "whole.wav", audio, RATE)
    whole = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "half.wav").write_bytes(whole[: len(whole) // 2])
    for read in (
        lambda path: prompts.load(path, tiny_tokenizer),
        lambda path: extraction.extract_file(tiny_tokenizer, str(path), str(tmp_path / "x.codes"), 10.0),
    ):
        with pytest.raises(ValueError, match=r"half\.wav: truncated: its header promises 24000 bytes"):
            read(tmp_path / "half.wav")
    assert not (tmp_path / "x.codes").exists()
    # Variable bit rate and no Xing header: libsndfile alone stops where it guesses the end.
    noise = np.random.default_rng(0).normal(0, 0.1, 9 * 2 * RATE)
    noise[: len(noise) // 2] *= 0.02
    soundfile.write(tmp_path / "a.mp3", noise, 2 * RATE, bitrate_mode="VARIABLE", compression_level=0.5)
    data = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "bare.mp3").write_bytes(data[data.index(data[:2], 4) :])
    prompt = prompts.load(tmp_path / "bare.mp3", tiny_tokenizer)
    assert prompt.seconds == pytest.approx(9, abs=0.3)
    assert "note: " in capsys.readouterr().err


def test_other_rates_and_channels(tiny_tokenizer, tones_folder):
    prompt = prompts.load(tones_folder / "flute" / "b.flac", tiny_tokenizer)  # 44.1 kHz, stereo, 6 s
    assert prompt.codes["top"].shape == (1, 187, 1)


def test_several_waveforms(tiny_tokenizer, audio, whole):
    prompt = prompts.load(np.stack([audio, audio[::-1]]), tiny_tokenizer)
    np.testing.assert_array_equal(prompt.codes["top"][0], whole["top"])
    assert np.any(prompt.codes["top"][1] != whole["top"])
    np.testing.assert_array_equal(prompt.rows("top", 5), prompt.codes["top"][[0, 1, 0, 1, 0]])


def test_waveforms_of_any_library(tiny_tokenizer, audio):
    audio = audio[: 4 * 128].astype(jnp.bfloat16).astype(np.float32)  # exact in all of them
    expected = prompts.load(audio, tiny_tokenizer).codes
    for given in (audio.tolist(), audio.astype(np.float64), jnp.asarray(audio), jnp.asarray(audio, jnp.bfloat16)):
        assert_equal(prompts.load(given, tiny_tokenizer), expected)


def test_two_channels_are_mixed(tiny_tokenizer, audio, whole):
    other = np.random.default_rng(0).normal(size=audio.shape).astype(np.float32)
    stereo = np.stack([audio + other, audio - other], axis=1)
    assert stereo.shape == (3 * RATE, 2)
    assert_equal(prompts.load(stereo, tiny_tokenizer), whole)
    assert_equal(prompts.load(audio[:, None], tiny_tokenizer), whole)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "prompt: the waveform is of int64: pass floats"),
        ([0, 1], "prompt: the waveform is of int64: pass floats"),
        ([[0.5], [0.5, 0.25]], r"prompt=\[\[0\.5\], .*: must be a path, or a waveform"),
        ({"a": 1}, "prompt: the waveform is of object"),
        (0.5, r"prompt: the waveform has shape \(\)"),
        ([1e300] * 300, "prompt: the waveform holds samples that are NaN or infinite"),
        ("gs://bucket/x.wav", "prompt=gs://bucket/x.wav: only paths on this machine"),
        ("", "prompt is empty: pass a path"),
    ],
)
def test_arguments_that_are_no_prompt(tiny_tokenizer, source, message):
    with pytest.raises(UserError, match=message):
        prompts.load(source, tiny_tokenizer)


def test_a_prompt_in_the_home_folder(tiny_tokenizer, audio, whole, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "x.wav", audio, RATE, subtype="FLOAT")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_equal(prompts.load("~/x.wav", tiny_tokenizer), whole)


def test_a_file_of_codes(tiny_tokenizer, audio, tmp_path):
    soundfile.write(tmp_path / "x.wav", audio, RATE, subtype="FLOAT")
    extraction.extract_file(tiny_tokenizer, str(tmp_path / "x.wav"), str(tmp_path / "x.codes"), 10.0)
    stored = code_file.read(tmp_path / "x.codes").codes
    prompt = prompts.load(tmp_path / "x.codes", tiny_tokenizer)
    assert_equal(
        prompt, {tier: stored[tier][: 93 * ratio] for tier, ratio in (("top", 1), ("middle", 4), ("bottom", 16))}
    )
    digest = prompt.digest
    prompt.codes["bottom"][0, 5] += 1
    assert prompt.digest != digest and len(digest) == 16


@pytest.fixture
def samples(tiny_tokenizer, tmp_path):
    """A folder as sample leaves it, with two samples of 4 codes."""
    rng = np.random.default_rng(0)
    codes = {"top": rng.integers(0, 16, (2, 4, 1), np.int16), "middle": rng.integers(0, 16, (2, 16, 1), np.int16)}
    np.savez_compressed(tmp_path / "codes.npz", **codes)
    (tmp_path / "samples.json").write_text(json.dumps({"vqvae_fingerprint": tiny_tokenizer.fingerprint}))
    return tmp_path, codes


def test_former_samples(tiny_tokenizer, samples):
    folder, codes = samples
    prompt = prompts.load(folder / "codes.npz", tiny_tokenizer)
    assert_equal(prompt, codes)
    # As they were written before there were several codebooks.
    np.savez_compressed(folder / "codes.npz", **{tier: array[..., 0] for tier, array in codes.items()})
    older = prompts.load(folder / "codes.npz", tiny_tokenizer)
    assert_equal(older, codes)
    assert older.digest == prompt.digest


def test_codes_of_another_tokenizer(tiny_tokenizer, samples, audio, tmp_path):
    folder, _ = samples
    (folder / "samples.json").write_text('{"vqvae_fingerprint": "beef"}')
    with pytest.raises(ValueError, match=r"codes.npz: its codes are of the tokenizer beef, and vqvae is"):
        prompts.load(folder / "codes.npz", tiny_tokenizer)
    (folder / "samples.json").unlink()
    with pytest.raises(ValueError, match=r"no samples.json beside it"):
        prompts.load(folder / "codes.npz", tiny_tokenizer)
    recording = code_file.Recording(
        tiny_layouts.of_vqvae(RATE, 16, "beef").only(["top"]), 256, {"top": np.zeros((2, 1), np.int16)}
    )
    code_file.write(tmp_path / "other.codes", recording)
    with pytest.raises(ValueError, match=r"other.codes: its codes are of the tokenizer beef"):
        prompts.load(tmp_path / "other.codes", tiny_tokenizer)


def test_damaged_codes(tiny_tokenizer, samples):
    folder, codes = samples
    whole = (folder / "codes.npz").read_bytes()
    for content in (b"", whole[:-30], b"no zip"):
        (folder / "codes.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"codes\.npz is damaged"):
            prompts.load(folder / "codes.npz", tiny_tokenizer)
    for changed, message in [
        ({"middle": codes["middle"][:, :8]}, "its tiers differ in length"),
        ({"top": codes["top"] + 16}, r"codes of the top tier are outside of \[0, 16\)"),
        ({"top": codes["top"][:, :0], "middle": codes["middle"][:, :0]}, "shorter than one code of the top tier"),
    ]:
        np.savez(folder / "codes.npz", **(codes | changed))
        with pytest.raises(ValueError, match=message):
            prompts.load(folder / "codes.npz", tiny_tokenizer)
    np.savez(folder / "codes.npz", other=codes["top"])
    with pytest.raises(ValueError, match="codes of no tier"):
        prompts.load(folder / "codes.npz", tiny_tokenizer)


def test_what_is_no_prompt(tiny_tokenizer, audio, tmp_path):
    (tmp_path / "x.txt").write_text("la la la")
    with pytest.raises(ValueError, match=r"x.txt: the name must end in one of .codes, .npz, .wav"):
        prompts.load(tmp_path / "x.txt", tiny_tokenizer)
    (tmp_path / "x.wav").write_text("la la la")
    with pytest.raises(ValueError, match="undecodable"):
        prompts.load(tmp_path / "x.wav", tiny_tokenizer)
    for name in ("none.wav", "none.codes", "none.npz"):
        with pytest.raises(FileNotFoundError, match=name):
            prompts.load(tmp_path / name, tiny_tokenizer)
    with pytest.raises(ValueError, match="shorter than one code of the top tier, 128 samples"):
        prompts.load(audio[:100], tiny_tokenizer)
    with pytest.raises(ValueError, match=r"pass \[S\], \[S, 2\], or \[N, S\]"):
        prompts.load(audio[None, None], tiny_tokenizer)
    with pytest.raises(ValueError, match="the waveform is of int16: pass floats"):
        prompts.load((audio * 32767).astype(np.int16), tiny_tokenizer)
    (tmp_path / "X.CODES").write_text("la la la")
    with pytest.raises(ValueError, match=r"X\.CODES is not a file of codes"):
        prompts.load(tmp_path / "X.CODES", tiny_tokenizer)
    with pytest.raises(ValueError, match="NaN or infinite"):
        prompts.load(np.full(300, np.nan, np.float32), tiny_tokenizer)

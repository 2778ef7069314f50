"""The Descript audio codec at full published size, through a file, against Hugging Face's on a real recording."""

import json
import pathlib

import dac_oracle
import numpy as np
import pytest
import soundfile
import soxr

from musicgen_jax import config, pretrained
from musicgen_jax.conversion import checkpoint_files, dac

RECORDINGS = pathlib.Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "recordings"
FRAMES = 64
TIE = 1e-5  # of two entries' squared distances

pytestmark = pytest.mark.parity


def published(sample_rate: int) -> config.DACConfig:
    sizes = {rate: sizes for sizes, rate in dac.RELEASED.items()}
    model = config.DACConfig(sample_rate=sample_rate, strides=sizes[sample_rate][0])
    model.quantizer.num_codebooks = sizes[sample_rate][1]
    return model


def recording(model: config.DACConfig) -> np.ndarray:
    """So many frames from within a recording, float32 [S]."""
    path = RECORDINGS / "brahms_hungarian_dance_5.ogg"
    if not path.is_file():
        pytest.skip(f"no recording at {path}")
    samples, rate = soundfile.read(path, start=5 * 44_100, frames=60_000, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, model.sample_rate)[: FRAMES * model.hop_length]
    assert len(mono) == FRAMES * model.hop_length and mono.std() > 0.01
    return np.ascontiguousarray(mono)


def unexplained(codes: np.ndarray, expected: dict[str, np.ndarray], codebooks: list[np.ndarray]) -> list[str]:
    """Frames whose first disagreement is no tie; the codebooks after it are asked for another residual."""
    found = []
    for frame in np.flatnonzero((codes != expected["codes"]).any(axis=1)):
        q = int(np.flatnonzero(codes[frame] != expected["codes"][frame])[0])
        latent, entries = expected["latents"][frame, q], codebooks[q][[codes[frame, q], expected["codes"][frame, q]]]
        cosines = entries @ latent / np.linalg.norm(entries, axis=1) / np.linalg.norm(latent)
        if not abs(2 * (cosines[0] - cosines[1])) < TIE:
            found.append(f"frame {frame}, codebook {q}: cosines {cosines}")
    return found


@pytest.mark.parametrize("sample_rate", [44_100, 24_000])
def test_codes_are_identical_and_audio_is_within_1e_4(sample_rate, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    model = published(sample_rate)
    audio, tensors = recording(model), dac_oracle.tensors(model)
    oracle = dac_oracle.build(model, tensors)
    expected = dac_oracle.run(oracle, audio)
    oracle.save_pretrained(tmp_path / "theirs")
    del oracle
    dac.import_checkpoint(tmp_path / "theirs" / "model.safetensors", tmp_path / "native")
    tokenizer = pretrained.load_vqvae(str(tmp_path / "native"))
    assert tokenizer.layout.sample_rate == sample_rate

    codes = tokenizer.encode(iter([audio]))["codes"]
    codebooks = [tensors[f"quantizer.quantizers.{q}.codebook.weight"] for q in range(model.quantizer.num_codebooks)]
    assert not unexplained(codes, expected, codebooks)
    assert np.mean(codes != expected["codes"]) < 0.02
    assert min(len(np.unique(codes[:, q])) for q in range(codes.shape[1])) > 8

    decoded = tokenizer.decode(expected["codes"], "codes")
    odd = any(stride % 2 for stride in model.strides)
    alike = len(decoded) - (tokenizer.margin("codes").after if odd else 0)
    np.testing.assert_allclose(decoded[:alike], expected["audio"][:alike], atol=1e-4)
    assert np.std(expected["audio"]) > 0.01
    differ, apart = np.sum(codes != expected["codes"]), np.abs(decoded[:alike] - expected["audio"][:alike]).max()
    print(f"{sample_rate} Hz: {differ} of {codes.size} codes differ, audio by {apart:.1e} at most")


def test_hugging_face_reads_what_is_exported(tmp_path):
    """By its own loader, with the config.json that is written beside the weights."""
    transformers = pytest.importorskip("transformers")
    model = dac_oracle.tiny_model()
    checkpoint_files.write(tmp_path / "model.safetensors", dac_oracle.tensors(model))
    (tmp_path / "config.json").write_text(json.dumps({"sampling_rate": model.sample_rate}))
    dac.import_checkpoint(tmp_path / "model.safetensors", tmp_path / "native")
    dac.export_checkpoint(tmp_path / "native", tmp_path / "again" / "model.safetensors")
    loaded = transformers.DacModel.from_pretrained(tmp_path / "again").eval()
    with np.load(dac_oracle.GOLDEN) as file:
        found = dac_oracle.run(loaded, file["input"])
        np.testing.assert_array_equal(found["codes"], file["codes"])
        np.testing.assert_allclose(found["audio"], file["audio"], atol=1e-6)


def test_the_golden_file_is_what_the_oracle_says():
    pytest.importorskip("transformers")
    fresh = dac_oracle.golden()
    with np.load(dac_oracle.GOLDEN) as file:
        assert set(file) == set(fresh)
        for name, array in fresh.items():
            np.testing.assert_allclose(file[name], array, atol=1e-6, err_msg=name)

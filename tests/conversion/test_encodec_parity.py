"""EnCodec at the published sizes, through published files, against Hugging Face's on a real recording."""

import pathlib

import encodec_oracle
import numpy as np
import pytest
import soundfile
import soxr
import tiny_encodec

from musicgen_jax import pretrained
from musicgen_jax.config.encodec import published
from musicgen_jax.conversion import encodec
from musicgen_jax.runtime import files
from musicgen_jax.tokenizers.encodec import chunks as chunk_codec

RECORDINGS = pathlib.Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "recordings"
NAMES = ("24khz", "32khz", "48khz")
SECONDS = 1.3  # a whole chunk of a second and a part of one

pytestmark = pytest.mark.parity


def recording(sample_rate: int, channels: int) -> np.ndarray:
    """float32 [C, S], of the middle of a piece."""
    path = RECORDINGS / "tchaikovsky_sugar_plum_fairy.ogg"
    if not path.is_file():
        pytest.skip(f"no recording at {path}")
    _, rate = soundfile.read(path, frames=1)
    audio, _ = soundfile.read(path, start=20 * rate, frames=round(SECONDS * rate), dtype="float32", always_2d=True)
    audio = soxr.resample(audio, rate, sample_rate)
    audio = audio[:, :channels] if channels <= audio.shape[1] else np.repeat(audio, channels, axis=1)
    if channels == 2:
        audio = np.stack([audio[:, 0], 0.5 * audio[:, 1] + 0.1 * audio[:, 0]], axis=1)  # the two differ
    assert audio.std() > 0.01
    return np.ascontiguousarray(audio[: len(audio) // 320 * 320].T)


@pytest.fixture(scope="module", params=NAMES)
def both(request, tmp_path_factory):
    """(audio [C, S], the oracle, ours through a safetensors file and config.json)."""
    safetensors = pytest.importorskip("safetensors.torch")
    pytest.importorskip("transformers")
    model = published(request.param)
    audio = recording(model.sample_rate, model.channels)
    oracle = encodec_oracle.build(encodec_oracle.PUBLISHED[request.param], audio)
    folder = tmp_path_factory.mktemp(request.param)
    safetensors.save_file(oracle.state_dict(), folder / "model.safetensors")
    files.write_json(folder / "config.json", oracle.config.to_dict())
    encodec.import_checkpoint(folder / "model.safetensors", folder / "native")
    codec = pretrained.load_encodec(str(folder / "native"))
    assert codec.config == model
    return audio, oracle, codec


def test_codes_are_identical_and_audio_is_within_1e_4(both):
    audio, oracle, codec = both
    wanted = encodec_oracle.run(oracle, audio)
    chunks = codec.encode(audio.T)
    assert len(chunks) == len(wanted["codes"]) == (2 if codec.config.chunk_seconds else 1)
    starts = range(0, audio.shape[1], codec.config.chunk_stride) if codec.config.chunk_seconds else (0,)
    for start, chunk, codes in zip(starts, chunks, wanted["codes"], strict=True):
        codes = codes[: len(chunk.codes)]
        clip = audio[:, start : start + codec.config.chunk_samples] if codec.config.chunk_seconds else audio
        check_ties(codec, oracle, clip / chunk.scale, chunk.codes, codes)
        assert len(np.unique(codes[:, 0])) > 20
    if "scales" in wanted:
        np.testing.assert_allclose([chunk.scale for chunk in chunks], wanted["scales"], rtol=1e-5)
    pairs = zip(chunks, wanted["codes"], strict=True)
    theirs = [chunk_codec.Chunk(codes[: len(chunk.codes)], chunk.scale) for chunk, codes in pairs]
    decoded = codec.decode(theirs, audio.shape[1]).T
    np.testing.assert_allclose(decoded, wanted["audio"][:, : audio.shape[1]], atol=1e-4)
    assert np.std(decoded) > 0.01


def check_ties(codec, oracle, clip: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Where codes [T, Q] differ, the first that do are of entries that lie as near to the residual, by 1e-5 of it."""
    torch = pytest.importorskip("torch")
    frames = np.flatnonzero(np.any(ours != theirs, axis=1))
    print(f"{len(frames)} of {len(ours)} frames differ")
    assert len(frames) <= 0.02 * len(ours)
    with torch.inference_mode():
        latents = oracle.encoder(torch.from_numpy(clip)[None])[0].T.double().numpy()
    books = [layer.codebook.embed.double().numpy() for layer in oracle.quantizer.layers]
    for frame in frames:
        first = int(np.flatnonzero(ours[frame] != theirs[frame])[0])
        residual = latents[frame] - sum((books[q][theirs[frame, q]] for q in range(first)), np.zeros(1))
        distances = [np.sum((residual - books[first][codes[frame, first]]) ** 2) for codes in (ours, theirs)]
        assert abs(distances[0] - distances[1]) <= 1e-5 * np.sum(latents[frame] ** 2)


@pytest.mark.parametrize("name", NAMES)
def test_the_library_reads_what_we_export(name, tmp_path):
    """At reduced size: the weights of a workdir, from the file that the library itself then loads."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    encodec.import_checkpoint(tiny_encodec.write(tmp_path / name, name), tmp_path / "native")
    encodec.export_checkpoint(tmp_path / "native", tmp_path / "out" / "model.safetensors")
    model, report = transformers.EncodecModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    with np.load(encodec_oracle.GOLDEN) as file, torch.inference_mode():
        made = encodec_oracle.run(model.eval(), encodec_oracle.tiny_audio(model.config.audio_channels))
        np.testing.assert_array_equal(made["codes"], file[f"{name}/codes"])
        np.testing.assert_allclose(made["audio"], file[f"{name}/audio"], atol=1e-5)


@pytest.mark.parametrize("name", ["24khz", "32khz"])
def test_audiocrafts_files_there_and_back(name, tmp_path):
    pytest.importorskip("torch")
    encodec.import_checkpoint(tiny_encodec.write(tmp_path / name, name), tmp_path / "native")
    path = tmp_path / "compression_state_dict.bin"
    encodec.export_checkpoint(tmp_path / "native", path)
    encodec.import_checkpoint(path, tmp_path / "again")
    codecs = [pretrained.load_encodec(str(tmp_path / place)) for place in ("native", "again")]
    assert codecs[0].config == codecs[1].config
    chunks = [codec.encode(encodec_oracle.tiny_audio(1)[0]) for codec in codecs]
    np.testing.assert_array_equal(chunks[0][0].codes, chunks[1][0].codes)


def test_the_golden_file_is_what_the_oracle_says():
    pytest.importorskip("transformers")
    fresh = encodec_oracle.golden()
    with np.load(encodec_oracle.GOLDEN) as file:
        assert set(file) == set(fresh)
        for name, array in fresh.items():
            np.testing.assert_allclose(array, file[name], atol=1e-5)

"""Recordings to files of codes and back, with the tokenizer in a workdir as training leaves it."""

import pathlib
import pickle
import subprocess
import sys

import command_line
import numpy as np
import pytest
import soundfile
import tiny_workdirs
from conftest import random_weights, tones

from musicgen_jax import config
from musicgen_jax.codes import code_file
from musicgen_jax.data import audio_io
from musicgen_jax.nn import modules
from musicgen_jax.sampling import output
from musicgen_jax.tokenizers import extraction
from musicgen_jax.tokenizers.vqvae import vqvae, vqvae_tokenizer

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
RATE = 4000


@pytest.fixture(scope="module")
def workdir(tiny_tokenizer, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("models") / "vqvae"
    tiny_workdirs.write_workdir(folder, config.VQVAETraining(model=tiny_tokenizer.config), tiny_tokenizer._weights)
    return folder


def run(verb: str, *flags: str) -> subprocess.CompletedProcess:
    return command_line.run(f"musicgen_jax.{verb}", *flags)


def round_trip(tiny_tokenizer, path: pathlib.Path, folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """(the recording at the tokenizer's rate, what came back of it through the files)."""
    codes, sound = str(folder / "x.codes"), str(folder / "x.wav")
    extraction.extract_file(tiny_tokenizer, str(path), codes, window_seconds=1.0)
    output.decode_to_wav(tiny_tokenizer, codes, None, sound)
    decoded, rate = soundfile.read(sound, dtype="float32")
    assert rate == RATE and soundfile.info(sound).subtype == "PCM_16"
    return audio_io.read_audio(path, RATE), decoded


def assert_is_what_the_tokenizer_makes(tiny_tokenizer, audio: np.ndarray, decoded: np.ndarray) -> None:
    wanted = tiny_tokenizer.decode(tiny_tokenizer.encode(iter([audio]))["bottom"], "bottom")[: len(audio)]
    assert len(decoded) == len(audio)
    np.testing.assert_allclose(decoded, np.clip(wanted, -1, 1), atol=1e-4)


@pytest.mark.long
def test_a_workdir_and_two_commands(workdir, tiny_tokenizer, tmp_path):
    soundfile.write(tmp_path / "in.wav", tones(1, 5 * RATE), RATE)
    codes, sound = tmp_path / "new" / "x.codes", tmp_path / "x.wav"
    done = run("extract_codes", f"--vqvae={workdir}", f"--file={tmp_path / 'in.wav'}", f"--out={codes}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{codes}: 5.00 s, {codes.stat().st_size} bytes"
    # 20000 samples are 157 codes of the top tier, of 4 bits each.
    assert lines[1] == "top: 0.12 kbit/s (31.25 codes/s x 4 bits); 79 bytes in the file (0.13 kbit/s)"
    assert lines[3] == "bottom: 2.00 kbit/s (500 codes/s x 4 bits); 1256 bytes in the file (2.01 kbit/s)"

    done = run("sample", f"--vqvae={workdir}", f"--decode={codes}", f"--out={sound}", "--tier=top")
    assert done.returncode == 0, done.stderr
    decoded, _ = soundfile.read(sound, dtype="float32")
    wanted = tiny_tokenizer.decode(code_file.read(codes).codes["top"], "top")[: 5 * RATE]
    np.testing.assert_allclose(decoded, np.clip(wanted, -1, 1), atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize(
    ("rate", "seconds", "channels", "suffix"),
    [
        (22050, 1.3, 1, "wav"),
        (48000, 2.0, 2, "flac"),
        (44100, 1.0, 2, "mp3"),
        (32000, 1.1, 2, "ogg"),
        (RATE, 50 / RATE, 1, "wav"),
    ],
)
def test_any_rate_channels_format_and_length(tiny_tokenizer, tmp_path, rate, seconds, channels, suffix):
    audio = np.stack([tones(channel, round(seconds * rate), rate) for channel in range(channels)], axis=1)
    soundfile.write(tmp_path / f"in.{suffix}", audio, rate)
    audio, decoded = round_trip(tiny_tokenizer, tmp_path / f"in.{suffix}", tmp_path)
    assert len(audio) == pytest.approx(seconds * RATE, abs=3 if suffix != "mp3" else 500)
    assert_is_what_the_tokenizer_makes(tiny_tokenizer, audio, decoded)
    assert len(code_file.read(tmp_path / "x.codes").codes["top"]) == -(-len(audio) // 128)


def test_silence_is_a_recording_too(tiny_tokenizer, tmp_path):
    soundfile.write(tmp_path / "in.wav", np.zeros(RATE), RATE)
    assert_is_what_the_tokenizer_makes(tiny_tokenizer, *round_trip(tiny_tokenizer, tmp_path / "in.wav", tmp_path))


def test_unfit_recordings(tiny_tokenizer, tmp_path):
    def message(path: pathlib.Path) -> str:
        with pytest.raises((ValueError, OSError)) as caught:
            extraction.extract_file(tiny_tokenizer, str(path), str(tmp_path / "x.codes"), 1.0)
        assert not list(tmp_path.glob("*x.codes*")), "something was left behind"
        return str(caught.value)

    assert "no such audio file" in message(tmp_path / "absent.wav")
    (tmp_path / "empty.wav").touch()
    assert "0 bytes" in message(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    assert "none.wav holds no audio" in message(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("not audio")
    assert "undecodable" in message(tmp_path / "text.wav")
    soundfile.write(tmp_path / "whole.wav", tones(0, RATE), RATE)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:3000])
    assert "cut.wav: truncated" in message(tmp_path / "cut.wav")
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    assert "NaN or infinite" in message(tmp_path / "nan.wav")
    soundfile.write(tmp_path / "many.wav", np.zeros((RATE, 3)), RATE)
    assert "more than 2 channels" in message(tmp_path / "many.wav")


def test_codes_that_can_not_be_decoded(tiny_tokenizer, tmp_path):
    soundfile.write(tmp_path / "in.wav", tones(1, RATE), RATE)
    codes, sound = str(tmp_path / "x.codes"), str(tmp_path / "x.wav")
    extraction.extract_file(tiny_tokenizer, str(tmp_path / "in.wav"), codes, 1.0)
    params, buffers = tiny_tokenizer._weights
    other = vqvae_tokenizer.VQVAETokenizer(
        tiny_tokenizer.config, {**params, "top": {**params["top"], "x": np.ones(1)}}, buffers
    )
    with pytest.raises(ValueError, match=f"made with the tokenizer {tiny_tokenizer.fingerprint}, and vqvae is"):
        output.decode_to_wav(other, codes, None, sound)
    with pytest.raises(ValueError, match=r"end its name in \.wav"):
        output.decode_to_wav(tiny_tokenizer, codes, None, str(tmp_path / "x.flac"))
    with pytest.raises(FileNotFoundError, match="no such file of codes"):
        output.decode_to_wav(tiny_tokenizer, str(tmp_path / "absent"), None, sound)
    recording = code_file.read(codes)
    code_file.write(codes, code_file.Recording(**vars(recording) | {
        "codes": {"top": recording.codes["top"]}, "layout": recording.layout.only(["top"])
    }))  # fmt: skip
    with pytest.raises(ValueError, match=r"tier=bottom: .* has codes of these tiers only: top"):
        output.decode_to_wav(tiny_tokenizer, codes, "bottom", sound)
    pathlib.Path(codes).write_bytes(pathlib.Path(codes).read_bytes()[:-3])
    with pytest.raises(ValueError, match="truncated"):
        output.decode_to_wav(tiny_tokenizer, codes, None, sound)
    assert not list(tmp_path.glob("*x.wav*")), "something was left behind"
    pathlib.Path(sound).write_text("a person's own")
    with pytest.raises(ValueError, match=r"x\.wav exists already: remove it or choose another out"):
        output.decode_to_wav(tiny_tokenizer, codes, None, sound)
    with pytest.raises(ValueError, match=r"x\.wav exists already: remove it or choose another out"):
        extraction.extract_file(tiny_tokenizer, str(tmp_path / "in.wav"), sound, 1.0)
    assert pathlib.Path(sound).read_text() == "a person's own"


@pytest.mark.parametrize(
    ("verb", "given", "message"),
    [
        ("extract_codes", "--vqvae=A --out=B", "Exactly one of (data, file)"),
        ("extract_codes", "--vqvae=A --out=B --data=C --file=D", "Exactly one of (data, file)"),
        ("sample", "--vqvae=A --out=B", "--top must have a value"),
        ("sample", "--vqvae=A --out=B --decode=X --top=C --seed=0", "leave out --top, --seed"),
        ("sample", "--vqvae=A --out=B --top=C --tier=top", "--tier goes with --decode"),
        ("sample", "--vqvae=A --tokenizer=C --out=B --decode=X", "--vqvae and --tokenizer are the same"),
        ("sample", "--out=B --top=C", "--vqvae must have a value"),
        ("sample", "--vqvae=A --out=B --prior=top", "--prior=top: write a stream and a workdir"),
        ("evaluate", "--vqvae=A --data=D --out=B --top=C --prior=top:E", "--prior=top:E: top is named twice"),
    ],
)
def test_flags_that_do_not_go_together(verb, given, message):
    done = run(verb, *given.split())
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


PEAK = """
import pickle, sys
from musicgen_jax.runtime import allocator
from musicgen_jax.sampling import output
from musicgen_jax.tokenizers import extraction
from musicgen_jax.tokenizers.vqvae import vqvae_tokenizer
parts, recording, codes, sound = sys.argv[1:]
allocator.return_memory()  # as the two commands do
tokenizer = vqvae_tokenizer.VQVAETokenizer(*pickle.load(open(parts, "rb")))
extraction.extract_file(tokenizer, recording, codes, 10.0)
output.decode_to_wav(tokenizer, codes, None, sound)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_peak_memory_does_not_grow_with_length(tmp_path):
    sizes = {"width": 4, "depth": 1}
    settings = config.VQVAEConfig(
        top=config.TierConfig(downsampling=(3, 2, 2), **sizes),
        middle=config.TierConfig(downsampling=(3, 2), **sizes),
        bottom=config.TierConfig(downsampling=(3,), **sizes),
        quantizer=config.QuantizerConfig(num_codes=64, code_width=4),
    )
    functional = modules.Functional(lambda rngs: vqvae.VQVAE(settings, rngs=rngs))
    (tmp_path / "tokenizer").write_bytes(pickle.dumps((settings, *random_weights(functional))))
    peaks = []
    for minutes in (1, 10):
        paths = [tmp_path / f"{minutes}{suffix}" for suffix in (".wav", ".codes", ".decoded.wav")]
        soundfile.write(paths[0], np.tile(tones(0, 60 * 44100, 44100), minutes), 44100)
        command = [sys.executable, "-c", PEAK, tmp_path / "tokenizer", *paths]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, text=True)
        assert soundfile.info(paths[2]).frames == minutes * 60 * 44100
        peaks.append(int(done.stdout.split()[-1]) * 1024)
    # Ten minutes are 106 MB as float32, which must never be in memory; their codes, 4.3 million int16, take 9 MB, and
    # there are two copies of them while they are put together.
    assert peaks[0] < 1.5e9 and peaks[1] - peaks[0] < 40e6, peaks

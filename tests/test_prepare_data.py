"""The command line of prepare_data."""

import subprocess

import command_line
import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds


def run(*arguments: str) -> subprocess.CompletedProcess:
    return command_line.run("musicgen_jax.prepare_data", *arguments)


@pytest.mark.long
def test_from_a_folder_to_a_dataset_and_again(tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(3):
        audio = np.random.default_rng(index).standard_normal(16000) * 0.1
        soundfile.write(tmp_path / "in" / f"{index}.flac", audio, 8000)
    flags = ["--dataset=recordings", f"--source={tmp_path / 'in'}", f"--out={tmp_path / 'out'}"]
    done = run(*flags)
    assert done.returncode == 0, done.stderr
    assert "audio-s" in done.stderr and "files {'ok': 3}" in done.stdout
    source = tfds.builder_from_directory(str(tmp_path / "out")).as_data_source("train")
    assert source[0]["audio"].shape == (44100,)
    again = run(*flags, "--runner=serial")
    assert again.returncode == 0 and "complete already" in again.stdout


def test_check_writes_its_report_alone(tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(3):
        audio = np.random.default_rng(index % 2).standard_normal(16000) * 0.1
        soundfile.write(tmp_path / "in" / f"{index}.wav", audio, 8000)
    flags = ["--dataset=recordings", f"--source={tmp_path / 'in'}", "--check", "--runner=serial"]
    for _ in range(2):  # again, it reads again
        done = run(*flags, f"--out={tmp_path / 'out'}")
        assert done.returncode == 0, done.stderr
        assert "note: 1 exact duplicates" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["check.html", "check.json"]
    assert "http" not in (tmp_path / "out" / "check.html").read_text().replace("http://www.w3.org/2000/svg", "")
    refused = run(*flags, f"--out={tmp_path / 'in'}")
    assert refused.returncode == 1 and "holds other things" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset=recordings", "--source=EMPTY", "--out=OUT"], ".wav .flac .ogg .mp3"),
        (["--dataset=recordings", "--out=OUT"], "--source=DIR"),
        (["--dataset=records", "--out=OUT"], "recordings|chorales"),
        (["--dataset=recordings", "--source=EMPTY"], "--out must have a value"),
        (["--dataset=recordings", "--source=EMPTY", "--out=OUT", "--sample_rate=-1"], "--sample_rate=-1"),
        (["--dataset=recordings", "--source=EMPTY", "--out=OUT", "--check", "--runner=direct"], "--runner=direct"),
        (["--dataset=recordings", "--source=EMPTY", "--out=OUT", "--check", "--transcribe=EMPTY"], "--transcribe="),
        (["--dataset=recordings", "--source=EMPTY", "--out=OUT", "--check", "--beam_options=--x"], "--beam_options"),
    ],
)
def test_bad_flags_and_data_are_one_line(tmp_path, flags, message):
    (tmp_path / "empty").mkdir()
    paths = {"EMPTY": str(tmp_path / "empty"), "OUT": str(tmp_path / "out")}
    for name, path in paths.items():
        flags = [flag.replace(name, path) for flag in flags]
    done = run(*flags)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "out").exists()

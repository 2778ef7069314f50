"""Folders that version 0.1 wrote are read, give the same codes and figures, and training goes on in them.

`golden/former_formats.tar.gz` holds a small run of that version: audio, a tokenizer, codes, two priors, a diffusion
model, an int8 prior, samples, a file of codes and metrics, by the commands of `launch/demo.sh` on three tracks of tones
at 4 kHz, the models cut down as `TRAINING` says and trained for two steps.
"""

import json
import pathlib
import tarfile

import command_line
import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from musicgen_jax.training import metrics

ARCHIVE = pathlib.Path(__file__).resolve().parent / "golden" / "former_formats.tar.gz"
TRAINING = [
    "--config.training.log_every=1",
    "--config.training.eval_every=2",
    "--config.training.eval_batches=1",
    "--config.training.checkpoint_every=2",
    "--config.training.keep_checkpoints=1",
    "--config.data.batch_size=2",
]
VQVAE = [
    "--config=configs/vqvae.py:scale=tiny",
    "--config.model.sample_rate=4000",
    "--config.model.quantizer.num_codes=16",
    "--config.model.quantizer.code_width=4",
    "--config.clip_samples=1024",
    *(f"--config.model.{tier}.{field}" for tier in ("top", "middle", "bottom") for field in ("width=4", "depth=1")),
]
PRIOR = [
    "--config.model.context=32",
    *(f"--config.model.transformer.{field}" for field in ("num_layers=2", "width=8", "mlp_width=8")),
    *(f"--config.model.transformer.{field}" for field in ("num_heads=2", "head_dim=4")),
    "--config.model.conditioner.width=4",
    "--config.model.conditioner.depth=1",
    "--config.model.label_dropout=0.1",
]
RUNS = {
    "vqvae": ("train_vqvae", VQVAE, "audio"),
    "middle": ("train_prior", ["--config=configs/prior.py:tier=middle,scale=tiny", *PRIOR], "codes"),
    "bottom": ("train_prior", ["--config=configs/diffusion.py:tier=bottom,scale=tiny", *PRIOR], "codes"),
}
STREAMS = ("top", "middle", "bottom")


@pytest.fixture
def former(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the run, as a person finds it after an update."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "run", filter="data")
    return tmp_path / "run"


def run(verb: str, *flags: object) -> str:
    done = command_line.run(f"musicgen_jax.{verb}", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def codes_of(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Stream -> [N, T] of a codes.npz, whatever its version."""
    with np.load(path) as arrays:
        return {name: np.squeeze(arrays[name], 2) if arrays[name].ndim == 3 else arrays[name] for name in STREAMS}


def assert_same_audio(path: pathlib.Path, expected: pathlib.Path) -> None:
    found, wanted = (soundfile.read(name, dtype="int16")[0].astype(int) for name in (path, expected))
    assert found.shape == wanted.shape and np.abs(found - wanted).max() <= 1


@pytest.mark.long
def test_samples_of_former_models_are_the_same(former, tmp_path):
    models = [f"--{name}={former / name}" for name in ("vqvae", *STREAMS)]
    run("sample", *models, f"--out={tmp_path / 'new'}", "--seconds=2", "--num_samples=2", "--steps=4")
    found, wanted = (codes_of(folder / "codes.npz") for folder in (tmp_path / "new", former / "samples"))
    for name in STREAMS:
        np.testing.assert_array_equal(found[name], wanted[name])
    for name in ("000.wav", "001.wav"):
        assert_same_audio(tmp_path / "new" / name, former / "samples" / name)
    int8 = [f"--vqvae={former / 'vqvae'}", f"--top={former / 'int8'}"]
    run("sample", *int8, f"--out={tmp_path / 'int8'}", "--seconds=2", "--num_samples=1")
    assert_same_audio(tmp_path / "int8" / "000.wav", former / "int8_samples" / "000.wav")


@pytest.mark.long
def test_files_of_codes_and_samples_are_read(former, tmp_path):
    run(
        "sample",
        f"--vqvae={former / 'vqvae'}",
        f"--decode={former / 't1.codes'}",
        "--tier=middle",
        f"--out={tmp_path / 'a.wav'}",
    )
    assert_same_audio(tmp_path / "a.wav", former / "t1.wav")
    # Former samples as a prompt, whose codes the continuation begins with.
    models = [f"--{name}={former / name}" for name in ("vqvae", "top", "middle")]
    prompt = former / "samples" / "codes.npz"
    run("sample", *models, f"--prime={prompt}", f"--out={tmp_path / 'on'}", "--seconds=3", "--num_samples=2")
    with np.load(tmp_path / "on" / "codes.npz") as arrays:
        np.testing.assert_array_equal(np.squeeze(arrays["top"])[:, :63], codes_of(prompt)["top"])


@pytest.mark.long
def test_evaluation_of_former_folders_gives_the_same_figures(former, tmp_path):
    models = [f"--{name}={former / name}" for name in ("vqvae", "top", "middle")]
    data = [f"--data={former / 'audio'}", f"--codes={former / 'codes'}", f"--samples={former / 'samples'}"]
    run("evaluate", *models, *data, f"--out={tmp_path / 'report'}")
    found, wanted = (
        json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path / "report", former / "report")
    )
    for name in STREAMS:
        figures = wanted["reconstruction"][name]  # there are more by now
        assert {measure: found["reconstruction"][name][measure] for measure in figures} == pytest.approx(
            figures, abs=1e-4
        )
    for name in ("top", "middle"):
        shared = wanted["prior"][name].keys() & {"nats_per_code", "perplexity", "unigram_nats", "bigram_nats"}
        assert shared
        for measure in shared:
            assert found["prior"][name][measure] == pytest.approx(wanted["prior"][name][measure], abs=1e-4)


@pytest.mark.long
def test_training_goes_on_in_former_folders(former):
    assert "complete already" in run(
        "extract_codes", f"--vqvae={former / 'vqvae'}", f"--data={former / 'audio'}", f"--out={former / 'codes'}"
    )
    for name, (verb, settings, data) in RUNS.items():
        place = [f"--workdir={former / name}", f"--config.data.path={former / data}"]
        assert "resuming from step 2" in run(verb, *settings, *TRAINING, "--config.training.num_steps=3", *place)
        assert (former / name / "checkpoints" / "3").is_dir()


@pytest.mark.long
def test_training_and_extraction_compute_what_they_did(former, tmp_path):
    """Of the same data with the same seed, from the first step on."""
    for name, (verb, settings, data) in RUNS.items():
        place = [f"--workdir={tmp_path / name}", f"--config.data.path={former / data}"]
        # A new run, which is told of what that version did not know.
        anew = [] if name == "vqvae" else ["--config.unknown_labels=0"]
        run(verb, *settings, *TRAINING, *anew, "--config.training.num_steps=2", *place)
        found, wanted = (metrics.read(folder / name / "metrics.jsonl") for folder in (tmp_path, former))
        assert [line["step"] for line in found] == [line["step"] for line in wanted]
        for now, before in zip(found, wanted, strict=True):
            losses = {measure for measure in before if "loss" in measure or "nats" in measure}
            assert losses
            for measure in losses:
                assert now[measure] == pytest.approx(before[measure], rel=1e-5), (name, measure)
    run("extract_codes", f"--vqvae={former / 'vqvae'}", f"--data={former / 'audio'}", f"--out={tmp_path / 'codes'}")
    found, wanted = (tracks(folder / "codes") for folder in (tmp_path, former))
    assert found.keys() == wanted.keys()
    for name, codes in wanted.items():
        np.testing.assert_array_equal(found[name], codes)


def tracks(folder: pathlib.Path) -> dict[tuple[str, str], np.ndarray]:
    """(track, stream) -> codes [T] of code shards, whatever their version."""
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    builder = tfds.builder_from_directory(folder)
    for split in builder.info.splits:
        for record in builder.as_data_source(split):
            for name in STREAMS:
                found.setdefault((record["track_id"], name), []).append(np.asarray(record[name]).reshape(-1))
    return {place: np.concatenate(parts) for place, parts in found.items()}

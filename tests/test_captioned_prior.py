"""Captions all the way: a published text encoder, recordings with captions, codes, and a prior that is told them."""

import json
import pathlib
import subprocess

import command_line
import numpy as np
import pytest
import soundfile
import tiny_text
import tiny_workdirs

from musicgen_jax import config, pretrained
from musicgen_jax.codes import caption_vectors, code_dataset, code_shards
from musicgen_jax.evaluation import prior_likelihood
from musicgen_jax.priors import trained

pytest.importorskip("safetensors")
pytest.importorskip("sentencepiece")
pytestmark = pytest.mark.long

RATE, SECONDS = 4000, 6
CAPTIONS = ("loud drums and fast guitars", "a calm flute, slow and sad")


def run(verb: str, *flags: object) -> subprocess.CompletedProcess:
    done = command_line.run(f"musicgen_jax.{verb}", *flags)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny_tokenizer) -> pathlib.Path:
    """Folders `published`, `vqvae`, and `in`: six recordings, of noise and of tones, each with a caption of these."""
    folder = tmp_path_factory.mktemp("captions")
    tiny_text.write_published(folder / "published")
    tiny_workdirs.write(folder, tiny_tokenizer, ())
    (folder / "in").mkdir()
    for index in range(6):
        rng, seconds = np.random.default_rng(index), np.arange(RATE * SECONDS) / RATE
        tone = np.sin(2 * np.pi * (150 + 10 * index) * seconds) * 0.3
        audio = rng.standard_normal(len(seconds)) * 0.3 if index % 2 == 0 else tone
        soundfile.write(folder / "in" / f"{index}.wav", audio, RATE)
        told = {"description": CAPTIONS[index % 2], "bpm": 90 + index}
        (folder / "in" / f"{index}.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def codes(root) -> str:
    run(
        "prepare_data",
        "--dataset=recordings",
        f"--source={root / 'in'}",
        f"--out={root / 'audio'}",
        "--sample_rate=4000",
    )
    run("extract_codes", f"--vqvae={root / 'vqvae'}", f"--data={root / 'audio'}", f"--out={root / 'codes'}")
    return str(root / "codes")


@pytest.fixture(scope="module")
def prior(root, codes) -> trained.TrainedPrior:
    run("convert", "--source=t5", f"--checkpoint={root / 'published' / 'model.safetensors'}", f"--out={root / 't5'}")
    done = run(
        "train_prior",
        "--config=configs/musicgen.py:tier=top,scale=tiny",
        f"--text_encoder={root / 't5'}",
        f"--workdir={root / 'prior'}",
        f"--config.data.path={codes}",
        "--config.data.batch_size=4",
        "--config.model.context=32",
        "--config.model.text_dropout=0.2",
        "--config.model.transformer.num_layers=1",
        "--config.model.transformer.width=32",
        "--config.model.transformer.mlp_width=64",
        "--config.model.transformer.num_heads=2",
        "--config.model.transformer.head_dim=16",
        "--config.training.num_steps=40",
    )
    texts = {text for entry in code_shards.read_index(codes) for text in entry.texts}
    assert len(texts) == 2 + 6 + 6 and f"vectors of {len(texts)} captions" in done.stderr
    return pretrained.load_prior(str(root / "prior"))


def test_codes_carry_the_captions(root, codes):
    entries = code_shards.read_index(codes)
    assert {entry.texts[0] for entry in entries} == set(CAPTIONS)
    assert all(entry.caption.fields["bpm"] == str(90 + int(entry.track_id[0])) for entry in entries)
    report = json.loads((root / "audio" / "report.json").read_text())
    assert report["captions"]["json"]["tracks"] == 6


def test_the_model_says_whose_vectors_it_was_told(root, codes, prior):
    encoder = pretrained.load_text_encoder(str(root / "t5"))
    assert prior.config.text_encoder == encoder.fingerprint and prior.config.text_width == encoder.width
    vectors = caption_vectors.Vectors(codes, encoder.fingerprint)
    states, mask = encoder.encode(CAPTIONS)
    for text, rows, there in zip(CAPTIONS, states, mask, strict=True):
        found = vectors.of(text, there.size)
        assert (found["text_mask"] == there).all()
        np.testing.assert_allclose(found["text"], rows, atol=2e-3, rtol=2e-3)


def nats(prior: trained.TrainedPrior, batch: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """(logits, mean nats of the codes) of a batch."""
    logits = np.asarray(prior.functional.bind(*prior.weights)(batch), np.float64)
    chosen = np.take_along_axis(logits, batch["codes"][..., None], axis=-1)[..., 0]
    return logits, float(np.mean(np.log(np.exp(logits).sum(axis=-1)) - chosen))


def test_another_caption_gives_other_logits_and_the_right_one_the_better(codes, prior):
    windows = code_dataset.Windows(codes, "train", prior.config)
    rows = [windows.window(track, 0) for track in range(len(windows.entries))]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    other = dict(zip(CAPTIONS, CAPTIONS[::-1], strict=True))
    wrong = [windows.vectors.of(other[entry.texts[0]], batch["text"].shape[1]) for entry in windows.entries]
    swapped = batch | {name: np.stack([row[name] for row in wrong]) for name in wrong[0]}
    untold = batch | {"text_mask": np.zeros_like(batch["text_mask"])}
    (told, right), (misled, worse), (free, _) = (nats(prior, one) for one in (batch, swapped, untold))
    assert np.isfinite(told).all() and np.isfinite(free).all()
    assert np.abs(told - misled).max() > 1e-2 and np.abs(told - free).max() > 1e-2
    assert right < worse


def test_held_out_codes_are_judged_with_their_captions(codes, prior):
    figures = prior_likelihood.evaluate_prior(prior, "validation", 0)
    assert 0 < figures["nats_per_code"] < 2 * np.log(prior.config.num_codes) and figures["num_whole_tracks"] >= 1


def test_further_trainings_need_no_encoder(root, codes, prior):
    again = code_dataset.resolve(config.PriorConfig(tier="top", context=32, text=True), codes)
    assert again.text_encoder == prior.config.text_encoder
    flags = (
        "--config=configs/prior.py:tier=top,scale=tiny",
        f"--workdir={root / 'other'}",
        f"--config.data.path={codes}",
    )
    done = command_line.run("musicgen_jax.train_prior", *flags, f"--text_encoder={root / 't5'}")
    assert done.returncode == 1 and "--config.model.text=true" in done.stderr and done.stderr.count("\n") == 1
    done = command_line.run(
        "musicgen_jax.train_prior", *flags, "--config.model.text=true", f"--text_encoder={root / 'in'}"
    )
    assert done.returncode == 1 and "pass a folder that training or convert wrote" in done.stderr
    assert again.text_tokens == prior.config.text_tokens

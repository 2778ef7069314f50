"""The whole judgement, on random models: what it writes, on what, and what it refuses before the long work."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable

import command_line
import numpy as np
import pytest
import soundfile
import tiny_priors
import tiny_scores
import tiny_workdirs
from conftest import SAMPLE_RATE, prepare_tones, tones
from tiny_layouts import TIERS

from musicgen_jax.codes import code_dataset
from musicgen_jax.data import shards
from musicgen_jax.evaluation import evaluation, report, structure, tokenizer_quality
from musicgen_jax.priors import trained
from musicgen_jax.scores import midi, transcription
from musicgen_jax.scores.score import Score


@pytest.fixture(scope="module")
def priors(tiny_codes) -> dict[str, trained.TrainedPrior]:
    found = {}
    for tier in TIERS:
        model = code_dataset.resolve(tiny_priors.model_config(tier, context=32, num_layers=1), tiny_codes)
        found[tier] = tiny_priors.trained_prior(model, tiny_codes)
    return found


@pytest.fixture(scope="module")
def write_samples(tmp_path_factory, tiny_tokenizer) -> Callable[..., str]:
    """Writes a folder as `sample` does: `seconds` of each sample, and changes of samples.json."""

    def write(*seconds: float, **changes: str) -> str:
        folder = tmp_path_factory.mktemp("samples")
        items = []
        for index, length in enumerate(seconds):
            name = f"{index:03d}.wav"
            soundfile.write(folder / name, tones(index + 20, round(length * SAMPLE_RATE)), SAMPLE_RATE)
            items.append({"file": name, "seed": 0, "index": index, "genre": "organ"})
        request = {"artist": "unknown", "seed": 0, "seconds": 2.0, "hop_fraction": 0.5, "settings": {"top_p": 0.9}}
        info = {"request": request, "samples": items, "sample_rate": SAMPLE_RATE}
        info |= {"vqvae_fingerprint": tiny_tokenizer.fingerprint}
        (folder / "samples.json").write_text(json.dumps(info | changes))
        return str(folder)

    return write


@pytest.fixture(scope="module")
def judged(tmp_path_factory, tiny_tokenizer, tiny_audio_dataset, priors, write_samples) -> pathlib.Path:
    """An evaluation of everything, but three tracks' seconds only."""
    out = tmp_path_factory.mktemp("judged")
    settings = evaluation.Settings(tiny_audio_dataset, write_samples(2.0, 2.0), max_codes=1000)
    workdirs = {"vqvae": str(out / "none")}
    evaluation.evaluate(tiny_tokenizer, priors, settings, workdirs, str(out), {"vqvae": 12345, "top": 0})
    return out


def test_metrics_are_of_the_same_seconds(judged, tiny_tokenizer):
    metrics = json.loads((judged / "metrics.json").read_text())
    prior = metrics["prior"]
    assert len({prior[tier]["seconds"] for tier in TIERS}) == 1
    hops = tiny_tokenizer.layout.hop_lengths
    codes = {tier: prior[tier]["num_codes"] * hops[tier] for tier in TIERS}
    assert len(set(codes.values())) == 1 and prior["bottom"]["num_codes"] <= 1000
    bits = sum(SAMPLE_RATE / hops[tier] * prior[tier]["nats_per_code"] / np.log(2) for tier in TIERS)
    assert prior["bits_per_second"] == pytest.approx(bits)
    # Two seconds at 4 kHz are too short for structure, and too little for the filters of loudness.
    absent = {"fad.infinite"}  # there are too few frames
    absent |= {f"reconstruction.{tier}.loudness_error_db" for tier in TIERS}
    absent |= {f"structure.{side}.{name}" for side in ("held_out", "samples") for name in structure.MEASURES}
    assert metrics["absent"].keys() == absent


def test_metrics_have_the_keys_that_other_programs_read(judged):
    metrics = json.loads((judged / "metrics.json").read_text())
    for tier in TIERS:
        measures = {"spectral_convergence_db", "multiscale_spectral_mse", "si_sdr_db"}
        assert measures < set(metrics["reconstruction"][tier])
        assert {"usage", "perplexity"} < set(metrics["codebook"][tier])
        assert {"nats_per_code", "perplexity", "unigram_nats", "bigram_nats"} < set(metrics["prior"][tier])
    fad = metrics["fad"]
    assert (fad["num_frames"], fad["clip_seconds"], fad["num_clips"]) == (6, 2.0, 2)
    assert fad["embedding"] == "log-mel-statistics" and fad["value"] > 0
    assert fad["floor"] > 0 and fad["floor_num_frames"] == 6 and fad["reliable"] is False
    assert metrics["distances"] == {"FD-log-mel-statistics": fad}


def test_the_page_says_what_was_measured_with_what(judged):
    page, about = (judged / "report.html").read_text(), json.loads((judged / "metrics.json").read_text())["about"]
    assert about["version"] in page and about["date"][:10] in page and about["hardware"] in page
    assert "12,345" in page and "Unreliable" in page


@pytest.fixture
def judge(tmp_path, tiny_tokenizer, tiny_audio_dataset, priors) -> Callable[..., dict]:
    """Evaluates with changes; `prior` are changes of every prior."""

    def evaluate(tiers: tuple[str, ...] = TIERS, prior: dict | None = None, out: str = "out", **changes) -> dict:
        chosen = {tier: dataclasses.replace(priors[tier], **(prior or {})) for tier in tiers}
        settings = evaluation.Settings(**{"data": tiny_audio_dataset, "samples": "", "max_codes": 100} | changes)
        return evaluation.evaluate(tiny_tokenizer, chosen, settings, {}, str(tmp_path / out))

    return evaluate


@pytest.fixture
def nothing_long(monkeypatch):
    def begun(*_: object) -> None:
        raise AssertionError("the long work began")

    monkeypatch.setattr(tokenizer_quality, "evaluate_tokenizer", begun)


def test_codes_of_other_audio_are_refused(judge, nothing_long, tiny_tokenizer, tiny_codes, tmp_path):
    other = prepare_tones(tmp_path / "other", (8000, 9000, 10000, 11000))
    with pytest.raises(ValueError, match=r"top: the codes .* are not of the audio in data=.*other .*pass codes"):
        judge(data=other)
    with pytest.raises(ValueError, match=r"codes=.* are not of the audio in data"):
        judge(data=other, codes=tiny_codes)


def test_codes_that_are_gone_or_of_another_tokenizer(judge, nothing_long, tiny_codes, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"top: the codes .* on, nowhere, cannot be found.*codes"):
        judge(prior={"codes_path": "nowhere"})
    other = shutil.copytree(tiny_codes, tmp_path / "codes")
    metadata = shards.read_metadata(tiny_codes)
    metadata["layout"]["fingerprint"] = "f00d"
    (other / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=r"codes=.* are of VQ-VAE f00d, and vqvae is .*: pass codes"):
        judge(codes=str(other))


def test_samples_of_another_tokenizer(judge, nothing_long, write_samples):
    with pytest.raises(ValueError, match="were sampled with VQ-VAE f00d at 4000 Hz, but vqvae is"):
        judge(samples=write_samples(1.0, vqvae_fingerprint="f00d"))
    with pytest.raises(ValueError, match=r"at 8000 Hz, but vqvae is .* at 4000 Hz"):
        judge(samples=write_samples(1.0, sample_rate=8000))
    with pytest.raises(ValueError, match=r"samples\.json: request is None and must be"):
        judge(samples=write_samples(1.0, request=None))


def test_a_folder_that_cannot_be_written(judge, nothing_long, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match="out"):
        judge()


def test_a_network_that_is_not_there(judge, nothing_long):
    with pytest.raises(FileNotFoundError, match="no such network of basic-pitch: nowhere"):
        judge(transcribe="nowhere")


@pytest.mark.long
def test_the_codes_flag_finds_codes_wherever_they_lie(judge, tiny_codes, tmp_path, monkeypatch):
    moved = shutil.copytree(tiny_codes, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    by_flag = judge(("top",), prior={"codes_path": "nowhere"}, codes="moved")
    assert by_flag["prior"]["top"] == judge(("top",), out="again")["prior"]["top"]
    assert moved.is_dir()


@pytest.mark.long
def test_what_cannot_be_measured_is_absent_with_its_reason(judge, write_samples, tmp_path):
    metrics = judge(("top", "bottom"), samples=write_samples(0.5, 0.75))
    assert "fad" not in metrics and "bits_per_second" not in metrics["prior"]
    absent = {name for name in metrics["absent"] if not name.startswith(("reconstruction.", "structure."))}
    assert absent == {"fad", "prior.bits_per_second"}
    assert "the clips give 0 frames of 1 s" in metrics["absent"]["fad"]
    assert "no middle prior" in metrics["absent"]["prior.bits_per_second"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the clips give 0 frames" in page and "no middle prior" in page


@pytest.mark.long
def test_a_second_of_held_out_audio(judge, tiny_tokenizer, write_samples, tmp_path):
    data = prepare_tones(tmp_path / "short", (4000, 4000, 4000))
    metrics = judge((), data=data, samples=write_samples(2.0))
    assert metrics["reconstruction"]["top"]["num_clips"] == 1
    assert "the recordings give 1 frames" in metrics["absent"]["fad"] and "prior" not in metrics


def test_a_tier_that_reconstructs_no_number_costs_itself_alone(judge, monkeypatch, tiny_tokenizer, tmp_path):
    decode = tiny_tokenizer.decode
    monkeypatch.setattr(
        tiny_tokenizer,
        "decode",
        lambda codes, tier, seconds: decode(codes, tier, seconds) * (np.nan if tier == "top" else 1),
    )
    metrics = judge((), max_seconds=0.5)
    assert metrics["reconstruction"]["top"]["tracks"] == [] and metrics["codebook"]["top"]["usage"] > 0
    assert metrics["reconstruction"]["middle"]["num_clips"] == len(metrics["reconstruction"]["middle"]["tracks"]) > 0
    (reason,) = {why for name, why in metrics["absent"].items() if name.startswith("reconstruction.top.tracks.")}
    assert "2000 samples that are not finite" in reason
    assert metrics["absent"]["reconstruction.top.multiscale_spectral_mse"] == "no recording could be compared"
    assert "middle" in (tmp_path / "out" / "report.html").read_text()


def test_samples_of_which_one_is_damaged_beside_recordings_of_their_names(judge, write_samples, tmp_path):
    folder, references = pathlib.Path(write_samples(1.0, 1.0, 1.0)), tmp_path / "recordings"
    references.mkdir()
    for name in ("000", "002"):
        audio, _ = soundfile.read(folder / f"{name}.wav")
        soundfile.write(references / f"{name}.flac", audio / 2, SAMPLE_RATE)
    (folder / "002.wav").write_bytes((folder / "002.wav").read_bytes()[:100])
    metrics = judge((), samples=str(folder), references=str(references), max_seconds=0.5)
    assert [metrics["samples"][name] for name in ("num_samples", "num_left_out")] == [2, 1]
    assert "002.wav" in metrics["absent"]["samples.002.wav"]
    (row,) = metrics["samples"]["reconstruction"]["tracks"]
    assert row["track"] == "000.wav" and row["log_spectral_distance_db"] == pytest.approx(6.02, abs=1)
    assert "has no audio file 001.*" in metrics["absent"]["samples.reconstruction.001.wav"]


def test_references_are_of_samples(judge, nothing_long, write_samples, tmp_path):
    with pytest.raises(ValueError, match="samples are compared with them: pass samples too"):
        judge(references=str(tmp_path))
    with pytest.raises(ValueError, match=r"none of its 0 audio files \(none\) has the name of a sample"):
        judge(samples=write_samples(1.0), references=str(tmp_path))


def test_metrics_are_there_whatever_becomes_of_the_page(judge, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "write_report", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        judge(())
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["reconstruction"]


@pytest.mark.long
def test_a_composer_without_scores_to_judge_costs_nothing_else(tmp_path, tiny_tokenizer, tiny_audio_dataset):
    settings = evaluation.Settings(tiny_audio_dataset, "", max_seconds=0.5)
    composer = trained.TrainedPrior(tiny_scores.model_config(), None, (), "")
    metrics = evaluation.evaluate(tiny_tokenizer, {}, settings, {}, str(tmp_path), composer=composer)
    assert "has no scores" in metrics["absent"]["score.nats_per_note"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert "has no scores" in (tmp_path / "report.html").read_text()


@pytest.mark.long
def test_a_sample_whose_score_is_a_rest(judge, write_samples, tmp_path, monkeypatch):
    """As sample writes it where the first note of a score lies behind the seconds that were asked for."""
    folder = write_samples(1.0, 1.0)
    info = json.loads(pathlib.Path(folder, "samples.json").read_text())
    for item, score in zip(info["samples"], [Score([]), Score([(60, 0, 1, 90, 0)])], strict=True):
        item["score"] = item["file"].replace(".wav", ".mid")
        pathlib.Path(folder, item["score"]).write_bytes(midi.to_bytes(score))
    pathlib.Path(folder, "samples.json").write_text(json.dumps(info))
    monkeypatch.setattr(transcription, "load", lambda path: path)
    monkeypatch.setattr(transcription, "transcribe", lambda network, blocks, rate: Score([(60, 0.02, 1, 90, 0)]))
    metrics = judge((), samples=folder, max_seconds=0.5, transcribe="network")
    assert metrics["score"]["transcribed_f1"] == 0.5
    assert "a transcribing network hears" in (tmp_path / "out" / "report.html").read_text()
    assert [row["name"] for row in metrics["score"]["samples"]] == ["000.wav", "001.wav"]
    assert metrics["score"]["samples"][0]["note_f1"] == 0
    assert metrics["score"]["statistics"]["samples"]["polyphony"]["mean"] == 0.5


@pytest.mark.long
def test_a_diffusion_model_in_the_folder_is_passed_over(tiny_tokenizer, tiny_audio_dataset, tiny_codes, tmp_path):
    models, out = tmp_path / "models", tmp_path / "out"
    tiny_workdirs.write(models, tiny_tokenizer, ("top",))
    tiny_workdirs.write_diffusion(models, tiny_tokenizer, "middle")
    flags = [f"--model={models}", f"--data={tiny_audio_dataset}", f"--codes={tiny_codes}", f"--out={out}"]
    done = command_line.run("musicgen_jax.evaluate", *flags, "--max_seconds=0.5", "--max_codes=100")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["prior"]) == {"top"}
    assert metrics["absent"]["prior.middle"].startswith("a diffusion model gives a bound")
    assert "no prior.middle: a diffusion model" in done.stdout

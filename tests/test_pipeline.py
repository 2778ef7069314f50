"""The demo script itself, with few training steps: audio files -> report, opened in a real browser."""

import json
import os
import pathlib
import subprocess

import browser
import command_line
import numpy as np
import pytest
import soundfile
import xla_flags

from musicgen_jax import pretrained
from musicgen_jax.codes import code_shards
from musicgen_jax.data import audio_io

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUICK_TO_COMPILE = ["--config.optimizer.name=adamw"]  # Muon, of the configs, takes thrice as long to trace and to load
FEW_STEPS = ["--config.training.num_steps=6", "--config.training.checkpoint_every=3", "--config.data.batch_size=2"]
FEW_STEPS += QUICK_TO_COMPILE
# The layers of the configs in smaller numbers: each process traces and loads them all.
SMALL_TOKENIZERS = {
    "tiers": [f"--config.model.{tier}.depth=1" for tier in ("top", "middle", "bottom")],
    "tones": ["--config.model.residual.depth=1", "--config.model.residual.width=32", "--config.model.ddsp.depth=1"],
}
SMALL_PRIOR = [
    *(f"--config.model.transformer.{field}" for field in ("num_layers=1", "width=32", "mlp_width=64")),
    *(f"--config.model.transformer.{field}" for field in ("num_heads=2", "head_dim=16")),
    "--config.model.conditioner.depth=1",
]


def run_demo(out: pathlib.Path, *flags: str, recipe: str = "tiers") -> subprocess.CompletedProcess:
    command = ["bash", str(ROOT / "launch" / "demo.sh"), str(out), *flags]
    environment = os.environ | {
        "PYTHON": command_line.python(),
        "XLA_FLAGS": xla_flags.FAST,
        "RECIPE": recipe,
        "VQVAE_FLAGS": " ".join([*FEW_STEPS, *SMALL_TOKENIZERS[recipe or "tones"]]),
        "PRIOR_FLAGS": " ".join([*FEW_STEPS, *SMALL_PRIOR]),
        "SAMPLE_FLAGS": "--seconds=1.5 --num_samples=2 --seed=3 --top_p=0.95",
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, tones_folder: pathlib.Path) -> pathlib.Path:
    out = tmp_path_factory.mktemp("demo")
    result = run_demo(out, "--dataset=recordings", f"--source={tones_folder}")
    assert result.returncode == 0, result.stderr[-3000:]
    report = out / "report" / "report.html"
    assert result.stdout.splitlines()[-1] == str(report), "the demo ends by printing the report's path"
    assert result.stdout.count("$ ") >= 8, "each command is printed before it runs"
    said = result.stderr.splitlines()
    assert sum(line.startswith("running on ") for line in said) == 8, "each command says what it runs on"
    assert sum(line.startswith("next: ") for line in said) == 8, "each command names the next one"
    assert "\r" not in result.stdout + result.stderr, "no bar is drawn into a log"
    return out


@pytest.mark.slow
def test_every_step_leaves_what_other_programs_read(demo: pathlib.Path):
    for workdir in ("vqvae", "top", "middle", "bottom"):
        lines = [json.loads(line) for line in (demo / workdir / "metrics.jsonl").read_text().splitlines()]
        assert lines and all("step" in line for line in lines)
        assert json.loads((demo / workdir / "config.json").read_text())["training"]["num_steps"] == 6
        assert (demo / workdir / "checkpoints" / "6").is_dir()
    for name in ("original", "top", "middle", "bottom"):
        facts = soundfile.info(demo / "vqvae" / "reconstruction" / f"{name}.wav")
        assert facts.samplerate == 16000 and 5 < facts.duration <= 8
    assert code_shards.read_facts(demo / "codes").layout.hop_lengths == {"top": 128, "middle": 32, "bottom": 8}
    info = json.loads((demo / "samples" / "samples.json").read_text())
    assert (info["request"]["seed"], info["request"]["settings"]["top_p"]) == (3, 0.95)
    for item in info["samples"]:
        facts = soundfile.info(demo / "samples" / item["file"])
        assert (facts.subtype, facts.samplerate, facts.channels) == ("PCM_16", 16000, 1)
        assert abs(facts.duration - 1.5) < 128 / 16000
        assert np.isfinite(audio_io.read_audio(demo / "samples" / item["file"], 16000)).all()


@pytest.mark.slow
def test_metrics_have_the_keys_that_other_programs_read(demo: pathlib.Path):
    metrics = json.loads((demo / "report" / "metrics.json").read_text())
    for tier in ("top", "middle", "bottom"):
        assert {"spectral_convergence_db", "multiscale_spectral_mse", "si_sdr_db"} <= set(
            metrics["reconstruction"][tier]
        )
        assert {"usage", "perplexity"} <= set(metrics["codebook"][tier])
        assert {"nats_per_code", "perplexity", "unigram_nats", "bigram_nats"} <= set(metrics["prior"][tier])
    assert metrics["prior"]["bits_per_second"] > 0
    assert metrics["about"]["training_steps"] == dict.fromkeys(("vqvae", "top", "middle", "bottom"), 6)
    assert {"value", "embedding", "num_frames", "clip_seconds"} <= set(metrics["fad"])


@pytest.mark.slow
def test_report_opens_in_a_browser(demo: pathlib.Path, tmp_path: pathlib.Path):
    if browser.find_chromium() is None:
        pytest.skip("no Chromium or Chrome is installed")
    page = browser.open_page(demo / "report" / "report.html", tmp_path)
    assert page["errors"] == [] and page["requests"] == [] and not page["broken_images"]
    assert len(page["players"]) == 4 + 2  # one held-out track in four versions, two samples
    assert all(player["duration"] > 0 for player in page["players"])


@pytest.mark.slow
def test_run_again_goes_on_where_it_was(demo: pathlib.Path, tones_folder: pathlib.Path):
    before = {path: path.stat().st_mtime_ns for path in demo.glob("*/checkpoints/*/_CHECKPOINT_METADATA")}
    result = run_demo(demo, "--dataset=recordings", f"--source={tones_folder}")
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("nothing to do") == 3  # audio, codes, samples
    assert before == {path: path.stat().st_mtime_ns for path in demo.glob("*/checkpoints/*/_CHECKPOINT_METADATA")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "flags", "message"),
    [
        ("sample", ["--seconds=0"], "--seconds=0.0: must be greater than 0"),
        ("sample", ["--genre=polka"], "unknown genre; the prior was trained with {genres}"),
        ("sample", ["--vqvae=nowhere"], "no such folder: nowhere"),
        ("sample", ["--top={demo}/middle"], "holds a prior of the middle tier where one of the top tier is wanted"),
        ("sample", ["--vqvae={demo}/top"], "holds a prior, not a tokenizer"),
        ("evaluate", ["--samples={demo}/audio"], "no samples.json"),
        ("evaluate", ["--data={demo}/codes"], "holds no audio"),
        ("evaluate", ["--vqvae=nowhere"], "no such folder: nowhere"),
    ],
)
def test_bad_flags_get_one_line(demo: pathlib.Path, tmp_path: pathlib.Path, verb: str, flags: list[str], message: str):
    good = {tier: f"--{tier}={demo}/{tier}" for tier in ("vqvae", "top", "middle", "bottom")}
    good |= {"out": f"--out={tmp_path}/out"} | ({"data": f"--data={demo}/audio"} if verb == "evaluate" else {})
    bad = {flag.split("=")[0].strip("-"): flag.format(demo=demo) for flag in flags}
    result = command_line.run(f"musicgen_jax.{verb}", *(good | bad).values())
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    genres = json.loads((demo / "top" / "config.json").read_text())["model"]["vocabularies"]["genre"]
    assert len(errors) == 1 and message.format(genres=", ".join(genres)) in errors[0], result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out" / "samples.json").exists()


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory, tones_folder: pathlib.Path) -> pathlib.Path:
    """The same way with the tokenizer of one stream of four codebooks, and a prior of the pattern "delay"."""
    out = tmp_path_factory.mktemp("residual")
    models = [f"--tokenizer={out}/tokenizer", f"--prior=residual:{out}/prior"]

    def run(verb: str, *flags: str) -> None:
        result = command_line.run(f"musicgen_jax.{verb}", *flags, timeout=900)
        assert result.returncode == 0, f"{verb}: {result.stderr[-3000:]}"

    source = ["--dataset=recordings", f"--source={tones_folder}", "--sample_rate=16000"]
    run("prepare_data", *source, f"--out={out}/audio")
    tokenizer = ["--config=configs/vqvae.py:scale=tiny,kind=residual", f"--config.data.path={out}/audio"]
    run("train_vqvae", *tokenizer, f"--workdir={out}/tokenizer", *FEW_STEPS, "--config.model.residual.depth=1")
    run("extract_codes", f"--tokenizer={out}/tokenizer", f"--data={out}/audio", f"--out={out}/codes")
    prior = ["--config=configs/prior.py:tier=residual,scale=tiny", f"--config.data.path={out}/codes"]
    run("train_prior", *prior, f"--workdir={out}/prior", *FEW_STEPS, *SMALL_PRIOR)
    # Longer than the context of 256 frames, 5.12 s: two windows.
    run("sample", *models, f"--out={out}/samples", "--seconds=6", "--num_samples=2", "--seed=3")
    prompt = [f"--prime={tones_folder}/flute/a.wav", "--mode=continue", "--seconds=7", "--num_samples=1"]
    run("sample", *models, f"--out={out}/continued", *prompt)
    run("evaluate", *models, f"--data={out}/audio", f"--samples={out}/samples", f"--out={out}/report")
    return out


@pytest.mark.long
def test_a_stream_of_several_codebooks_goes_the_whole_way(residual: pathlib.Path):
    settings = json.loads((residual / "prior" / "config.json").read_text())["model"]
    assert (settings["num_codebooks"], settings["pattern"], settings["num_codes"]) == (4, "delay", 256)
    sampled = np.load(residual / "samples" / "codes.npz")["residual"]
    assert sampled.shape == (2, 300, 4) and sampled.max() < 256
    for folder, seconds in (("samples", 6.0), ("continued", 7.0)):
        facts = soundfile.info(residual / folder / "000.wav")
        assert facts.samplerate == 16000 and abs(facts.duration - seconds) <= 320 / 16000
    metrics = json.loads((residual / "report" / "metrics.json").read_text())
    assert {"spectral_convergence_db", "si_sdr_db"} <= set(metrics["reconstruction"]["residual"])
    assert {"usage", "perplexity"} <= set(metrics["codebook"]["residual"])
    nats = metrics["prior"]["residual"]["nats_per_code"]
    assert 0 < nats < 2 * np.log(256)
    # Four codes of 50 frames a second.
    assert metrics["prior"]["bits_per_second"] == pytest.approx(200 * nats / np.log(2))


@pytest.mark.long
def test_a_prompt_is_continued_from_its_own_codes(residual: pathlib.Path, tones_folder: pathlib.Path):
    """And the first codebooks of a recording decode by themselves."""
    tokenizer = pretrained.load_vqvae(str(residual / "tokenizer"))
    audio = audio_io.read_audio(tones_folder / "flute" / "a.wav", 16000)
    codes = tokenizer.encode(iter([audio]))["residual"]
    continued = np.load(residual / "continued" / "codes.npz")["residual"]
    whole = len(audio) // 320
    np.testing.assert_array_equal(continued[0, : whole - 1], codes[: whole - 1])
    for number in (1, 2, 3):
        assert tokenizer.decode(codes[:, :number], "residual").shape == (len(codes) * 320,)

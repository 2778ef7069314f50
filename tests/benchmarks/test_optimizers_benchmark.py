"""The sweep: refused cases, a real run at the smallest size, one that diverges, one that is not repeated."""

import json

import pytest

TINY = (
    "--flags=--config.data.batch_size=2 --config.model.context=16 --config.model.transformer.num_layers=1 "
    "--config.training.log_every=1"
)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models=middling"], "--models=middling: must be of vqvae, top, middle, bottom"),
        (["--models=vqvae"], "--audio: pass the folder that vqvae is trained on"),
        (["--case=muon"], "--case=muon: write OPTIMIZER:RATE[,FIELD=VALUE...], such as muon:8e-3"),
        (["--case=moon:1"], "--case=moon:1: optimizer.name='moon': must be one of adamw, adafactor, muon"),
        (["--case=muon:fast"], "--case=muon:fast: could not convert string to float"),
        (["--case=muon:1,momentum=2"], "--case=muon:1,momentum=2: no field 'momentum'; there are name,"),
        (["--steps=0"], "--steps=0: must be whole numbers, at least 1 each"),
        (["--eval_batches=0"], "--eval_batches=0: must be at least 1"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, tmp_path, flags, message):
    done = benchmark("optimizers", f"--out={tmp_path}/out", "--codes=codes", *flags)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_line_a_run_and_a_table(benchmark, tiny_codes, tmp_path):
    flags = [f"--out={tmp_path}", f"--codes={tiny_codes}", "--models=top", "--steps=3", TINY]
    cases = ["--case=muon:8e-3,warmup_steps=1", "--case=adamw:1e6"]
    done = benchmark("optimizers", *flags, *cases)
    assert done.returncode == 0, done.stderr
    muon, *rest = done.stdout.splitlines()
    line = json.loads(muon)
    assert line["benchmark"] == "optimizers" and line["model"] == "top" and line["steps"] == 3
    assert line["optimizer"] == {"name": "muon", "peak_learning_rate": "8e-3", "warmup_steps": "1"}
    assert 0 < line["value"] == line["held_out"]["nats_per_code"] < 4 and line["unit"] == "nats/code"
    assert line["step_seconds"] > 0 and line["error"] is None
    run = json.loads((tmp_path / "top-3-name=muon-peak_learning_rate=8e-3-warmup_steps=1/config.json").read_text())
    assert run["optimizer"]["warmup_steps"] == 1 and run["optimizer"]["peak_learning_rate"] == 8e-3
    assert rest[-2].startswith(f"| top | 3 | muon 8e-3 warmup_steps=1 | {line['value']:.3f} nats/code |")
    # Finished runs are read, not repeated: their data need not be there any more.
    again = benchmark("optimizers", f"--out={tmp_path}", "--codes=gone", "--models=top", "--steps=3", cases[0])
    assert json.loads(again.stdout.splitlines()[0]) == line


@pytest.mark.long
def test_what_failed_is_told_apart(benchmark, tiny_codes, tmp_path):
    flags = [f"--out={tmp_path}", "--models=top", TINY]
    diverged = benchmark("optimizers", *flags, f"--codes={tiny_codes}", "--steps=40", "--case=adamw:1e18,clip_norm=0")
    assert diverged.returncode == 0, diverged.stderr
    line = json.loads(diverged.stdout.splitlines()[0])
    assert line["value"] is None and "updates in a row were skipped" in line["error"]
    assert diverged.stdout.splitlines()[-1].startswith("| top | 40 | adamw 1e18 clip_norm=0 | diverged |")
    failed = benchmark("optimizers", *flags, f"--codes={tmp_path}", "--steps=3", "--case=adamw:1e-3")
    assert failed.returncode == 1 and failed.stderr.startswith("error: top-3-name=adamw") and "no " in failed.stderr

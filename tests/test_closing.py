"""The next command that each command names at its end: with the folders of this run, and flags that its verb has."""

import json
import pathlib
import shlex
import sys

import documented_commands
import pytest
from tiny_layouts import TIERS

from musicgen_jax import config
from musicgen_jax.command_line import closing


@pytest.fixture(autouse=True)
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "musicgen_jax.verb"])
    monkeypatch.setattr(sys, "argv", ["verb.py"])


def workdirs(root: pathlib.Path, *names: str) -> None:
    """Folders that look like those of training."""
    for name in names:
        (root / name).mkdir(parents=True)
        kinds = {"vqvae": config.VQVAETraining, "composer": config.ComposerTraining}
        run = kinds.get(name.split()[-1], config.PriorTraining)()
        run.data.path = str(root / "audio")
        config.write_json(root / name / "config.json", run)


def next_command(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, str]]:
    """(verb, {flag: value}), of flags that the verb has."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [line for line in captured.err.splitlines() if line.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: "))
    verb = words[2].removeprefix("musicgen_jax.")
    documented_commands.check(verb, words[3:])
    return verb, dict(word.removeprefix("--").split("=", 1) for word in words[3:])


def test_prepare_data(capsys):
    report = {
        "hours": {"train": 1361 / 3600, "test": 0.002},
        "tracks": {"train": {"organ": 50, "flute": 46}, "test": {"organ": 1}},
        "settings": {"sample_rate": 16000},
    }
    closing.after_prepare_data("run/audio", report)
    line = capsys.readouterr().err.splitlines()[0]
    assert line == "run/audio: train 96 tracks, 22 min 41 s; test 1 tracks, 7.2 s"
    closing.after_prepare_data("run/audio", report | {"settings": {"sample_rate": 22050}})
    verb, flags = next_command(capsys)
    assert verb == "train_vqvae"
    assert flags == {
        "config": "configs/vqvae.py:scale=tiny",
        "workdir": "run/vqvae",
        "config.data.path": "run/audio",
        "config.model.sample_rate": "22050",
    }


def test_train_vqvae(tmp_path, capsys):
    run = config.VQVAETraining()
    run.data.path, run.training.num_steps = "elsewhere/audio", 900
    (tmp_path / "metrics.jsonl").write_text('{"step": 600, "eval/loss": 2.0}\n{"step": 900, "eval/loss": 1.25}\n')
    closing.after_train_vqvae(str(tmp_path), run, ("bwv1", "test"))
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == f"{tmp_path}: trained for 900 steps, validation loss 1.2500"
    assert second.startswith(f"first sound: {tmp_path}/reconstruction/bottom.wav") and "bwv1, test split" in second
    assert "--data=elsewhere/audio" in third and f"--vqvae={tmp_path}" in third
    closing.after_train_vqvae("run/vqvae", run, None)
    assert next_command(capsys) == (
        "extract_codes",
        {"vqvae": "run/vqvae", "data": "elsewhere/audio", "out": "run/codes"},
    )


def test_extract_codes(capsys):
    closing.after_extract_codes("run/codes", ("top", "middle", "bottom"))
    verb, flags = next_command(capsys)
    assert verb == "train_prior" and flags["workdir"] == "run/top" and flags["config.data.path"] == "run/codes"
    assert flags["config"] == "configs/prior.py:tier=top,scale=tiny"
    closing.after_extract_codes("run/codes", ("top", "middle", "bottom"), scored=True)
    assert next_command(capsys)[1]["config"] == "configs/prior.py:tier=top,scale=tiny,score=true"
    closing.after_extract_codes("run/codes/", ("codes",))  # of a codec: its stream has the folder's name
    assert next_command(capsys)[1]["workdir"] == "run/codes_prior"
    closing.after_extract_file("run/vqvae", "x.codes")
    assert next_command(capsys) == ("sample", {"vqvae": "run/vqvae", "decode": "x.codes", "out": "x.decoded.wav"})


def test_a_prior_is_followed_by_the_next_one_in_the_same_way(tmp_path, capsys, monkeypatch):
    run = config.PriorTraining()
    run.model.tier, run.data.path = "top", "codes"
    given = ["--config=prior.py:tier=top,scale=small", "--config.data.path=codes", "--config.training.num_steps=7"]
    monkeypatch.setattr(sys, "argv", ["train_prior.py", f"--workdir={tmp_path / 'top'}", *given])
    closing.after_train_prior(str(tmp_path / "top"), run, TIERS)
    verb, flags = next_command(capsys)
    assert verb == "train_prior"
    assert flags == {
        "config": "prior.py:tier=middle,scale=small",
        "workdir": str(tmp_path / "middle"),
        "config.data.path": "codes",
        "config.training.num_steps": "7",
    }


def test_the_last_prior_is_followed_by_music(tmp_path, capsys):
    workdirs(tmp_path, "vqvae", "top", "middle")
    run = config.PriorTraining()
    run.model.tier = "bottom"
    closing.after_train_prior(str(tmp_path / "bottom"), run, TIERS)
    verb, flags = next_command(capsys)
    assert verb == "sample" and flags.pop("seconds") == "8"
    assert flags == {name: str(tmp_path / name) for name in ("vqvae", *TIERS)} | {"out": str(tmp_path / "samples")}


def test_sample(tmp_path, capsys):
    workdirs(tmp_path, "vqvae")
    models = {"vqvae": str(tmp_path / "vqvae"), "top": "t", "middle": ""}
    closing.after_sample("run/samples", models)
    verb, flags = next_command(capsys)
    assert verb == "evaluate"
    assert flags == {
        "vqvae": str(tmp_path / "vqvae"),
        "data": str(tmp_path / "audio"),
        "samples": "run/samples",
        "top": "t",
        "out": "run/report",
    }


def test_compose(tmp_path, capsys):
    workdirs(tmp_path, "score")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "samples.json").write_text(json.dumps({"models": {"score": str(tmp_path / "score")}}))
    closing.after_compose(str(tmp_path / "out"))
    verb, flags = next_command(capsys)
    assert verb == "evaluate"
    folders = {"score": "score", "data": "audio", "samples": "out", "out": "report"}
    assert flags == {flag: str(tmp_path / name) for flag, name in folders.items()}


def test_a_composer_beside_the_tokenizer_is_judged_too(tmp_path, capsys):
    workdirs(tmp_path, "vqvae", "top", "composer")
    for name, text in (("broken", "{"), ("foreign", '{"model": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    models = {"vqvae": str(tmp_path / "vqvae"), "top": "t"}
    closing.after_sample("run/samples", models)
    assert next_command(capsys)[1]["score"] == str(tmp_path / "composer")
    workdirs(tmp_path, "another composer")
    closing.after_sample("run/samples", models)
    assert "score" not in next_command(capsys)[1]


def test_a_compressed_prior_takes_the_place_of_the_one_it_was_made_from(tmp_path, capsys):
    workdirs(tmp_path, "vqvae", "top", "middle", "bottom")
    closing.after_compress("small/top", str(tmp_path / "top"), "top", TIERS)
    verb, flags = next_command(capsys)
    assert verb == "sample" and flags["top"] == "small/top" and flags["bottom"] == str(tmp_path / "bottom")


def test_convert(capsys):
    closing.after_convert("jukebox/vqvae", "jukebox/vqvae", holds_priors=False)
    verb, flags = next_command(capsys)
    assert verb == "extract_codes" and flags["vqvae"] == "jukebox/vqvae"
    closing.after_convert("jukebox", "jukebox/vqvae", holds_priors=True)
    verb, flags = next_command(capsys)
    assert verb == "sample" and flags["model"] == "jukebox"
    closing.after_convert("jukebox/top", "", holds_priors=True)
    assert capsys.readouterr().err.splitlines()[-1].endswith("/jukebox")


def test_plan(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["plan.py", "--topology=v5e:4x4", "--config=configs/prior.py:tier=top,scale=5b"])
    closing.after_plan("train_prior", fits=True)
    verb, flags = next_command(capsys)
    assert verb == "train_prior" and flags["config"] == "configs/prior.py:tier=top,scale=5b"
    assert "topology" not in flags
    closing.after_plan("train_prior", fits=False)
    assert '"change"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(8, "8.0 s"), (59.96, "60.0 s"), (1361.2, "22 min 41 s"), (7200 + 59, "2 h 0 min")]
)
def test_lengths_of_time(seconds, text):
    assert closing.describe_seconds(seconds) == text

"""launch/demo.sh without its work: which Python it takes, from which folder, and what it prints."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
VERBS = ["prepare_data", "train_vqvae", "extract_codes", *["train_prior"] * 4, "sample", "evaluate"]
SYSTEM = "bash dirname"
LOGS = '#!/bin/bash\nIFS="|"\necho "$0|$*" >> "$LOG"\n'
HAS_NOTHING = '#!/bin/bash\ncase "$*" in *find_spec*) exit 1 ;; esac\n'


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """A repository with nothing in it but the script."""
    folder = tmp_path / "a repository"
    (folder / "launch").mkdir(parents=True)
    shutil.copy(REPOSITORY / "launch" / "demo.sh", folder / "launch")
    return folder


def python(path: pathlib.Path, body: str = LOGS) -> pathlib.Path:
    """A Python that logs how it was called, and does nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body)
    path.chmod(0o755)
    return path


def run(checkout: pathlib.Path, cwd: pathlib.Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """The script on a machine with nothing but bash, and perhaps programs/python3."""
    programs = checkout.parent / "programs"
    programs.mkdir(exist_ok=True)
    for name in SYSTEM.split():
        if not (programs / name).exists():
            (programs / name).symlink_to(shutil.which(name))
    return subprocess.run(
        ["bash", os.path.relpath(checkout / "launch" / "demo.sh", cwd), *arguments],
        cwd=cwd,
        env={"PATH": str(programs), "LOG": str(checkout / "log")} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def commands(checkout: pathlib.Path, done: subprocess.CompletedProcess) -> list[list[str]]:
    """What was printed, as a shell would read it; it is what was run."""
    assert done.returncode == 0, done.stderr
    printed = [shlex.split(line[2:]) for line in done.stdout.splitlines() if line.startswith("$ ")]
    called = [line.split("|") for line in (checkout / "log").read_text().splitlines()]
    assert printed == [words for words in called if words[1] != "-c"]
    return printed


def test_the_environment_that_make_made(checkout):
    python(checkout / ".venv" / "bin" / "python")
    found = commands(checkout, run(checkout, checkout))
    assert [words[:3] for words in found] == [[".venv/bin/python", "-m", f"musicgen_jax.{verb}"] for verb in VERBS]
    assert "--dataset=chorales" in found[0] and "--out=demo/audio" in found[0]
    sampled, judged = found[7:]
    assert "--genre=organ,flute,strings,voice" in sampled and "--out=demo/report" in judged
    for words in (sampled, judged):
        assert {"--score=demo/composer", "--top=demo/top", "--bottom=demo/bottom"} < set(words)
    assert [words[3] for words in found[4:7]] == [
        f"--config=configs/prior.py:tier={tier},scale=tiny,score=true" for tier in ("top", "middle", "bottom")
    ]


def test_from_any_folder_with_names_that_a_shell_must_quote(checkout, tmp_path):
    there = python(checkout / ".venv" / "bin" / "python")
    source = "--source=my 'best' music"
    found = commands(checkout, run(checkout, tmp_path, "my run", "--dataset=recordings", source))
    assert {words[0] for words in found} == {str(there)}
    assert source in found[0] and "--out=my run/audio" in found[0]
    assert len(found) == 6 and not any("genre" in word or "score" in word for words in found for word in words)
    assert found[1][3] == "--config=configs/vqvae.py:scale=tiny,kind=tones"
    assert found[3][3] == "--config=configs/prior.py:tier=residual,scale=tiny"
    assert "--prior=residual:my run/residual" in found[4] and "--prior=residual:my run/residual" in found[5]


def test_recipes_for_recordings(checkout):
    python(checkout / ".venv" / "bin" / "python")
    found = commands(checkout, run(checkout, checkout, "demo", "--dataset=recordings", RECIPE="tiers"))
    assert [words[3] for words in found[3:6]] == [
        f"--config=configs/prior.py:tier={tier},scale=tiny" for tier in ("top", "middle", "bottom")
    ]
    assert "--top=demo/top" in found[6] and len(found) == 8
    refused = run(checkout, checkout, "demo", "--dataset=recordings", RECIPE="score")
    assert refused.returncode == 1 and "error: RECIPE=score: must be tones or tiers" in refused.stderr


def test_the_dataset_may_be_a_word_of_its_own(checkout):
    python(checkout / ".venv" / "bin" / "python")
    found = commands(checkout, run(checkout, checkout, "demo", "--dataset", "chorales"))
    assert [words[2] for words in found] == [f"musicgen_jax.{verb}" for verb in VERBS]


def test_a_python_that_is_named_comes_first_and_flags_are_passed_on(checkout, tmp_path):
    python(checkout / ".venv" / "bin" / "python")
    mine = str(python(tmp_path / "mine"))
    flags = {"VQVAE_FLAGS": "--config.a=1 --config.b=2", "PRIOR_FLAGS": "--config.c=3", "SAMPLE_FLAGS": "--seed=4"}
    found = commands(checkout, run(checkout, checkout, PYTHON=mine, **flags))
    assert {words[0] for words in found} == {mine}
    assert found[1][-2:] == ["--config.a=1", "--config.b=2"]
    assert [words[-1] for words in found[3:8]] == ["--config.c=3"] * 4 + ["--seed=4"]


def test_else_python3(checkout, tmp_path):
    python(tmp_path / "programs" / "python3")
    done = run(checkout, checkout)
    assert done.returncode == 0 and "$ python3 -m musicgen_jax.prepare_data" in done.stdout


def test_a_python_without_the_packages(checkout, tmp_path):
    python(tmp_path / "programs" / "python3", HAS_NOTHING)
    done = run(checkout, checkout)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "error: python3 is no Python with JAX: `make demo` installs everything into .venv, or set PYTHON\n"
    )


def test_a_step_that_fails_ends_it(checkout):
    python(checkout / ".venv" / "bin" / "python", LOGS + 'case "$*" in *extract_codes*) exit 3 ;; esac\n')
    done = run(checkout, checkout)
    assert done.returncode == 3 and done.stdout.count("$ ") == 3

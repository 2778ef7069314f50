"""The command: what it prepares, what it prints, and how it refuses."""

import json
import pathlib
import shlex

import command_line
import documented_commands
import pytest
import tiny_studies

from musicgen_jax.listening import storage


def listen(*arguments):
    return command_line.run("musicgen_jax.listen", *arguments)


def test_a_study_is_prepared_and_served_next(tmp_path):
    folders = tiny_studies.write_clips(tmp_path, items=2)
    systems = f"--systems=good={folders['good']},bad={folders['bad']}"
    (tmp_path / "consent.txt").write_text("I take part.")
    command = ["--design=abx", systems, f"--out={tmp_path}/study", "--listeners=2", "--title=Noise"]
    done = listen(*command, f"--consent={tmp_path}/consent.txt", "--noheadphones", "--seed=5")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    first, last = done.stderr.splitlines()
    assert first.endswith("study: abx, 2 trials, 1 attention checks")
    assert last.startswith("next: ") and last.endswith(f"musicgen_jax.listen --serve={tmp_path}/study --port=8000")
    written = json.loads((tmp_path / "study" / "study.json").read_text())
    assert (written["title"], written["consent"], written["seed"]) == ("Noise", "I take part.", 5)
    assert len(storage.Database(tmp_path / "study").listeners()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "pass one of --power, --design, --serve"),
        (["--serve=x", "--analyse=x"], "here are 2"),
        (["--design=ab"], "--out is missing"),
        (["--design=ab", "--out=x", "--systems=A"], "--systems: 'A' is no system: write NAME=FOLDER"),
        (["--design=mushra", "--out=x", "--systems=A=y"], "--design=mushra without --reference"),
        (["--design=mush", "--out=x"], "--design"),
        (["--serve=/nowhere"], "no study.json in /nowhere"),
        (["--serve=/nowhere", "--host=0.0.0.0"], "--host=0.0.0.0 without --url"),
        (["--serve=gs://bucket/study"], "--serve=gs://bucket/study: answers need a disk of this machine"),
        (["--power=5"], "--power needs --design"),
        (["--power=0", "--design=mos"], "--power=0: the difference to find must be above 0"),
    ],
)
def test_refusals_are_one_line(arguments, message):
    done = listen(*arguments)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr


def test_documented_commands_have_their_flags():
    text = pathlib.Path(__file__).parents[1].joinpath("docs", "listening.md").read_text()
    commands = [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("    musicgen-jax ")]
    assert len(commands) >= 3
    for verb, *words in commands:
        documented_commands.check(verb, [word for word in words if word.startswith("--")])

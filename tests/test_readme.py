"""What the README tells a person to type exists: commands, flags, fields of configs, files, folders of the demo."""

import re
import shlex

import clean_environment
import documented_commands
import pytest

from musicgen_jax.command_line import config_flag

REPOSITORY = clean_environment.REPOSITORY
README = (REPOSITORY / "README.md").read_text()


def commands() -> list[list[str]]:
    """The words of each command of the package, its continuation lines joined and loops over tiers taken once."""
    lines = README.replace("\\\n", " ").replace("$tier", "top").splitlines()
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("    ") and "musicgen-jax " in line]
    return [words for words in found if words[:1] == ["musicgen-jax"]]


def test_there_are_commands():
    assert {words[1] for words in commands()} >= {
        "prepare_data",
        "train_vqvae",
        "sample",
        "compress",
        "convert",
        "plan",
    }


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words[1:4]))
def test_command(words):
    documented_commands.check(words[1], words[2:])


def test_settings_that_it_names_are_fields_of_a_config():
    runs = [config_flag.load(f"configs/{name}.py") for name in ("vqvae", "prior", "diffusion", "musicgen", "symbolic")]
    names = set(re.findall(r"--config\.([a-z_0-9.]+[a-z_0-9])", README))
    assert len(names) > 15
    for name in names:
        assert any(has_field(run, name.split(".")) for run in runs), name


def has_field(owner: object, names: list[str]) -> bool:
    return not names or (hasattr(owner, names[0]) and has_field(getattr(owner, names[0]), names[1:]))


def test_folders_of_the_demo_are_those_that_it_writes():
    script = (REPOSITORY / "launch" / "demo.sh").read_text()
    written = set(re.findall(r'\$out/(\w+)"', script)) | {"top", "middle", "bottom"}
    written |= {
        word.removeprefix("--out=demo/") for words in commands() for word in words if word.startswith("--out=demo/")
    }
    named = set(re.findall(r"demo/([\w.-]+)", README.replace("launch/demo", "")))
    assert "vqvae" in named and named <= written


def test_files_that_it_links_to_are_there():
    linked = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`(launch/\w+\.sh)", README)
    assert linked and all((REPOSITORY / name).exists() for name in linked)


def test_extras_are_those_of_setup():
    extras = {name for group in re.findall(r'pip install -e "\.\[([\w,]+)\]"', README) for name in group.split(",")}
    assert extras and all(f'"{name}": [' in (REPOSITORY / "setup.py").read_text() for name in extras)

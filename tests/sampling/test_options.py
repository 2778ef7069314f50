"""One declaration an option: what follows from it, and what its values may be."""

import dataclasses
import inspect
import pathlib
import runpy
import subprocess
import sys

import pytest

from musicgen_jax import generation
from musicgen_jax.sampling import arguments, options, requests

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TEMPO = 'Option("tempo", "number", 120.0, "Beats a minute.", fits=lambda x: x > 0, rule="must be greater than 0")'
FLAGS = f"""
import sys
from absl import flags
from musicgen_jax.sampling import options
options.OPTIONS += (options.{TEMPO},)
from musicgen_jax import sample
from musicgen_jax.command_line import option_flags
flags.FLAGS(["sample", "--out=x", "--model=y", *sys.argv[1:]])
print(option_flags.given()["tempo"], "tempo" in option_flags.present(), "jax" in sys.modules)
"""


@pytest.fixture
def tempo(monkeypatch) -> options.Option:
    """One more entry in the table."""
    option = eval(TEMPO, vars(options))
    monkeypatch.setattr(options, "OPTIONS", (*options.OPTIONS, option))
    return option


def test_an_entry_is_an_argument_a_field_and_a_record(tempo):
    made = runpy.run_path(str(REPOSITORY / "musicgen_jax" / "sampling" / "requests.py"))
    said = arguments.checked({"tempo": 90, "seed": 3})
    assert said == {"tempo": 90.0, "seed": 3}
    request = made["of_options"](said)
    assert (request.tempo, made["Request"](seed=3).tempo) == (90.0, 120.0)
    assert dataclasses.asdict(request)["tempo"] == 90.0
    with pytest.raises(ValueError, match=r"tempo=0\.0: must be greater than 0"):
        made["of_options"]({"tempo": 0.0}).validate_values()
    with pytest.raises(ValueError, match="tempo='fast': must be a number"):
        arguments.checked({"tempo": "fast"})
    with pytest.raises(ValueError, match=r"temp: no such option; did you mean tempo\?"):
        arguments.checked({"temp": 90})
    assert "### `tempo`, `--tempo`\n\nBeats a minute.\n\nA number; must be greater than 0." in options.documentation()


def test_an_entry_is_a_flag():
    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", FLAGS, *arguments]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)

    assert run("--tempo=90").stdout == "90.0 True False\n"
    assert run().stdout == "120.0 False False\n"
    assert "tempo=-1.0: must be greater than 0" in run("--tempo=-1").stderr


def test_a_folder_that_is_older_than_an_option_is_of_the_same_request(tempo):
    older = dataclasses.asdict(requests.Request(seconds=2.0, genres=("oboe",)))
    assert options.completed(older) == options.completed(older | {"tempo": 120.0, "batch_size": 7})
    assert options.completed(older | {"tempo": 90.0}) != options.completed(older)
    del older["settings"]["guidance"], older["guide_by"]
    assert options.completed(older)["settings"]["guidance"] == 1.0
    assert options.completed(older)["guide_by"] == ["labels"]
    assert options.completed("damaged") == "damaged"


def test_every_option_is_documented():
    page = (REPOSITORY / "docs" / "sampling.md").read_text()
    assert page == f"{options.documentation()}\n", "python -m musicgen_jax.sampling.options > docs/sampling.md"
    for option in options.OPTIONS:
        assert f"\n  {option.name}: " in inspect.getdoc(generation.MusicGenerator.generate)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "1.0", 1.0),
        ("temperature", "0.9~1.1", (0.9, 1.1)),
        ("top_p", "top:0.9,bottom:1", {"top": 0.9, "bottom": 1.0}),
        ("temperature", "top:0.9~1.1, middle:1.0", {"top": (0.9, 1.1), "middle": 1.0}),
        ("top_k", "20", 20),
        ("top_k", "top:20", {"top": 20}),
    ],
)
def test_parse(name, text, value):
    parsed = options.find(name).parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_labels():
    option = options.find("labels")
    parsed = option.parse_labels(["pitch:60, family:flute", 'title:"no', '"title:Op. 1, No. 2",pitch:62'])
    assert parsed == {"pitch": ["60", "62"], "family": ["flute"], "title": ['"no', "Op. 1, No. 2"]}
    said = (("pitch", ("60", "62")), ("family", ("flute",)))
    assert arguments.checked({"labels": {"pitch": [60, "62"], "family": "flute", "none": ""}})["labels"] == said
    request = requests.Request(num_samples=3, genres=("oboe",), labels=said)
    assert [request.labels_of(sample)["pitch"] for sample in range(3)] == ["60", "62", "60"]
    assert request.told_of(1) == {"genre": "oboe", "labels": {"genre": "oboe", "pitch": "62", "family": "flute"}}
    for text in ("pitch", "pitch:", ":60"):
        with pytest.raises(ValueError, match=rf"labels={text}: write LABEL:VALUE"):
            option.parse_labels([text])
    with pytest.raises(ValueError, match=r"labels=.*: genre and artist say these two"):
        option.require({"genre": ["x"]})
    with pytest.raises(ValueError, match=r"labels=\['pitch'\]: must be a dict"):
        arguments.checked({"labels": ["pitch"]})
    with pytest.raises(ValueError, match=r"labels=.*0.5.*: must be a dict"):
        arguments.checked({"labels": {"pitch": 0.5}})


@pytest.mark.parametrize("text", ["", "warm", "top:", ":1", "top:1,top:2", "1~2~3", "top:1;bottom:2", "nan", "1,2"])
def test_what_is_no_value(text):
    with pytest.raises(ValueError, match=r"temperature=.*temperature=top:1"):
        options.find("temperature").parse(text)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", 0.0, r"temperature=0\.0: must be greater than 0"),
        ("temperature", {"middle": (1.0, -1.0)}, r"temperature=-1\.0: must be greater than 0"),
        ("temperature", float("inf"), r"temperature=inf"),
        ("temperature", (1.0, 0.9, 0.8), r"temperature=\(1\.0, 0\.9, 0\.8\): must be one number, or two"),
        ("top_p", 1.5, r"top_p=1\.5: must be in \(0, 1\]"),
        ("top_p", (0.9, 0.8), r"only the temperature changes"),
        ("top_k", -1, r"top_k=-1: must be 0 \(off\) or a whole number"),
        ("top_k", {"top": 2.5}, r"top_k=2\.5"),
        ("guidance", -1.0, r"guidance=-1\.0"),
        ("guide_by", (), r"guide_by=\(\): must name one at least"),
        ("mode", "dreaming", r"mode=dreaming: must be one of ancestral, continue, primed, upsample"),
    ],
)
def test_values_out_of_range(name, value, message):
    with pytest.raises(ValueError, match=message):
        options.find(name).require(value)


def test_values_in_range():
    for name, value in (("top_k", 5), ("top_p", 1.0), ("temperature", (0.1, 3.0)), ("steps", None)):
        options.find(name).require(value)

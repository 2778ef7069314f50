"""Entry points answer --help at once, and fail with one line on stderr and exit code 1."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

import musicgen_jax
from musicgen_jax import __main__ as dispatcher
from musicgen_jax.command_line import cli
from musicgen_jax.runtime.errors import NotFoundError, UserError

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
VERBS = list(dispatcher.VERBS)

APP = """
import os
from absl import flags
from musicgen_jax.command_line import cli
from musicgen_jax.runtime.errors import UserError
N = flags.DEFINE_integer("n", None, "a number", required=True)
OUT = cli.define_path("out", "", "a folder")
class JaxRuntimeError(RuntimeError): pass
def main():
    if N.value == 1: raise UserError("n is 1;\\n  choose 2")
    if N.value == 2: open("/nonexistent/file")
    if N.value == 3: raise KeyboardInterrupt
    if N.value == 4: raise ValueError("a defect")
    if N.value == 5: raise MemoryError("Unable to allocate 7 GiB")
    if N.value == 6: raise JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory, 9 bytes.\\n" + "buffers\\n" * 99)
    if N.value == 7: os.write(os.open("/dev/full", os.O_WRONLY), b"x")
    if N.value == 8: raise OSError(0, "of a library")
    if N.value == 9: print("line\\n" * 100_000)
    print("fine", OUT.value)
cli.run(main)
"""


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", APP, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n=1"], "error: n is 1; choose 2\n"),
        (["--n=2"], "No such file or directory: '/nonexistent/file'"),
        (["--n=5"], "not enough memory (Unable to allocate 7 GiB)"),
        (["--n=6"], "not enough memory (RESOURCE_EXHAUSTED: Out of memory, 9 bytes.)"),
        (["--n=7", "--out=here"], "No space left on device, while writing --out=here"),
        ([], "--n must have a value"),
        (["--n=x"], "--n=x"),
        (["--n=0", "--m=1"], "Unknown command line flag 'm'"),
        (["--n=0", "stray"], "unexpected argument 'stray'"),
        (["--n=0", "--out=s3://bucket/x"], "error: --out=s3://bucket/x: only paths on this machine"),
        (["--n=0", "--out=gs://bucket//x"], "error: --out=gs://bucket//x: write gs://BUCKET/PATH"),
    ],
)
def test_user_errors_are_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


def test_the_rest():
    assert run("--n=0").stdout == "fine \n"
    assert run("--n=0", "--out=~/music").stdout == f"fine {os.path.expanduser('~/music')}\n"
    assert run("--n=3").returncode == 130
    for arguments in (["--n=4"], ["--n=8"], ["--n=1", "--traceback"]):  # a defect of ours or of a library; asked for
        done = run(*arguments)
        assert done.returncode != 0 and "Traceback" in done.stderr


def test_a_reader_that_has_read_enough_ends_it_quietly():
    process = subprocess.Popen(
        [sys.executable, "-c", APP, "--n=9"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.parametrize("verb", VERBS)
def test_help_comes_before_anything_heavy(verb):
    """By a subprocess each: two entry points in one process would define the same flags."""
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('MODULES', len(sys.modules), *{name.split('.')[0] for name in sys.modules}))\n"
        f"sys.argv = ['musicgen_jax', {verb.replace('_', '-')!r}, '--help']\n"
        "runpy.run_module('musicgen_jax', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    text, _, modules = done.stdout.partition("MODULES")
    count, *names = modules.split()
    assert not {"jax", "flax", "numpy", "orbax", "grain", "librosa", "tensorflow_datasets"} & set(names)
    assert int(count) < 300  # about 200 today; each costs a fraction of a millisecond, and JAX alone has 600
    for part in (f"python -m musicgen_jax.{verb} ", "Flags:\n", str(REPOSITORY / "configs"), "prior.py"):
        assert part in text


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["sample", "--help"], ["sample", "--version"]])
def test_a_reader_that_leaves_ends_it_in_silence(arguments):
    """As `| head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        command = [sys.executable, "-m", "musicgen_jax", *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, stdout=gone, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_other_ways_to_ask(capsys, monkeypatch):
    for arguments in ([], ["--help"], ["-h"]):
        monkeypatch.setattr(sys, "argv", ["musicgen-jax", *arguments])
        dispatcher.main()
        text = capsys.readouterr().out
        assert all(f"\n  {verb} " in text for verb in VERBS)
    monkeypatch.setattr(sys, "argv", ["musicgen-jax", "--version"])
    dispatcher.main()
    assert capsys.readouterr().out == f"musicgen_jax {musicgen_jax.__version__}\n"
    monkeypatch.setattr(sys, "argv", ["musicgen-jax", "tran_prior"])
    with pytest.raises(SystemExit, match="1"):
        dispatcher.main()
    assert "error: no verb tran_prior; did you mean train_prior?" in capsys.readouterr().err
    assert "a number" in run("-h").stdout and run("--help").returncode == 0
    assert run("--version").stdout == f"musicgen_jax {musicgen_jax.__version__}\n"
    helpfull = run("--helpfull")
    assert helpfull.returncode == 0 and "--[no]traceback" in helpfull.stdout and "--[no]logtostderr" in helpfull.stdout


def test_every_entry_point_is_a_verb():
    files = (REPOSITORY / "musicgen_jax").glob("*.py")
    assert {path.stem for path in files if "    cli.run(main)\n" in path.read_text()} == set(VERBS)


def test_what_is_no_error_of_a_person_has_no_line():
    assert cli.explain(ValueError("a defect")) is None and cli.explain(OSError(0, "of a library")) is None


def test_every_path_flag_expands_home_and_refuses_urls():
    """What is a plain string is none: the verbs define a path with `cli.define_path`, or --config."""
    no_paths = {"top_p", "top_k", "temperature", "guidance", "hop_fraction", "artist", "topology", "tier"}
    no_paths |= {"subset", "licenses", "render", "beam_options", "title", "url", "host"}
    for verb in VERBS:
        source = (REPOSITORY / "musicgen_jax" / f"{verb}.py").read_text()
        assert set(re.findall(r'DEFINE_string\(\s*"(\w+)"', source)) <= no_paths, verb
        assert "cli.define_path(" in source or "config_flag.define(" in source


@pytest.mark.parametrize("verb", ["sample", "evaluate", "extract_codes"])
def test_a_tokenizer_that_is_not_named_is_told_before_anything_heavy(verb):
    others = {"sample": ["--top=x"], "evaluate": ["--top=x", "--data=x"], "extract_codes": ["--data=x"]}[verb]
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('jax' in sys.modules))\n"
        f"sys.argv = ['musicgen_jax', {verb!r}, '--out=x', *{others}]\n"
        "runpy.run_module('musicgen_jax', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert done.stderr == "error: Flag --vqvae must have a value.\n"


def test_a_stream_without_a_flag_of_its_own_is_said_by_prior(monkeypatch):
    error = UserError("`residual` needs `above`, `top_k` and `prompt`")
    assert cli.explain(error) == "--residual needs --above, --top_k and --prime"  # of a verb without --model
    monkeypatch.setattr(cli.flags, "FLAGS", {"model": None, "above": None})
    assert cli.explain(error) == "--prior=residual:DIR needs --above, --top_k and --prime"


def test_arguments_in_messages_are_flags_on_the_command_line():
    error = UserError("`mode`=primed needs `prompt`: a `recording of` yours")
    assert str(error) == "mode=primed needs prompt: a `recording of` yours"
    assert cli.explain(error) == "--mode=primed needs --prime: a `recording of` yours"
    assert str(NotFoundError("`out`=x")) == "out=x"

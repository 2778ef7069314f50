"""How every entry point starts and how it fails: one line on stderr, exit code 1, no traceback.

It imports nothing heavy, and neither may an entry point before its flags are parsed: `--help` answers at once.
"""

import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

import musicgen_jax
from musicgen_jax.command_line import config_flag
from musicgen_jax.runtime import buckets, console, files
from musicgen_jax.runtime.errors import SYSTEM_ERRORS, UserError
from musicgen_jax.sampling import options

HELP = {"-h", "-help", "--help", "--helpshort", "-?"}

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show the traceback of an error, for finding its cause.")
flags.disclaim_key_flags()  # what `define_path` defines is its caller's


class _PathParser(flags.ArgumentParser):
    """A path on this machine, with ~ expanded, or that of a bucket's copy; "" stays where the flag may be left out."""

    def __init__(self, name: str, optional: bool, writes: bool):
        self.name, self.optional, self.writes = name, optional, writes

    def parse(self, argument: str) -> str:
        if self.optional and not argument:
            return argument
        return str(files.path_or_copy(argument, self.name))

    def flag_type(self) -> str:
        return "path"


def define_path(
    name: str, default: str | None, help: str, required: bool = False, writes: bool = False
) -> flags.FlagHolder[str]:
    """A flag whose value is a path: ~ is expanded; gs://... becomes the path of its copy, which `run` looks after.

    Args:
      name: of the flag.
      default: its value where it is not given.
      help: for --help.
      required: whether it must be given.
      writes: whether the command writes there; what a bucket then lacks is copied to it.
    """
    parser = _PathParser(name, not required, writes)
    return flags.DEFINE(parser, name, default, help, serializer=flags.ArgumentSerializer(), required=required)


def require_one_machine(paths: Sequence[str], flag: str, values: Sequence[object]) -> None:
    """Refuses gs://... for the flags `paths` where `flag` has one of the values, which let several machines work on the
    same folders: each would have a copy of its own."""

    def check(given: dict[str, object]) -> bool:
        for name in paths if given[flag] in values else ():
            if given[name] and (url := buckets.url_of(str(given[name]))):
                raise flags.ValidationError(
                    f"--{name}={url} with --{flag}: the machines must see one folder; mount the bucket (gcsfuse)"
                )
        return True

    flags.register_multi_flags_validator([*paths, flag], check)


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls main(); ends the process.

    A user's error (`UserError`, or what the system says of a file) becomes `error: ...` on stderr, exit code 1; so does
    memory that is not there. Ctrl-C exits with 130. Anything else is a defect and keeps its traceback.
    """
    try:
        app.run(lambda argv: _call(main), flags_parser=lambda argv: _parse_flags(main, argv))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def help_text(main: Callable[[], None]) -> str:
    """What --help prints: the docstring of main's module, its flags, and where configs are."""
    module = sys.modules[main.__module__]
    name = sys.argv[0] if main.__module__ == "__main__" else main.__module__
    shown = "\n".join(flags.FLAGS.module_help(name).splitlines()[2:])  # behind a line with the module's name
    more = "--traceback shows where an error comes from, --helpfull lists the flags of libraries too."
    return f"{(module.__doc__ or '').strip()}\n\nFlags:\n{shown}\n\n{config_flag.where()}\n{more}"


def _parse_flags(main: Callable[[], None], argv: Sequence[str]) -> list[str]:
    if HELP & set(argv[1:]):
        _print_and_exit(help_text(main))
    if "--helpfull" in argv[1:]:
        _print_and_exit(flags.FLAGS.get_help())
    if "--version" in argv[1:]:
        _print_and_exit(f"musicgen_jax {musicgen_jax.__version__}")
    try:
        rest = flags.FLAGS(config_flag.completed(argv))
        if len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}; flags are written --name=value")
        config_flag.finish()
    except (flags.Error, UserError, OSError) as error:
        # absl wraps what a flag's parser raises: the sentence itself says more.
        cause = error.__context__ if isinstance(error.__context__, UserError) else error
        _fail(cause.spelled(flag_of) if isinstance(cause, UserError) else cause)
    return rest


def _print_and_exit(text: str) -> None:
    with console.until_reader_leaves():
        print(text)
    sys.exit(0)


def _call(main: Callable[[], None]) -> None:
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax and TFDS tell every step of theirs at the level below
    try:
        with console.until_reader_leaves(), buckets.worked_in(*_copies()):
            main()
    except Exception as error:
        line = explain(error)
        if line is None or _TRACEBACK.value:
            raise
        _fail(line)


def _copies() -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Copies of what is in buckets: those that the flags read, and those that they write."""
    reads, writes = [], []
    for flag in (flags.FLAGS[name] for name in flags.FLAGS):
        if isinstance(flag.parser, _PathParser) and flag.value and buckets.url_of(flag.value):
            (writes if flag.parser.writes else reads).append(pathlib.Path(flag.value))
    named = [text.partition(":")[2] for text in flags.FLAGS["prior"].value] if "model" in flags.FLAGS else []
    reads += [files.path_or_copy(path, "prior") for path in named if buckets.is_url(path)]
    run = flags.FLAGS["config"].value if "workdir" in flags.FLAGS else None
    if run is not None and buckets.url_of(run.data.path):
        reads.append(pathlib.Path(run.data.path))
    return reads, writes


def flag_of(argument: str) -> str:
    """The flag that says what an argument of the Python calls says, with its dashes.

    A stream of codes that has no flag of its own is an argument of `generation.load`, and said by --prior.
    """
    known = {option.name: option.flag_name for option in options.OPTIONS} | {"directory": "model"}
    # Where there is a --model, there is a --prior=STREAM:DIR; see model_flags.
    is_stream = argument not in known and argument not in flags.FLAGS and "model" in flags.FLAGS
    return f"--prior={argument}:DIR" if is_stream else f"--{known.get(argument, argument)}"


def explain(error: Exception) -> str | None:
    """The line for a person about an error that they can mend; None for a defect, whose traceback is needed."""
    if isinstance(error, UserError):
        return error.spelled(flag_of)
    if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS:
        # write() does not say which file: the folders that the command writes are the best guess.
        return f"{error}" if error.filename is not None else f"{error}, while writing {_outputs()}"
    if isinstance(error, MemoryError):
        return f"this machine has not enough memory ({str(error) or 'MemoryError'}): take less at a time"
    # JAX's error has no class that could be told by without importing JAX.
    if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") and str(error).startswith("RESOURCE_EXHAUSTED"):
        return f"the device has not enough memory ({str(error).splitlines()[0]}): take less at a time"
    return None


def _outputs() -> str:
    given = [(name, flags.FLAGS[name].value) for name in ("out", "workdir") if name in flags.FLAGS]
    return ", ".join(f"--{name}={value}" for name, value in given if value) or "the output"


def _fail(error: Exception | str) -> None:
    # Line breaks would make more than the one line promised.
    print("error: " + " ".join(buckets.named(str(error)).split()), file=sys.stderr)
    sys.exit(1)

"""How every entry point starts and how it fails: one line on stderr, exit code 1, no traceback.

It imports nothing heavy, and neither may an entry point before its flags are parsed: `--help` answers at once.
"""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

import musicgen_jax
from musicgen_jax.command_line import config_flag
from musicgen_jax.runtime import console, files
from musicgen_jax.runtime.errors import SYSTEM_ERRORS, UserError
from musicgen_jax.sampling import options

HELP = {"-h", "-help", "--help", "--helpshort", "-?"}

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show the traceback of an error, for finding its cause.")
flags.disclaim_key_flags()  # what `define_path` defines is its caller's


class _PathParser(flags.ArgumentParser):
    """A path on this machine, with ~ expanded; "" stays where the flag may be left out."""

    def __init__(self, name: str, optional: bool):
        self.name, self.optional = name, optional

    def parse(self, argument: str) -> str:
        if self.optional and not argument:
            return argument
        return str(files.local_path(argument, self.name))

    def flag_type(self) -> str:
        return "path"


def define_path(name: str, default: str | None, help: str, required: bool = False) -> flags.FlagHolder[str]:
    """A flag whose value is a local path: ~ is expanded, a URL is refused. Without a value it is `default`."""
    parser = _PathParser(name, optional=not required)
    return flags.DEFINE(parser, name, default, help, serializer=flags.ArgumentSerializer(), required=required)


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
        rest = flags.FLAGS(list(argv))
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
        with console.until_reader_leaves():
            main()
    except Exception as error:
        line = explain(error)
        if line is None or _TRACEBACK.value:
            raise
        _fail(line)


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
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    sys.exit(1)

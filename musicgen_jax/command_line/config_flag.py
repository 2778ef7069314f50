"""The flag --config=FILE.py:ARG of the commands that train or plan, and its overrides --config.a.b=value.

Config files are Python; those of the project are in configs/ of the repository, and travel with the package.
"""

import dataclasses
import os
import pathlib
import re
import runpy
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from musicgen_jax import config
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import NotFoundError, UserError

SAVED = "config.json"  # of a run
OWN_DATA = "own_data"

flags.disclaim_key_flags()  # what `define` defines is its caller's


def define(
    example: str, *classes: type, required: bool = True, begins_from_models: bool = False
) -> flags.FlagHolder[Any]:
    """Defines the flag --config, whose value is a config that overrides like --config.a.b=value change.

    Args:
      example: of a value, for the help.
      *classes: what get_config() of the file must return an instance of.
      required: whether it must be given.
      begins_from_models: whether the command has --init; see `completed`.
    """
    help_text = f"Config file, such as {example}, or one of your own. --config.FIELD=value overrides a field."
    if begins_from_models:
        help_text += " May be left out with --init, and where --workdir holds a run to go on with."
    holder = config_flags.DEFINE_config_file("config", None, help_text)
    flags.FLAGS["config"].parser = _ConfigParser(example, classes)
    if required:
        flags.mark_flag_as_required("config")
    return holder


def completed(argv: Sequence[str]) -> list[str]:
    """The arguments with a --config where a command that has --init is given none: that of the run in --workdir, which
    goes on, or else one for training on from the model in --init."""
    if not {"config", "init", "workdir"} <= set(flags.FLAGS) or _value(argv, "config"):
        return list(argv)
    began = pathlib.Path(_value(argv, "workdir")) / SAVED
    if began.is_file():
        return [argv[0], f"--config={began}", *argv[1:]]  # before what overrides it
    init = _value(argv, "init")
    config.require(
        "://" not in init,
        f"--init={init}: its config is read before it is copied from there: pass --config=FILE.py too",
    )
    own = [f"--config={pathlib.Path(init) / SAVED}:{OWN_DATA}"] if init else []
    return [argv[0], *own, *argv[1:]]


def _value(argv: Sequence[str], name: str) -> str:
    """The value of a path flag among the arguments as they were typed; "" where there is none."""
    for place, argument in enumerate(argv[1:], 1):
        match = re.fullmatch(f"--?{name}(?:=(.*))?", argument, re.DOTALL)
        if match:
            following = argv[place + 1] if place + 1 < len(argv) else ""
            return os.path.expanduser(following if match[1] is None else match[1])
    return ""


def overridden(group: str) -> list[str]:
    """Paths in a group of the config, such as "transformer.width" in "model", that the command line gives values."""
    return [path.removeprefix(f"{group}.") for path, _ in _overrides(sys.argv[1:]) if path.startswith(f"{group}.")]


def finish() -> None:
    """Checks what overrides made of the config, once all flags are parsed; makes config.data.path absolute.

    So config.json says where the data is, wherever it is read.

    Raises:
      UserError: a value is of another type than its field, or the path is a URL of no bucket.
    """
    run = flags.FLAGS["config"].value if "config" in flags.FLAGS else None
    if run is None:
        return
    config.check_types(run)
    if run.data.path:
        run.data.path = str(files.path_or_copy(run.data.path, "config.data.path").absolute())


def folder() -> pathlib.Path:
    """Where the project's own configs are: in the installed package, or beside it in the repository."""
    package = pathlib.Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def where() -> str:
    """A line that says where config files are."""
    names = ", ".join(sorted(path.name for path in folder().glob("[!_]*.py")))
    return f"Configs: {folder()} ({names}); --config=configs/NAME.py:ARG finds them from any folder."


def find(name: str) -> pathlib.Path:
    """The config file of that name: as a path from the working directory, else among the project's own.

    Args:
      name: a path, or for one of the project's configs/prior.py, prior.py or prior.

    Raises:
      NotFoundError: there is no such file; the message lists those that there are.
      UserError: it is a URL.
    """
    path = files.local_path(name, "config")
    stems = [own.stem for own in folder().glob("[!_]*.py")]
    own = [name for stem in stems for name in (stem, f"{stem}.py", f"configs/{stem}.py")]
    if not path.is_file() and path.as_posix() in own:
        path = folder() / f"{path.stem}.py"
    if not path.is_file():
        raise NotFoundError(f"--config={name}: there is no such file{records.nearest(name, own)}; {where()}")
    return path


def load(name: str, arg: str | None = None) -> Any:
    """Runs a config file, and returns the config that its get_config(arg) makes.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is no Python with a get_config, or fails; the message says in which line.
    """
    path = find(name)
    path.read_bytes()  # what the system says of the file itself is no fault in it
    try:
        space = runpy.run_path(str(path))
        if not callable(space.get("get_config")):
            raise UserError(f"{path} has no function get_config: it must return the config")
        return space["get_config"](*() if arg is None else (arg,))
    except UserError:
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename or path}, line {error.lineno}: {error.msg}") from error
    except Exception as error:
        raise UserError(f"{_place(path, error)}: {type(error).__name__}: {error}") from error


def _saved(name: str, arg: str, classes: tuple[type, ...]) -> Any:
    """The config of a run, from the file that it wrote; for `arg` "own_data" that of a run which goes on from it."""
    kinds = {one.kind: one for known in classes for one in (known, *known.__subclasses__())}
    kind = config.kind_of(files.read_json(pathlib.Path(name), "pass a folder that training or convert wrote"))
    config.require(kind in kinds, f"{name} is of the kind {kind}; this command trains {', '.join(kinds)}")
    run = config.read_json(pathlib.Path(name), kinds[kind])
    ranks = [value for path, value in _overrides(sys.argv[1:]) if path == "lora.rank"]
    return config.for_own_data(run, ranks[-1:] not in ([], ["0"])) if arg == OWN_DATA else run


def _place(path: pathlib.Path, error: Exception) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)


class _ConfigParser(flags.ArgumentParser):
    """FILE.py:ARG -> the config, of the right class."""

    def __init__(self, example: str, classes: tuple[type, ...]):
        self.example, self.classes = example, classes

    def parse(self, argument: str) -> Any:
        files.local_path(argument, "config")  # before the colon of gs:// is taken for that of the argument
        times = sum(bool(re.match("--?config(=|$)", given)) for given in sys.argv[1:])
        if times > 1:
            raise UserError(f"--config is given {times} times: give it once")
        name, colon, arg = argument.partition(":")
        run = _saved(name, arg, self.classes) if name.endswith(f"/{SAVED}") else load(name, arg if colon else None)
        if not isinstance(run, self.classes):
            wanted = " or ".join(one.__name__ for one in self.classes)
            raise UserError(
                f"--config={argument} is a {type(run).__name__} where this command takes a {wanted}: pass one such as "
                f"{self.example}"
            )
        for path, value in _overrides(sys.argv[1:]):
            _check_field(run, path, value)
        return run

    def flag_type(self) -> str:
        return "config file"


def _overrides(argv: list[str]) -> list[tuple[str, str | None]]:
    """(path, value) of arguments --config.PATH=VALUE, such as ("training.num_steps", "10"); None without a "="."""
    found = (re.match(r"--?(?:no)?config\.([^=]*)(?:=(.*))?", argument, re.DOTALL) for argument in argv)
    return [(match[1], match[2]) for match in found if match]


def _check_field(run: Any, path: str, value: str | None) -> None:
    """Raises UserError, with the nearest name, where a config has no field of that path; or for what is no number."""
    owner, so_far = run, "config"
    for name in path.split("."):
        if not dataclasses.is_dataclass(owner):
            raise UserError(f"--config.{path}: {so_far} is a value, which has no field {name}")
        names = _fields(owner)
        if name not in names:
            raise UserError(
                f"--config.{path}: {so_far} has no field {name}{records.nearest(name, names)}; the fields are "
                + ", ".join(names)
            )
        owner, so_far = getattr(owner, name), f"{so_far}.{name}"
    if dataclasses.is_dataclass(owner):
        raise UserError(
            f"--config.{path} is a group of fields: give one of them, such as --{so_far}.{_fields(owner)[0]}"
        )
    for kind, wanted in ((int, "a whole number"), (float, "a number")):
        if type(owner) is kind and value is not None and not _reads_as(kind, value):
            raise UserError(f"--config.{path}={value}: must be {wanted}, such as {owner}")


def _reads_as(kind: type, value: str) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True


def _fields(owner: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(owner)]

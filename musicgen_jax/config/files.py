"""Configs from the command line, and as JSON."""

import dataclasses
import difflib
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from musicgen_jax.config.fields import require
from musicgen_jax.errors import NotFoundError


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?` with the one of `names` that is most like `name`, or "" where none is."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def parse_arg(arg: str | None, **defaults: str) -> dict[str, str]:
    """Parses the part of `--config=FILE:ARG` behind the colon: "tier=top,scale=tiny".

    Args:
      arg: comma-separated NAME=VALUE pairs, or None.
      **defaults: the known names with their default values.

    Raises:
      UserError: a pair that is malformed or has an unknown name.
    """
    parsed = dict(defaults)
    for pair in filter(None, (arg or "").split(",")):
        name, separator, value = pair.partition("=")
        require(
            bool(separator) and name in defaults,
            f"--config=...:{arg}: {pair!r} is not understood; the part behind the colon takes "
            + ",".join(f"{key}={default}" for key, default in defaults.items()),
        )
        parsed[name] = value
    return parsed


def choose(scales: dict[str, Any], name: str) -> Any:
    """scales[name]; UserError lists the names there are."""
    require(name in scales, f"scale={name}: must be one of {', '.join(scales)}{nearest(name, scales)}")
    return scales[name]


def to_dict(config: Any) -> dict:
    """A dataclass tree as JSON-ready nested dicts (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(config_class: type, values: dict, path: str = "config") -> Any:
    """Inverse of `to_dict`.

    Raises:
      UserError: a field that the class does not have (the message lists those it has).
    """
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - set(fields))
    require(not unknown, f"{path} has no field {', '.join(unknown)}: the fields are {', '.join(fields)}")
    parsed = {}
    for name, value in values.items():
        field_type = fields[name].type
        if dataclasses.is_dataclass(field_type):
            parsed[name] = from_dict(field_type, value, f"{path}.{name}")
        else:
            parsed[name] = tuple(value) if isinstance(value, list) else value
    return config_class(**parsed)


def write_json(path: pathlib.Path, config: Any) -> None:
    """Writes the resolved config to `path`."""
    path.write_text(json.dumps(to_dict(config), indent=2) + "\n")


def read_json(path: pathlib.Path, config_class: type) -> Any:
    """Reads a config written by `write_json`.

    Raises:
      NotFoundError: `path` does not exist; the message says what should have written it.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist: pass a folder that training or convert wrote")
    return from_dict(config_class, json.loads(path.read_text()))

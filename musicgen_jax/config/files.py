"""Configs from the command line, and as JSON."""

import dataclasses
import json
import pathlib
from typing import Any, TypeVar

from musicgen_jax.config.fields import YOUNGER_OF_RUNS, of_today, require
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.records import nearest

Config = TypeVar("Config")


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


def choose(values: dict[str, Any], name: str, what: str = "scale") -> Any:
    """values[name]; UserError lists the names there are of `what`."""
    require(name in values, f"{what}={name}: must be one of {', '.join(values)}{nearest(name, values)}")
    return values[name]


def to_dict(config: Any) -> dict:
    """A dataclass tree as JSON-ready nested dicts (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(config_class: type[Config], values: dict, where: str = "config") -> Config:
    """Inverse of `to_dict`.

    Raises:
      UserError: a field that the class does not have (the message lists those it has), or a value of another type; the
        message begins with `where`.
    """
    return records.parse(config_class, _of_today(config_class, values), where)


def _of_today(config_class: type, values: Any) -> Any:
    """A run's config with what younger fields mean in it."""
    if isinstance(values, dict):
        known = {field.name for field in dataclasses.fields(config_class)}
        values = {name: value for name, value in YOUNGER_OF_RUNS.items() if name in known} | values
    model = values.get("model") if isinstance(values, dict) else None
    return values | {"model": of_today(model)} if isinstance(model, dict) else values


def kind_of(values: dict) -> str:
    """The kind of model that the contents of a config.json are of; "" where they are of none.

    The word is younger than some folders: those are told apart by their fields.
    """
    model = values.get("model") if isinstance(values.get("model"), dict) else {}
    if "kind" in values:
        return str(values["kind"])
    if "tier" in values:  # no training run wraps it
        return "jukebox_prior"
    if "kind" in model:
        return str(model["kind"])
    return "prior" if "tier" in model else "vqvae" if "quantizer" in model else ""


def check_types(config: Any) -> None:
    """Raises UserError where a field does not hold what its class names: overrides may put anything into a tuple."""
    from_dict(type(config), dataclasses.asdict(config))


def write_json(path: pathlib.Path, config: Any) -> None:
    """Writes the resolved config to `path`, with the kind of its model, whole or not at all."""
    files.write_json(path, {"kind": config.kind} | to_dict(config))


def read_json(path: pathlib.Path, config_class: type[Config]) -> Config:
    """Reads a config written by `write_json`.

    Raises:
      NotFoundError: `path` does not exist; the message says what should have written it.
      UserError: it is damaged, or the config of something else.
    """
    values = files.read_json(path, "pass a folder that training or convert wrote")
    found = kind_of(values)
    require(found in ("", config_class.kind), f"{path} is of the kind {found}, not {config_class.kind}")
    values = {name: value for name, value in values.items() if name != "kind"}
    return from_dict(config_class, values, f"{path}: config")

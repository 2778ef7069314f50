"""Dataclasses from JSON: each field of the type that its class names, so that nothing later meets what it cannot be."""

import dataclasses
import difflib
import functools
import math
import reprlib
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from musicgen_jax.runtime.errors import UserError

Record = TypeVar("Record")
MAX_INTEGER = 2**63  # what arrays hold is below; a number beyond it is none that a command wrote
_NAMES = {
    str: "a string",
    int: "a whole number below 2**63",
    float: "a finite number below 2**63",
    bool: "true or false",
}


def parse(kind: type[Record], values: Any, where: str) -> Record:
    """A dataclass from the JSON object that `dataclasses.asdict` and `json.dumps` made of it.

    Args:
      kind: a dataclass whose fields are str, int, float, bool, tuple[...], dict[str, ...] or dataclasses in turn.
      values: the object; fields that have a default may lack.
      where: it was found, such as "x/config.json: config"; messages begin with it and go on with the field's name.

    Raises:
      UserError: a field lacks, is unknown, or holds something of another type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is {reprlib.repr(values)} and must be an object with fields")
    known, required = _fields(kind)
    if unknown := [name for name in values if name not in known]:
        raise UserError(
            f"{where} has no field {', '.join(unknown)}{nearest(unknown[0], known)}; the fields are {', '.join(known)}"
        )
    if absent := [name for name in required if name not in values]:
        raise UserError(f"{where} lacks {', '.join(absent)}: the file is damaged, or written by another version")
    return kind(**{name: check(known[name], value, f"{where}.{name}") for name, value in values.items()})


def check(kind: Any, value: Any, where: str) -> Any:
    """A JSON value as one of the type `kind`: lists become tuples. Raises UserError, as `parse`, where it is none."""
    if dataclasses.is_dataclass(kind):
        return parse(kind, value, where)
    outer, inner = typing.get_origin(kind), typing.get_args(kind)
    if outer is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            pairs = enumerate(zip(kinds, value, strict=True))
            return tuple(check(one, item, f"{where}[{i}]") for i, (one, item) in pairs)
    if outer is dict and isinstance(value, dict):
        return {name: check(inner[1], item, f"{where}[{name!r}]") for name, item in value.items()}
    if kind is Any or _is_a(kind, value):
        return value
    raise UserError(f"{where} is {reprlib.repr(value)} and must be {_name(kind)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?` with the one of `names` that is most like `name`, or "" where none is."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _name(kind: Any) -> str:
    outer, inner = typing.get_origin(kind), typing.get_args(kind)
    if outer is tuple:
        return "a list" if inner[-1] is Ellipsis else f"a list of {len(inner)} values"
    return "an object with fields" if outer is dict else _NAMES.get(kind, kind)


def _is_a(kind: Any, value: Any) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) < MAX_INTEGER and math.isfinite(value)
    if kind is int:
        return type(value) is int and abs(value) < MAX_INTEGER  # True is no number here
    return type(value) is kind


@functools.cache
def _fields(kind: type) -> tuple[dict[str, Any], list[str]]:
    """(type by name, names without a default)."""
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    required = [field.name for field in fields if field.default is missing and field.default_factory is missing]
    return {field.name: field.type for field in fields}, required

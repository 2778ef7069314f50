"""Checks the types of what a caller in Python passes, and turns it into plain Python; errors name the argument.

Numbers may be NumPy's or JAX's, sequences lists, tuples or arrays.
"""

import os
import reprlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from musicgen_jax.data import lyrics
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import options


def number(name: str, value: Any) -> float:
    """A float from a number of Python, NumPy or JAX, or an array that holds one. Raises UserError for anything else."""
    value = _scalar(value)
    if type(value) not in (int, float):
        raise UserError(f"{name}={_shown(value)}: must be a number")
    try:
        return float(value)
    except OverflowError:  # of an int; its range is checked like that of any other
        return float("inf") if value > 0 else float("-inf")


def whole(name: str, value: Any) -> int:
    """An int from a number of Python, NumPy or JAX; 4.0 is one. Raises UserError for anything else."""
    value = _scalar(value)
    if type(value) is int or (type(value) is float and value.is_integer()):
        return int(value)
    raise UserError(f"{name}={_shown(value)}: must be a whole number")


def wholes(name: str, value: Any) -> tuple[int, ...]:
    """Ints of a list, tuple or array of whole numbers. Raises UserError for anything else."""
    if not isinstance(value, list | tuple) and getattr(value, "ndim", 0) != 1:
        raise UserError(f"{name}={_shown(value)}: must be a list of whole numbers")
    return tuple(whole(name, one) for one in value)


def truth(name: str, value: Any) -> bool:
    """A bool of Python, NumPy or JAX. Raises UserError for anything else, 0 and 1 included."""
    value = _scalar(value)
    if type(value) is not bool:
        raise UserError(f"{name}={_shown(value)}: must be True or False")
    return value


def text(name: str, value: Any) -> str:
    """A plain str, from any kind of str. Raises UserError for anything else."""
    if not isinstance(value, str):
        raise UserError(f"{name}={_shown(value)}: must be text")
    return str(value)


def document(name: str, value: Any) -> str:
    """Text, or that of the .txt or .lrc file whose path it is.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is neither, or the file holds no text.
    """
    if isinstance(value, os.PathLike) or (isinstance(value, str) and files.names_a_text(value)):
        return lyrics.read(files.local_path(value, name))[0]
    return text(name, value)


def texts(name: str, value: Any) -> tuple[str, ...]:
    """A str alone, or those of a list, tuple or array; the empty one says nothing."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple | np.ndarray) or not all(isinstance(one, str) for one in names):
        raise UserError(f"{name}={_shown(value)}: must be a name or a list of names")
    return tuple(str(one) for one in names if one)


def labels(name: str, value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(label, its values) of each label of a dict from labels to a value or several, which may be whole numbers."""
    rule = "must be a dict from labels to a value, or to a list of values"
    if not isinstance(value, Mapping) or not all(isinstance(label, str) for label in value):
        raise UserError(f"{name}={_shown(value)}: {rule}")
    try:
        pairs = tuple((str(label), texts(name, _as_text(values))) for label, values in value.items())
    except UserError as error:
        raise UserError(f"{name}={_shown(value)}: {rule}") from error
    return tuple((label, values) for label, values in pairs if values)


def _as_text(values: Any) -> Any:
    """A whole number, or those of a list, as text; all else as it is."""
    if isinstance(values, list | tuple):
        return [_as_text(one) for one in values]
    values = _scalar(values)
    return str(values) if type(values) is int else values


def by_stream(name: str, value: Any) -> Any:
    """A number, a pair of them, or a mapping from streams to either, with floats and tuples."""
    if not isinstance(value, Mapping):
        return _number_or_pair(name, value, value)
    return {stream: _number_or_pair(name, one, value) for stream, one in value.items()}


def _number_or_pair(name: str, value: Any, whole_value: Any) -> float | tuple[float, ...]:
    try:
        if isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 1:
            return tuple(number(name, one) for one in value)
        return number(name, value)
    except UserError as error:
        rule = "must be a number, a pair (first, last), or a dict from streams to either"
        raise UserError(f"{name}={_shown(whole_value)}: {rule}") from error


def _scalar(value: Any) -> Any:
    """The bool, int or float that a value is, or the value itself where it is none."""
    if not isinstance(value, np.generic | np.ndarray | jax.Array):
        return value
    try:
        array = np.asarray(value)
    except TypeError:  # a key of JAX's, or a traced value
        return value
    for kind, plain in ((np.bool_, bool), (np.integer, int), (np.floating, float)):
        if array.ndim == 0 and jax.dtypes.issubdtype(array.dtype, kind):
            return plain(array)
    return value


def _shown(value: Any) -> str:
    shape = getattr(value, "shape", ())
    return f"an array of shape {shape}" if shape else " ".join(reprlib.repr(value).split())


# Of the values of `options.TYPES`. Who reads a path or a source looks at it itself.
CHECKS = {
    "number": number,
    "whole": whole,
    "wholes": wholes,
    "truth": truth,
    "text": text,
    "names": texts,
    "texts": texts,
    "labels": labels,
    "document": document,
    "path": lambda name, value: value,
    "source": lambda name, value: value,
    "by_stream": by_stream,
}


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of `options.OPTIONS` as plain Python; those that are None are left out.

    Raises:
      UserError: an option that there is not, or a value of another type.
    """
    found = {name: (options.find(name), value) for name, value in given.items()}
    return {name: CHECKS[option.type](name, value) for name, (option, value) in found.items() if value is not None}

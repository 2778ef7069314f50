"""What JSON holds becomes a dataclass only where every value is what its field says."""

import dataclasses
import json

import pytest

from musicgen_jax.runtime import records
from musicgen_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    seconds: float
    count: int = 0
    on: bool = False
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    inner: Inner = dataclasses.field(default_factory=Inner)


WHOLE = Row("a", 1.5, 3, True, {"genre": "g"}, Inner((1, 2), ("x",)))


def test_it_is_the_inverse_of_asdict():
    assert records.parse(Row, json.loads(json.dumps(dataclasses.asdict(WHOLE))), "x") == WHOLE
    assert records.parse(Row, {"name": "a", "seconds": 1}, "x") == Row("a", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, r"x\.name is 3 and must be a string"),
        ({"name": None}, r"x\.name is None and must be a string"),
        ({"seconds": "1"}, r"x\.seconds is '1' and must be a finite number"),
        ({"seconds": True}, r"x\.seconds is True"),
        ({"seconds": float("nan")}, r"x\.seconds is nan"),
        ({"seconds": float("inf")}, r"x\.seconds is inf"),
        ({"count": 1.5}, r"x\.count is 1\.5 and must be a whole number"),
        ({"count": True}, r"x\.count is True"),
        ({"count": 2**64}, r"x\.count is 18446744073709551616"),
        ({"count": [1]}, r"x\.count is \[1\]"),
        ({"on": 1}, r"x\.on is 1 and must be true or false"),
        ({"labels": []}, r"x\.labels is \[\] and must be an object with fields"),
        ({"labels": {"genre": 3}}, r"x\.labels\['genre'\] is 3 and must be a string"),
        ({"inner": {"sizes": 3}}, r"x\.inner\.sizes is 3 and must be a list"),
        ({"inner": {"sizes": [1, "2"]}}, r"x\.inner\.sizes\[1\] is '2' and must be a whole number"),
        ({"inner": {"sizes": {}}}, r"x\.inner\.sizes is \{\}"),
        ({"inner": []}, r"x\.inner is \[\] and must be an object"),
        ({"inner": {"size": []}}, r"x\.inner has no field size; did you mean sizes\?; the fields are sizes, names"),
        ({"other": 1}, r"x has no field other; the fields are name, "),
    ],
)
def test_anything_else_is_named(change, message):
    with pytest.raises(UserError, match=message):
        records.parse(Row, dataclasses.asdict(WHOLE) | change, "x")


def test_what_lacks_is_named():
    with pytest.raises(UserError, match="x lacks name, seconds: the file is damaged"):
        records.parse(Row, {}, "x")
    with pytest.raises(UserError, match=r"x is \[\] and must be an object with fields"):
        records.parse(Row, [], "x")

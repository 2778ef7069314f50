import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import arguments

ONES = [1, 1.0, np.array(1.0), jnp.array(1), ml_dtypes.bfloat16(1), jnp.bfloat16(1), jnp.float32(1)]
ONES += [kind(1) for kind in (np.float64, np.float32, np.float16, np.int64, np.uint8)]


@pytest.mark.parametrize("value", ONES, ids=repr)
def test_numbers_of_all_libraries(value):
    for convert, kind in ((arguments.number, float), (arguments.whole, int)):
        found = convert("seed", value)
        assert found == 1 and type(found) is kind
    found = arguments.by_stream("temperature", {"top": value, "middle": [value, 2]})
    assert found == {"top": 1.0, "middle": (1.0, 2.0)}


@pytest.mark.parametrize("value", [True, np.True_, "1", b"1", None, [1], np.array([1]), 1j, {}, jax.random.key(0)])
def test_what_is_no_number(value):
    with pytest.raises(UserError, match=r"^seconds=.*: must be a number$"):
        arguments.number("seconds", value)
    with pytest.raises(UserError, match=r"^seed=.*: must be a whole number$"):
        arguments.whole("seed", value)


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf"), np.float32(0.1)])
def test_what_is_not_whole(value):
    with pytest.raises(UserError, match="must be a whole number"):
        arguments.whole("steps", value)


def test_numbers_beyond_floats():
    assert arguments.number("seconds", 10**400) == float("inf")
    assert arguments.whole("seed", 10**400) == 10**400


@pytest.mark.parametrize("pair", [(0.9, 1.1), [0.9, 1.1], np.array([0.9, 1.1]), jnp.array([0.9, 1.1])], ids=repr)
def test_pairs(pair):
    found = arguments.by_stream("temperature", pair)
    assert type(found) is tuple and found == pytest.approx((0.9, 1.1))
    assert all(type(one) is float for one in found)


@pytest.mark.parametrize(
    "value", ["0.9", None, [[1, 2], [3, 4]], ["a", 1], {"top": "b"}, {"top": None}, np.ones((2, 2))]
)
def test_what_is_no_value_by_stream(value):
    with pytest.raises(UserError, match=r"^top_p=.*must be a number, a pair \(first, last\), or a dict from streams"):
        arguments.by_stream("top_p", value)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("organ", ("organ",)),
        ("Rock, Pop", ("Rock, Pop",)),
        (["a", "b"], ("a", "b")),
        (np.array(["a", "b"]), ("a", "b")),
        ((), ()),
        ("", ()),
    ],
)
def test_labels(value, names):
    assert arguments.texts("genre", value) == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"genre": 3}, r"genre=3: must be a name or a list of names"),
        ({"genre": [b"organ"]}, r"genre=\[b'organ'\]: must be a name"),
        ({"artist": ["x"]}, r"artist=\['x'\]: must be text"),
        ({"mode": 1}, "mode=1: must be text"),
        ({"parallel_windows": "yes"}, "parallel_windows='yes': must be True or False"),
        ({"batch_size": np.ones(7)}, r"batch_size=an array of shape \(7,\): must be a whole number"),
    ],
)
def test_options_of_the_wrong_type(options, message):
    with pytest.raises(UserError, match=message):
        arguments.checked(options)


def test_none_is_the_default():
    assert arguments.checked({"steps": None, "genre": None, "parallel_windows": np.True_}) == {"parallel_windows": True}

import functools

import attention_cases
import jax
import jax.numpy as jnp
import pytest
from attention_cases import inputs, oracle, with_gradients

from musicgen_jax import config
from musicgen_jax.sharding import meshes, rules
from musicgen_jax.transformer import blocked_attention, relative_attention, relative_distances

Pattern = relative_distances.Pattern


@pytest.mark.parametrize(
    ("length", "table_size", "pattern", "block_queries", "block_keys"),
    [
        (13, 13, Pattern(), 4, 4),
        (13, 3, Pattern(), 4, 4),  # tiles that lie beyond the table
        (13, 3, Pattern(beyond="clamp"), 3, 5),
        (13, 20, Pattern(beyond="clamp"), 5, 3),  # a table longer than the sequence
        (17, 17, Pattern(window=4), 4, 2),
        (17, 2, Pattern(window=9), 4, 4),
        (13, 5, Pattern(causal=False), 4, 4),
        (13, 20, Pattern(causal=False), 5, 4),
        (14, 3, Pattern(causal=False, window=5, beyond="clamp"), 4, 3),
        (1, 1, Pattern(), 4, 4),
        (3, 2, Pattern(), 4, 8),  # shorter than a tile
    ],
)
def test_output_and_gradients_equal_the_reference(length, table_size, pattern, block_queries, block_keys):
    arrays = inputs(length, table_size, pattern)

    def attend(*x):
        return blocked_attention.attention(*x, pattern, block_queries, block_keys)

    attention_cases.assert_close(with_gradients(attend, *arrays), oracle(pattern, *arrays))


def test_bfloat16_is_within_two_per_cent():
    attend = functools.partial(blocked_attention.attention, pattern=Pattern(), block_queries=16, block_keys=16)
    attention_cases.assert_close_in_bfloat16(attend, Pattern(), *inputs(50, 20, Pattern(), head_dim=16))


def test_only_tiles_with_something_to_see_are_computed():
    def counts(length, reach, pattern):
        near, far = blocked_attention.Tiles(length, 4, 4, reach, pattern).pairs
        return len(near), len(far)

    assert counts(16, 15, Pattern()) == (10, 0)  # the lower triangle of 4 x 4
    assert counts(16, 2, Pattern()) == (7, 3)  # the diagonal and the one below it touch the table
    assert counts(16, 2, Pattern(beyond="clamp")) == (10, 0)
    assert counts(16, 2, Pattern(window=5)) == (7, 2)  # two diagonals below it hold distances of up to 5
    assert counts(16, 15, Pattern(causal=False)) == (16, 0)


def compiled_bytes(length, attend):
    shape = jax.ShapeDtypeStruct((1, length, 2, 16), jnp.float32)
    table = jax.ShapeDtypeStruct((2, 128, 16), jnp.float32)
    compiled = with_gradients.lower(attend, shape, shape, shape, table, shape).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_grows_with_the_length_and_not_with_its_square():
    blocked = functools.partial(blocked_attention.attention, pattern=Pattern())
    assert compiled_bytes(4096, blocked) < 2.1 * compiled_bytes(2048, blocked)
    assert compiled_bytes(2048, blocked) < compiled_bytes(2048, relative_attention.relative_attention) / 8


def test_divided_by_batch_and_heads_no_tile_waits_for_another_device(capfd):
    """Equal to one device, and whatever is sent is sent outside the loops over tiles."""
    devices = meshes.make_mesh(config.MeshConfig(fsdp=4, tensor=2), jax.devices()[:8])
    axis_rules, pattern = rules.AxisRules(), Pattern()
    arrays = inputs(40, 20, pattern, batch=4, heads=2)

    def attend(*arrays):
        names = ("batch", None, "heads", None)
        query, key, value = (rules.constrain(part, axis_rules, names) for part in arrays[:3])
        return blocked_attention.attention(query, key, value, arrays[3], pattern, 16, 16)

    with jax.set_mesh(devices):
        lowered = jax.jit(with_gradients.__wrapped__, static_argnums=0).lower(attend, *arrays)
        compiled = lowered.compile()
        got = compiled(*arrays)
    attention_cases.assert_close(got, oracle(pattern, *arrays))
    assert "nvoluntary full rematerialization" not in capfd.readouterr().err
    computations = compiled.as_text().split("\n\n")
    sending = [text for text in computations if "all-reduce(" in text or "all-gather(" in text]
    assert sending, "the table's gradient is summed over the batch"
    assert all("ENTRY" in text for text in sending)

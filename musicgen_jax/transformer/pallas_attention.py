"""Relative attention as Mosaic kernels for TPUs (v5e, v5p and later), forward and backward.

The computation is that of `blocked_attention`, on square tiles. The backward pass is three kernels, each the owner of
what it sums up: one for the queries, one for the keys and values, one for the table's strip.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jax.experimental.pallas import tpu

from musicgen_jax import config
from musicgen_jax.sharding import meshes, rules
from musicgen_jax.transformer import pallas_tiles, relative_distances

BLOCK = 512


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    table: jax.Array,
    pattern: relative_distances.Pattern,
    axis_rules: rules.AxisRules,
    block: int = BLOCK,
    interpret: bool = False,
) -> jax.Array:
    """As `relative_attention.relative_attention`; equal to its reference up to rounding.

    On a mesh, every device computes its own examples and heads.

    Args:
      query, key, value: [B, T, H, D] in the compute dtype.
      table: [H, M or 2 M - 1, D] float32.
      pattern: who sees whom.
      axis_rules: names the mesh axes that divide the batch and the heads.
      block: size of a tile, a multiple of 128 on a TPU; cut to the length.
      interpret: run the kernels on any platform, slowly.

    Returns:
      [B, T, H, D] in the compute dtype.

    Raises:
      UserError: the platform has no such kernels.
    """
    mesh, platform = jax.sharding.get_abstract_mesh(), meshes.platform()
    config.require(
        interpret or platform == "tpu",
        f"attention='pallas': its kernels run on TPUs, not on a {platform}; use 'blocked', which runs anywhere",
    )
    config.require(
        interpret or block % pallas_tiles.LANES == 0,
        f"block={block}: must be a multiple of {pallas_tiles.LANES} on a TPU",
    )
    attend = functools.partial(_attention, pattern=pattern, block=block, interpret=interpret)
    if mesh.empty or mesh.manual_axes:
        return attend(query, key, value, table)
    sequence = rules.dividing(axis_rules.spec(("batch", None, "heads", None)), query.shape, mesh)
    rows = jax.P(sequence[2], None, None)
    in_specs = (sequence, sequence, sequence, rows)
    return jax.shard_map(attend, in_specs=in_specs, out_specs=sequence, check_vma=False)(query, key, value, table)


def _attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    table: jax.Array,
    pattern: relative_distances.Pattern,
    block: int,
    interpret: bool,
) -> jax.Array:
    length, head_dim = query.shape[1], query.shape[3]
    block = min(block, -(-length // pallas_tiles.LANES) * pallas_tiles.LANES)
    bands = pallas_tiles.plan(length, block, pattern.reach(table), pattern)
    padding = (0, 0), (0, 0), (0, -length % block), (0, 0)
    parts = [jnp.pad(jnp.swapaxes(x, 1, 2), padding) for x in (query * head_dim**-0.5, key, value)]
    strip = relative_distances.strip(table, pattern, *bands.strip)
    return jnp.swapaxes(_attend(bands, interpret, *parts, strip)[:, :, :length], 1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(
    bands: pallas_tiles.Bands, interpret: bool, query: jax.Array, key: jax.Array, value: jax.Array, strip: jax.Array
) -> jax.Array:
    return _forward(bands, interpret, query, key, value, strip)[0]


def _call(
    bands: pallas_tiles.Bands, interpret: bool, kernel: Callable, place: Callable, sums: int = 1, **arguments
) -> Callable:
    """pallas_call of kernel(bands, (tile of the queries, diagonal), *references); its last grid axes are sums."""

    def body(*references) -> None:
        _, _, i, diagonal = place(*(pallas.program_id(axis) for axis in range(4)))
        kernel(bands, (i, diagonal), *references)

    order = ("parallel",) * (4 - sums) + ("arbitrary",) * sums
    parameters = tpu.CompilerParams(dimension_semantics=order)
    return pallas.pallas_call(body, interpret=interpret, compiler_params=parameters, **arguments)


def _forward(bands, interpret, query, key, value, strip):
    """-> (output [B, H, T, D], what the backward pass needs)."""
    batch, heads, length, head_dim = query.shape
    of_queries, of_rows, of_keys, upper, lower = bands.specs(bands.by_queries, head_dim)
    column = tpu.VMEM((bands.block, 1), jnp.float32)
    call = _call(
        bands,
        interpret,
        _forward_kernel,
        bands.by_queries,
        grid=(batch, heads, bands.tiles, bands.diagonals),
        in_specs=[of_queries, of_keys, of_keys, upper, lower],
        out_specs=[of_queries, of_rows],
        out_shape=[
            jax.ShapeDtypeStruct(query.shape, value.dtype),
            jax.ShapeDtypeStruct((batch, heads, 1, length), jnp.float32),
        ],
        scratch_shapes=[tpu.VMEM((bands.block, head_dim), jnp.float32), column, column],
        name="relative_attention_forward",
    )
    rows = strip.astype(query.dtype)
    out, normalizer = call(query, key, value, rows, rows)
    return out, (query, key, value, strip, out, normalizer)


def _forward_kernel(bands, place, query, key, value, upper, lower, out, normalizer, total, largest, weight) -> None:
    @pallas.when(pallas.program_id(3) == 0)
    def start():
        total[...] = jnp.zeros(total.shape, total.dtype)
        largest[...] = jnp.full(largest.shape, relative_distances.MASKED, largest.dtype)
        weight[...] = jnp.zeros(weight.shape, weight.dtype)

    def tile(near: bool) -> None:
        rows = jnp.concatenate([upper[...], lower[...]], axis=0) if near else None
        logits = bands.logits(query[...], key[...], rows, *place)
        before = largest[...]
        now = jnp.maximum(before, logits.max(axis=1, keepdims=True))
        weights, keep = jnp.exp(logits - now), jnp.exp(before - now)
        largest[...] = now
        weight[...] = weight[...] * keep + weights.sum(axis=1, keepdims=True)
        total[...] = total[...] * keep + pallas_tiles.product(weights.astype(value.dtype), value[...], 1, 0)

    bands.visit(*place, tile)

    @pallas.when(pallas.program_id(3) == bands.diagonals - 1)
    def finish():
        out[...] = (total[...] / weight[...]).astype(out.dtype)
        normalizer[...] = (largest[...] + jnp.log(weight[...])).reshape(normalizer.shape)


def _backward(bands, interpret, saved, cotangent):
    query, key, value, strip, out, normalizer = saved
    batch, heads, _, head_dim = query.shape
    delta = jnp.einsum("bhtd,bhtd->bht", cotangent, out, preferred_element_type=jnp.float32)[:, :, None]
    rows = strip.astype(query.dtype)
    operands = query, key, value, rows, rows, cotangent, normalizer, delta
    part = tpu.VMEM((bands.block, head_dim), jnp.float32)

    def run(kernel: Callable, place: Callable, grid: tuple[int, ...], **arguments):
        of_queries, of_rows, of_keys, upper, lower = bands.specs(place, head_dim)
        in_specs = [of_queries, of_keys, of_keys, upper, lower, of_queries, of_rows, of_rows]
        return _call(bands, interpret, kernel, place, grid=grid, in_specs=in_specs, **arguments)(*operands)

    grid = batch, heads, bands.tiles, bands.diagonals
    own = pallas.BlockSpec((None, None, bands.block, head_dim), lambda example, head, tile, _: (example, head, tile, 0))
    like_query, like_key, like_value = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (query, key, value))
    d_query = run(
        _query_kernel,
        bands.by_queries,
        grid,
        out_specs=own,
        out_shape=like_query,
        scratch_shapes=[part, part],
        name="relative_attention_backward_queries",
    )
    d_key, d_value = run(
        _key_kernel,
        bands.by_keys,
        grid,
        out_specs=[own, own],
        out_shape=[like_key, like_value],
        scratch_shapes=[part, part],
        name="relative_attention_backward_keys",
    )
    by_diagonal = run(
        _strip_kernel,
        bands.by_diagonals,
        (heads, bands.near, batch, bands.tiles),
        sums=2,
        out_specs=pallas.BlockSpec((None, None, 2 * bands.block, head_dim), lambda head, step, *_: (head, step, 0, 0)),
        out_shape=jax.ShapeDtypeStruct((heads, bands.near, 2 * bands.block, head_dim), jnp.float32),
        name="relative_attention_backward_table",
    )
    # The lower block of one diagonal is the upper of the next.
    upper, lower = (half.reshape(heads, -1, head_dim) for half in jnp.split(by_diagonal, 2, axis=2))
    grow = bands.block, 0
    d_strip = jnp.pad(upper, ((0, 0), grow[::-1], (0, 0))) + jnp.pad(lower, ((0, 0), grow, (0, 0)))
    return d_query, d_key, d_value, d_strip


_attend.defvjp(_forward, _backward)


def _gradient(bands, place, near, query, key, value, upper, lower, cotangent, normalizer, delta):
    """-> (the tile's weights, the gradient of its logits, the strip's rows), the first two [block, block] float32."""
    rows = jnp.concatenate([upper[...], lower[...]], axis=0) if near else None
    logits = bands.logits(query[...], key[...], rows, *place)
    weights = jnp.exp(logits - normalizer[...].reshape(bands.block, 1))
    d_weights = pallas_tiles.product(cotangent[...], value[...], 1, 1)
    d_logits = weights * (d_weights - delta[...].reshape(bands.block, 1))
    return weights, d_logits.astype(query.dtype), rows


def _query_kernel(bands, place, *references) -> None:
    *operands, out, straight, turned = references
    key = operands[1]

    @pallas.when(pallas.program_id(3) == 0)
    def start():
        straight[...] = jnp.zeros(straight.shape, straight.dtype)
        turned[...] = jnp.zeros(turned.shape, turned.dtype)

    def tile(near: bool) -> None:
        _, d_logits, rows = _gradient(bands, place, near, *operands)
        straight[...] += pallas_tiles.product(d_logits, key[...], 1, 0)
        if near:
            by_distance = pallas_tiles.flipped_by_distance(d_logits).astype(rows.dtype)
            turned[...] += pallas_tiles.product(by_distance, rows, 1, 0)

    bands.visit(*place, tile)

    @pallas.when(pallas.program_id(3) == bands.diagonals - 1)
    def finish():
        out[...] = (straight[...] + pallas_tiles.flipped(turned[...])).astype(out.dtype)


def _key_kernel(bands, place, *references) -> None:
    *operands, d_key, d_value, key_sum, value_sum = references
    query, cotangent = operands[0], operands[5]

    @pallas.when(pallas.program_id(3) == 0)
    def start():
        key_sum[...] = jnp.zeros(key_sum.shape, key_sum.dtype)
        value_sum[...] = jnp.zeros(value_sum.shape, value_sum.dtype)

    def tile(near: bool) -> None:
        weights, d_logits, _ = _gradient(bands, place, near, *operands)
        key_sum[...] += pallas_tiles.product(d_logits, query[...], 0, 0)
        value_sum[...] += pallas_tiles.product(weights.astype(cotangent.dtype), cotangent[...], 0, 0)

    bands.visit(*place, tile)

    @pallas.when(pallas.program_id(3) == bands.diagonals - 1)
    def finish():
        d_key[...] = key_sum[...].astype(d_key.dtype)
        d_value[...] = value_sum[...].astype(d_value.dtype)


def _strip_kernel(bands, place, *references) -> None:
    *operands, out = references
    query = operands[0]

    @pallas.when((pallas.program_id(2) == 0) & (pallas.program_id(3) == 0))
    def start():
        out[...] = jnp.zeros(out.shape, out.dtype)

    def tile(near: bool) -> None:
        _, d_logits, _ = _gradient(bands, place, near, *operands)
        by_distance = pallas_tiles.flipped_by_distance(d_logits).astype(query.dtype)
        turned = pallas_tiles.flipped(query[...]).astype(query.dtype)
        out[...] += pallas_tiles.product(by_distance, turned, 0, 0)

    bands.visit(*place, tile)

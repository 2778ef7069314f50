"""Attention of one block: to the window itself, or to a memory. Whole sequences, and one step with a cache."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn.parameters import ALONE, BOTH, EMBEDDING, MATRIX, parameter
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import (
    cached_attention,
    factored_attention,
    kv_cache,
    recurrence,
    relative_attention,
    relative_distances,
    weights,
)

Settings = config.TransformerConfig | config.JukeboxTransformerConfig


@dataclasses.dataclass(frozen=True)
class Span:
    """What attention must know of the sequence.

    Attributes:
      max_distance: relative positions that "relative" attention has a table for.
      causal: whether a position sees only itself and those before it; only "relative" attention can do without.
      row_length: positions of a row, for factored attention.
      prime_length: keys of "prime" attention.
    """

    max_distance: int = 1
    causal: bool = True
    row_length: int = 1
    prime_length: int = 0


class RelativeAttention(nnx.Module):
    """Projections, relative attention, output projection; num_heads * head_dim may be less than the width."""

    def __init__(
        self,
        settings: config.TransformerConfig,
        span: Span,
        axis_rules: rules.AxisRules,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.rules, self.backend = axis_rules, settings.attention
        self.pattern = relative_distances.Pattern(span.causal, settings.window, settings.beyond)
        width, heads, head_dim = settings.width, settings.num_heads, settings.head_dim
        init, out_init = (nnx.initializers.normal(std) for std in (settings.init_std, settings.out_std))
        qkv, axes = init(rngs.params(), (width, 3, heads, head_dim)), ("width", None, "heads", None)
        # Queries, keys and values are three matrices, each of all heads.
        self.qkv = parameter(qkv, MATRIX, axes, inputs=(-4,), outputs=(-2, -1), int8=BOTH)
        out, axes = out_init(rngs.params(), (heads, head_dim, width)), ("heads", None, "width")
        self.out = parameter(out, MATRIX, axes, inputs=(-3, -2), outputs=(-1,), int8=BOTH)
        rows = span.max_distance if span.causal else 2 * span.max_distance - 1
        table = nnx.initializers.normal(head_dim**-0.5)(rngs.params(), (heads, rows, head_dim))
        # Queries are never rounded: relative attention of whole sequences takes this table as an array, and one step
        # with a cache must agree with it.
        self.distances = parameter(table, EMBEDDING, ("heads", "distances", None), inputs=(-1,), int8=ALONE)
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> tuple[jax.Array, kv_cache.KVCache]:
        """[B, T, D] -> ([B, T, D], the window's keys and values)."""
        qkv = weights.einsum("btd,dnhk->btnhk", x, self.qkv[...], self.dtype)  # the product's own order: no copy
        names = ("batch", None, "heads", None)  # whole sequences, even where they are divided between the blocks
        query, key, value = (rules.constrain(qkv[:, :, part], self.rules, names) for part in range(3))
        # Collected here, once: a table that is divided would be collected at every turn of a loop over blocks.
        table = rules.constrain(weights.dense(self.distances[...]), self.rules, ("heads", None, None))
        mixed = relative_attention.relative_attention(query, key, value, table, self.pattern, self.backend, self.rules)
        out = weights.einsum("bthk,hkd->btd", mixed, self.out[...], self.dtype)
        return out, kv_cache.from_sequence(key, value)

    def step(self, x: jax.Array, cache: kv_cache.Cache, position: jax.Array) -> tuple[jax.Array, kv_cache.Cache]:
        """One position: [B, D] and the layer's cache -> ([B, D], the cache with this position)."""
        # In this order of axes the product reads the matrix as it lies; in others XLA would transpose it at every step.
        qkv = weights.einsum("bd,dnhk->bnhk", x, self.qkv[...], self.dtype)
        query, key, value = qkv[:, 0], qkv[:, 1], qkv[:, 2]
        mixed, cache = relative_attention.relative_attention_step(
            query, key, value, cache, self.distances[...], position, self.pattern
        )
        return weights.einsum("bhk,hkd->bd", mixed, self.out[...], self.dtype), cache


class FactoredAttention(nnx.Module):
    """Projections with biases and causal attention of one pattern, positions unknown to it.

    Queries, keys and values lie packed in one matrix, in this order.
    """

    def __init__(self, settings: Settings, pattern: str, span: Span, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.pattern, self.num_heads = pattern, settings.num_heads
        self.lengths = {"row_length": span.row_length, "prime_length": span.prime_length}
        width, inner = settings.width, settings.num_heads * settings.head_dim
        shared = {"use_bias": settings.biases, "dtype": dtype, "rngs": rngs}
        self.qkv = _linear(width, 3 * inner, ("width", "head_columns"), settings.init_std, **shared)
        self.out = _linear(inner, width, ("head_columns", "width"), settings.out_std, **shared)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, kv_cache.KVCache]:
        """[B, T, D] -> ([B, T, D], the window's keys and values)."""
        query, key, value = _heads(self.qkv(x), 3, self.num_heads)
        mixed = factored_attention.attention(self.pattern, query, key, value, **self.lengths)
        return self.out(mixed.reshape(*x.shape[:2], -1)), kv_cache.from_sequence(key, value)

    def step(self, x: jax.Array, cache: kv_cache.KVCache, position: jax.Array) -> tuple[jax.Array, kv_cache.KVCache]:
        """One position: [B, D] and the layer's cache, rounded only if all is seen -> ([B, D], the cache with it)."""
        query, key, value = _heads(self.qkv(x), 3, self.num_heads)
        if self.pattern == "dense":
            mixed, cache = cached_attention.attend(query * query.shape[-1] ** -0.5, key, value, cache, position)
            return self.out(mixed.reshape(x.shape[0], -1)), cache
        cache = cache.write(key, value, position)
        mixed = factored_attention.step(self.pattern, query, cache, position, **self.lengths)
        return self.out(mixed.reshape(x.shape[0], -1)), cache


class CrossAttention(nnx.Module):
    """Projections with biases and attention to a memory, whose keys and values are computed once a window.

    Its output starts as zero: a trained model gets a memory without forgetting anything.
    """

    def __init__(self, settings: Settings, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.num_heads = settings.num_heads
        width, inner = settings.width, settings.num_heads * settings.head_dim
        shared = {"use_bias": settings.biases, "dtype": dtype, "rngs": rngs}
        self.query = _linear(width, inner, ("width", "head_columns"), settings.init_std, **shared)
        self.key_value = _linear(width, 2 * inner, ("width", "head_columns"), settings.init_std, **shared)
        self.out = _linear(inner, width, ("head_columns", "width"), 0.0, **shared)

    def __call__(
        self, x: jax.Array, memory: jax.Array, mask: jax.Array | None
    ) -> tuple[jax.Array, kv_cache.MemoryCache]:
        """[B, T, D], memory [B, M, D] and what exists of it, bool [B, M] -> ([B, T, D], its keys and values)."""
        query = _heads(self.query(x), 1, self.num_heads)[0]
        key, value = _heads(self.key_value(memory.astype(x.dtype)), 2, self.num_heads)
        mixed = factored_attention.attend(query, key, value, True if mask is None else mask[:, None, None])
        cache = kv_cache.MemoryCache(*(jnp.swapaxes(part, 1, 2) for part in (key, value)), mask)
        return self.out(mixed.reshape(*x.shape[:2], -1)), cache

    def step(self, x: jax.Array, cache: kv_cache.MemoryCache) -> jax.Array:
        """One position: [B, D] -> [B, D]."""
        query = _heads(self.query(x), 1, self.num_heads)[0]
        # As the window's cache is read: `factored_attention.attend` would transpose the keys at every step.
        known = kv_cache.KVCache(cache.keys, cache.values)
        visible = True if cache.mask is None else cache.mask[:, None]
        logits = jnp.where(visible, known.score(query * query.shape[-1] ** -0.5), factored_attention.MASKED)
        shares = jnp.where(visible, jax.nn.softmax(logits, axis=-1), 0.0)
        return self.out(known.mix(shares, x.dtype).astype(x.dtype).reshape(len(x), -1))


def self_attention(
    settings: Settings, kind: str, span: Span, axis_rules: rules.AxisRules, *, dtype: jnp.dtype, rngs: nnx.Rngs
) -> RelativeAttention | FactoredAttention | recurrence.LSTM:
    """Attention of a kind: "relative", a pattern of `factored_attention.PATTERNS`, or in its place "lstm"."""
    if kind == "lstm":
        return recurrence.LSTM(settings, axis_rules, dtype=dtype, rngs=rngs)
    if kind == "relative":
        return RelativeAttention(settings, span, axis_rules, dtype=dtype, rngs=rngs)
    return FactoredAttention(settings, kind, span, dtype=dtype, rngs=rngs)


def _linear(inputs: int, outputs: int, axes: tuple[str, str], std: float, **shared: Any) -> weights.Linear:
    return weights.Linear(inputs, outputs, axes, axes[1:], kernel_init=nnx.initializers.normal(std), **shared)


def _heads(packed: jax.Array, num: int, num_heads: int) -> list[jax.Array]:
    """[..., num * attention width] -> `num` arrays [..., H, D_h]."""
    return [part.reshape(*part.shape[:-1], num_heads, -1) for part in jnp.split(packed, num, axis=-1)]

"""T5's encoder (Raffel et al. 2020, arXiv 1910.10683, section 2.1; gated units: Shazeer 2020, arXiv 2002.05202)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import tables
from musicgen_jax.nn.parameters import EMBEDDING, MATRIX, NORM, parameter


def buckets(length: int, num_buckets: int, max_distance: int) -> np.ndarray:
    """Numbers of the distances from each token to each other one: int32 [length, length], query x key.

    Half of the buckets are of keys behind the query or on it, half of keys ahead. Of each half, half are of one
    distance each, from 0 on; the others widen geometrically, up to `max_distance`, and the last has all beyond.
    """
    ahead = np.arange(length)[None] - np.arange(length)[:, None]
    half = num_buckets // 2
    exact, distance = half // 2, np.abs(ahead)
    # In float32, as the published weights were trained with: it decides to which of two buckets a bound belongs.
    ratio = np.log(np.maximum(distance, exact).astype(np.float32) / exact) / np.log(max_distance / exact)
    wide = exact + (ratio.astype(np.float32) * (half - exact)).astype(np.int32)
    bucket = np.where(distance < exact, distance, np.minimum(wide, half - 1))
    return (bucket + np.where(ahead > 0, half, 0)).astype(np.int32)


class Block(nnx.Module):
    """x += attention(norm(x)); x += units(norm(x)); norms have no mean and products no bias.

    Logits of attention are not divided by the root of the heads' width: the published weights have that in them.
    """

    def __init__(self, model: config.T5Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.model, self.dtype = model, dtype
        width, inner = model.width, model.num_heads * model.head_dim
        self.attention_norm, self.mlp_norm = _scale(width), _scale(width)
        columns, rows = ("width", "head_columns"), ("head_columns", "width")
        self.query = _matrix(width, inner, columns, rngs, (width * model.head_dim) ** -0.5)
        self.key = _matrix(width, inner, columns, rngs)
        self.value = _matrix(width, inner, columns, rngs)
        self.out = _matrix(inner, width, rows, rngs)
        self.hidden = _matrix(width, model.mlp_width, ("width", "mlp"), rngs)
        gated = model.feed_forward == "gated-gelu"
        self.gate = _matrix(width, model.mlp_width, ("width", "mlp"), rngs) if gated else None
        self.mlp_out = _matrix(model.mlp_width, width, ("mlp", "width"), rngs)

    def __call__(self, x: jax.Array, bias: jax.Array) -> jax.Array:
        """[B, M, D] and what is added to the logits, float32 [B, H, M, M] -> [B, M, D]."""
        x = x + self._attended(_normed(x, self.attention_norm, self.model.norm_epsilon), bias)
        return x + self._units(_normed(x, self.mlp_norm, self.model.norm_epsilon))

    def _attended(self, x: jax.Array, bias: jax.Array) -> jax.Array:
        heads = (*x.shape[:2], self.model.num_heads, self.model.head_dim)
        query, key, value = (self._product(x, w).reshape(heads) for w in (self.query, self.key, self.value))
        logits = jnp.einsum("bqhk,bmhk->bhqm", query, key, preferred_element_type=jnp.float32) + bias
        shares = jax.nn.softmax(logits).astype(self.dtype)
        mixed = jnp.einsum("bhqm,bmhk->bqhk", shares, value)
        return self._product(mixed.reshape(*x.shape[:2], -1), self.out)

    def _units(self, x: jax.Array) -> jax.Array:
        hidden = self._product(x, self.hidden)
        if self.gate is None:
            return self._product(jax.nn.relu(hidden), self.mlp_out)
        gate = jax.nn.gelu(self._product(x, self.gate), approximate=True)
        return self._product(gate * hidden, self.mlp_out)

    def _product(self, x: jax.Array, matrix: nnx.Param) -> jax.Array:
        return x @ matrix[...].astype(self.dtype)


class T5Encoder(nnx.Module):
    """Tokens of a text -> a vector for each; the blocks are one with a leading [layers] axis, walked by a scan."""

    def __init__(self, model: config.T5Config, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        """Args:
        model: sizes.
        dtype: of activations; float16 is too narrow for the published weights, whose activations reach 66,000.
        rngs: initial parameters.
        """
        self.model, self.dtype = model, dtype

        @nnx.vmap(in_axes=0, out_axes=0)
        @nnx.transform_metadata(in_axes=0, out_axes=0, partition="layers")
        def make_all(key: jax.Array) -> Block:
            return Block(model, dtype=dtype, rngs=type(rngs)(key))

        self.tokens = tables.table(model.vocabulary, model.width, rngs, std=1.0)
        distances = nnx.initializers.normal(model.width**-0.5)(rngs.params(), (model.num_buckets, model.num_heads))
        self.distances = parameter(distances, EMBEDDING, (None, "heads"))
        self.layers = make_all(jax.random.split(rngs.params(), model.num_layers))
        self.norm = _scale(model.width)

    def __call__(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        """The vectors of each token in its text.

        Args:
          tokens: int32 [B, M], in the vocabulary.
          mask: bool [B, M], which of them there are; a row may have none.

        Returns:
          float32 [B, M, D]; 0 where there is no token.
        """
        near = buckets(tokens.shape[1], self.model.num_buckets, self.model.max_distance)
        bias = jnp.moveaxis(self.distances[...][near], -1, 0)[None]
        # The least finite number: a softmax over nothing but -inf, of a row without tokens, would be NaN.
        bias = bias + jnp.where(mask[:, None, None], 0.0, jnp.finfo(jnp.float32).min)
        x = self.tokens[...][tokens].astype(self.dtype)
        x, _ = jax.lax.scan(lambda x, layer: (layer(x, bias), None), x, self.layers)
        x = _normed(x, self.norm, self.model.norm_epsilon).astype(jnp.float32)
        return jnp.where(mask[..., None], x, 0.0)


def _scale(width: int) -> nnx.Param:
    return parameter(jnp.ones((width,)), NORM)


def _matrix(inputs: int, outputs: int, axes: tuple[str, str], rngs: nnx.Rngs, std: float | None = None) -> nnx.Param:
    """[inputs, outputs], normal; products keep the variance of what they are of unless `std` says otherwise."""
    values = nnx.initializers.normal(inputs**-0.5 if std is None else std)(rngs.params(), (inputs, outputs))
    return parameter(values, MATRIX, axes, inputs=(-2,), outputs=(-1,))


def _normed(x: jax.Array, scale: nnx.Param, epsilon: float) -> jax.Array:
    """x [..., D] over the root of its mean square (Zhang and Sennrich 2019), which is float32 whatever dtype x has."""
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + epsilon)
    return (wide * scale[...]).astype(x.dtype)

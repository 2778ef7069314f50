"""Long short-term memory (Hochreiter and Schmidhuber 1997; forget gates, Gers et al. 2000) in the place of attention.

Its cache is its state, of one size however long the past is.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn.parameters import BIAS, BOTH, MATRIX, parameter
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import kv_cache, weights

FORGET_BIAS = 1.0  # a new layer remembers (Jozefowicz et al. 2015, section 2.2)


class LSTM(nnx.Module):
    """As many units as the stream is wide. Gates, cell and sums are float32, products in the compute dtype.

    The gates lie in the order input, forget, candidate, output.
    """

    def __init__(
        self, settings: config.TransformerConfig, axis_rules: rules.AxisRules, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        width, self.rules, self.dtype = settings.width, axis_rules, dtype
        init, axes = nnx.initializers.normal(width**-0.5), ("width", None, "mlp")  # of inputs with variance 1
        # Four matrices each, one a gate.
        for name in ("input", "recurrent"):
            values = init(rngs.params(), (width, 4, width))
            setattr(self, name, parameter(values, MATRIX, axes, inputs=(-3,), outputs=(-1,), int8=BOTH))
        self.bias = parameter(jnp.zeros(4 * width).at[width : 2 * width].set(FORGET_BIAS), BIAS)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, kv_cache.StateCache]:
        """[B, T, D] -> ([B, T, D], the states behind each position)."""
        entering = weights.einsum("btd,dnh->btnh", x, self.input[...], self.dtype, jnp.float32) + self._biases()
        recurrent = self.recurrent[...]
        if not isinstance(recurrent, weights.QuantizedArray):
            # Collected and converted here, once, and not at every turn.
            recurrent = rules.constrain(recurrent.astype(self.dtype), self.rules, (None, None, "mlp"))

        def turn(state: tuple[jax.Array, jax.Array], entering: jax.Array) -> tuple:
            state = self._advanced(entering, *state, recurrent)
            return state, state

        shape = x.shape[0], x.shape[2]
        start = jnp.zeros(shape, self.dtype), jnp.zeros(shape, jnp.float32)
        states = jax.lax.scan(turn, start, jnp.swapaxes(entering, 0, 1))[1]
        hidden, cell = (jnp.swapaxes(part, 0, 1) for part in states)
        return hidden, kv_cache.StateCache(hidden, cell)

    def step(
        self, x: jax.Array, cache: kv_cache.StateCache, position: jax.Array
    ) -> tuple[jax.Array, kv_cache.StateCache]:
        """One position: [B, D] and the state before it, [B, 1, D] -> ([B, D], the state behind it)."""
        entering = weights.einsum("bd,dnh->bnh", x, self.input[...], self.dtype, jnp.float32) + self._biases()
        hidden, cell = self._advanced(entering, cache.hidden[:, 0], cache.cell[:, 0], self.recurrent[...])
        return hidden, kv_cache.StateCache(hidden[:, None], cell[:, None])

    def _biases(self) -> jax.Array:
        """[4, D]."""
        return self.bias[...].reshape(4, -1)

    def _advanced(
        self, entering: jax.Array, hidden: jax.Array, cell: jax.Array, recurrent: weights.Weight
    ) -> tuple[jax.Array, jax.Array]:
        """The next (hidden, cell) [B, D]; `entering` [B, 4, D] is the input's share of the gates."""
        gates = entering + weights.einsum("bd,dnh->bnh", hidden, recurrent, self.dtype, jnp.float32)
        gates = rules.constrain(gates, self.rules, ("batch", None, "mlp"))
        let_in, kept, let_out = (jax.nn.sigmoid(gates[:, gate]) for gate in (0, 1, 3))
        cell = kept * cell + let_in * jnp.tanh(gates[:, 2])
        hidden = (let_out * jnp.tanh(cell)).astype(self.dtype)
        return rules.constrain(hidden, self.rules, ("batch", "residual")), cell

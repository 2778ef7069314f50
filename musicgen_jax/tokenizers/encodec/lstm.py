"""Long short-term memory over frames (Hochreiter and Schmidhuber 1997; forget gates, Gers et al. 2000).

That of the composers (`transformer.recurrence`) is a layer of a stack that is sharded and rounded; this one is a stack
of its own, whose state can be carried from one stretch of audio to the next.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax.nn.parameters import BIAS, MATRIX, parameter

State = tuple[tuple[jax.Array, jax.Array], ...]  # (hidden, cell), float32 [B, D] each, of every layer


class LSTMLayer(nnx.Module):
    """As many units as the input is wide. The gates lie in the order input, forget, candidate, output."""

    def __init__(self, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.uniform(2 * width**-0.5)
        for name in ("input", "recurrent"):
            values = init(rngs.params(), (width, 4 * width), jnp.float32) - width**-0.5
            setattr(self, name, parameter(values, MATRIX, inputs=(-2,), outputs=(-1,)))
        self.bias = parameter(jnp.zeros(4 * width, jnp.float32), BIAS)
        self.dtype = dtype

    def __call__(
        self, x: jax.Array, state: tuple[jax.Array, jax.Array], kept: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """[B, T, D], the state before and bool [T] -> (hidden [B, T, D], the state behind); frames that are not kept
        pass the state on as it is."""
        # The input's share of all gates is one product; only the recurrent one has to wait for the step before.
        entering = (x @ self.input[...].astype(self.dtype)).astype(jnp.float32) + self.bias[...]
        recurrent = self.recurrent[...].astype(self.dtype)

        def turn(state: tuple[jax.Array, jax.Array], frame: tuple[jax.Array, jax.Array]) -> tuple:
            entering, kept = frame
            hidden, cell = state
            gates = entering + (hidden.astype(self.dtype) @ recurrent).astype(jnp.float32)
            let_in, forget, candidate, let_out = jnp.split(gates, 4, axis=-1)
            new_cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(let_in) * jnp.tanh(candidate)
            new_hidden = jax.nn.sigmoid(let_out) * jnp.tanh(new_cell)
            return (jnp.where(kept, new_hidden, hidden), jnp.where(kept, new_cell, cell)), new_hidden

        state, hidden = jax.lax.scan(turn, state, (entering.swapaxes(0, 1), kept))
        return hidden.swapaxes(0, 1).astype(self.dtype), state


class LSTM(nnx.Module):
    """Layers one after the other, and a path around all of them: x + LSTM(x)."""

    def __init__(self, width: int, num_layers: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.width = width
        self.layers = nnx.List([LSTMLayer(width, dtype=dtype, rngs=rngs) for _ in range(num_layers)])

    def start(self, batch_size: int) -> State:
        """The state before the first frame: zeros."""
        zeros = jnp.zeros((batch_size, self.width), jnp.float32)
        return tuple((zeros, zeros) for _ in self.layers)

    def __call__(
        self, x: jax.Array, state: State | None = None, kept: jax.Array | None = None
    ) -> tuple[jax.Array, State]:
        """[B, T, D] -> ([B, T, D], the state behind).

        Args:
          x: frames.
          state: before them; None at the beginning.
          kept: bool [T]: of frames that are not, neither output nor state knows anything; None keeps all.
        """
        states = self.start(x.shape[0]) if state is None else state
        kept = jnp.ones(x.shape[1], bool) if kept is None else kept
        hidden, behind = x, []
        for layer, before in zip(self.layers, states, strict=True):
            hidden, after = layer(hidden, before, kept)
            behind.append(after)
        return x + hidden, tuple(behind)

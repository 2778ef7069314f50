"""The token loop of one window, on the device: prefill once, then one cached step a code."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from musicgen_jax import modules
from musicgen_jax.prior import prior
from musicgen_jax.sampling import logits as logits_lib

Batch = dict[str, jax.Array]
SampleWindow = Callable[..., jax.Array]


@functools.lru_cache(maxsize=8)
def make_sample_window(functional: modules.Functional) -> SampleWindow:
    """Jitted `sample_window` of one prior; compiled once for all windows, lengths and settings of a batch size.

    The same object for the same prior, so that a second call in one process compiles nothing.

    Args:
      functional: of the prior.

    Returns:
      sample_window(weights, batch, known, stop, keys, offset, temperature, top_p, top_k) -> codes [B, context] int32,
      where `batch` holds the window's arrays as in `code_dataset.Windows.window`, its codes right in [0, known);
      [known, stop) are sampled and the rest stays. `keys` [B] are the samples' own keys and `offset` the window's
      start: code t of sample b is drawn with fold_in(keys[b], offset + t), whatever the batch or the windows.
    """

    @jax.jit
    def sample_window(weights, batch, known, stop, keys, offset, temperature, top_p, top_k) -> jax.Array:
        model: prior.Prior = functional.bind(*weights)
        condition = model.condition(batch)
        # In parallel over the whole window; what stands in the rows from `known` on is overwritten before it is read.
        caches = model.prefill(batch["codes"], condition)
        layers = model.stack.unstacked()
        draw = functools.partial(_draw, keys=keys, settings=(temperature, top_p, top_k))

        def body(position: jax.Array, carry: tuple) -> tuple:
            codes, caches = carry
            previous = codes[:, jnp.maximum(position - 1, 0)]
            step_logits, caches = model.step(layers, previous, condition[:, position], caches, position)
            return codes.at[:, position].set(draw(step_logits, offset + position)), caches

        codes, _ = jax.lax.fori_loop(known, stop, body, (batch["codes"], caches))
        return codes

    return sample_window


def _draw(step_logits: jax.Array, absolute_position: jax.Array, *, keys: jax.Array, settings: tuple) -> jax.Array:
    step_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, absolute_position)
    return logits_lib.sample(step_keys, step_logits, *settings)

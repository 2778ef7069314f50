"""The token loop of one window, on the device: prefill once, then one cached step for each step of the codes' pattern.

A step reads every weight and every cached row once. The rows are as many as attention can look back from where the loop
is: a ring of window + 1 where attention has a window; else the loop runs in stretches, each with more rows than the one
before, because a cache of the whole context costs the first code as much as the last.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import patterns
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import modules
from musicgen_jax.priors import prior
from musicgen_jax.sampling import logit_filters
from musicgen_jax.transformer import block, kv_cache
from musicgen_jax.transformer.weights import for_few_rows, matrices_as

Batch = dict[str, jax.Array]
NUM_STRETCHES, SHORTEST_STRETCH = 8, 512


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Fixed:
    """What the steps of one window read and do not change.

    Attributes:
      layers: the blocks one by one, their matrices in the compute dtype and laid out for a step's few rows: sliced from
        the stack or converted inside the loop, every step would copy all the weights.
      condition: of all positions; with guidance of 2 B rows, each row followed by the same without what guides.
    """

    layers: list[block.Block]
    condition: Condition


@functools.lru_cache(maxsize=8)
def make_sample_window(
    functional: modules.Functional, cache_dtype: str = "compute", guide_by: tuple[str, ...] = ("labels",)
) -> "SampleWindow":
    """The sampler of one prior; the same object for the same arguments, so that a second call compiles nothing.

    Args:
      functional: of the prior.
      cache_dtype: of `config.CACHE_DTYPES`.
      guide_by: the conditions that guidance compares with and without, if it is on.

    Raises:
      UserError: an unknown type of cache.
    """
    return SampleWindow(functional, cache_dtype, guide_by)


class SampleWindow:
    """Samples windows of one prior.

    Compiled once for all windows, lengths and settings of a batch size, with and without guidance apart; the loop once
    for each stretch of a long context.
    """

    def __init__(
        self, functional: modules.Functional, cache_dtype: str = "compute", guide_by: tuple[str, ...] = ("labels",)
    ):
        """Arguments and errors as of `make_sample_window`."""
        known = ", ".join(config.CACHE_DTYPES)
        config.require(cache_dtype in config.CACHE_DTYPES, f"cache_dtype={cache_dtype!r}: must be one of {known}")
        begin = functools.partial(_begin, functional, cache_dtype, guide_by)
        advance = functools.partial(_advance, functional)
        self._begin = jax.jit(begin, static_argnames=("guided", "length", "num_rows"))
        self._advance = jax.jit(advance, donate_argnames=("codes", "caches"))
        self._resize = jax.jit(functools.partial(_resize), static_argnames="num_rows")
        self._functional = functional

    def __call__(
        self,
        weights: tuple[modules.Tree, modules.Tree],
        batch: Batch,
        known: jax.typing.ArrayLike,
        stop: jax.typing.ArrayLike,
        keys: jax.Array,
        offset: jax.typing.ArrayLike,
        settings: logit_filters.Settings,
    ) -> jax.Array:
        """Codes of B windows, sampled together but each as if alone.

        Args:
          weights: of the prior.
          batch: the windows' arrays as in `code_dataset.Windows.window`; the codes of row b are right in [0, known[b]).
          known, stop: int32 [B]: the frames [known[b], stop[b]) are sampled, the rest stays.
          keys: [B], the samples' own. Code q of frame t of row b is drawn with fold_in(keys[b], n), n being its number
            in the track, (offset[b] + t) * Q + q, whatever the batch, the pattern or the windows.
          offset: int32 [B], start of the windows.
          settings: of the draws. With guidance, a step works on twice as many rows, unless the prior is told it
            (`PriorConfig.guided_by`).

        Returns:
          int32 [B, context, Q].
        """
        model: prior.Prior = self._functional.bind(*weights)
        pattern, transformer = model.pattern, model.config.transformer
        first, last = int(np.min(known)), int(np.max(stop)) - 1
        position, last = int(pattern.steps[first, 0]), int(pattern.steps[last, -1]) + 1
        guided = bool(np.any(np.asarray(settings.guidance) != 1))
        if model.config.guided_by:  # it is told, and needs no second row
            batch, guided = batch | {"guidance": jnp.asarray(settings.guidance, jnp.float32)}, False
        codes, fixed, caches = batch["codes"], None, None
        leading = model.num_leading(batch) - model.config.prefix  # which `cache_rows` counts
        for end, num_rows in stretches(model.config.num_steps, transformer.window, transformer.reads_all_rows):
            num_rows = num_rows if num_rows < end else model.config.cache_rows(end) + leading
            if position >= min(end, last):
                continue
            if fixed is None:
                fixed, caches = self._begin(weights, batch, position, guided=guided, length=end, num_rows=num_rows)
                codes = jnp.array(pattern.placed(codes, -1))  # a copy, which the loop may overwrite
            else:
                caches = self._resize(caches, num_rows=num_rows)
            until = min(end, last)
            draws = known, stop, keys, offset, settings
            codes, caches = self._advance(weights, fixed, draws, position, until, codes=codes, caches=caches)
            position = until
        return jnp.asarray(codes) if fixed is None else pattern.restored(codes)

    def num_programs(self) -> int:
        """How many programs have been compiled so far."""
        return sum(program._cache_size() for program in (self._begin, self._advance, self._resize))


def stretches(num_steps: int, window: int, reads_all_rows: bool = True) -> list[tuple[int, int]]:
    """(end, rows of the cache) of the stretches of a window's loop: the steps before step `end` need so many rows.

    Args:
      num_steps: of the window.
      window: how far attention looks back; 0 is everywhere.
      reads_all_rows: whether a step takes longer where the cache has more rows.
    """
    if window and window + 1 < num_steps:
        return [(num_steps, window + 1)]
    number = max(min(NUM_STRETCHES, num_steps // SHORTEST_STRETCH), 1) if reads_all_rows else 1
    ends = [-(-num_steps * part // number) for part in range(1, number + 1)]
    return [(end, end) for end in ends]


def _begin(
    functional: modules.Functional,
    cache_dtype: str,
    guide_by: tuple[str, ...],
    weights: tuple[modules.Tree, modules.Tree],
    batch: Batch,
    position: jax.Array,
    *,
    guided: bool,
    length: int,
    num_rows: int,
) -> tuple[Fixed, list[kv_cache.LayerCache]]:
    """Prepares a window: what the steps from `position` on read, and caches of `num_rows` rows with the codes before.

    Only the first `length` steps are looked at; the codes of steps from `position` on do not matter.
    """
    model: prior.Prior = functional.bind(*weights)
    hidden = {}
    if guided:
        batch = {name: jnp.repeat(x, 2, axis=0) for name, x in batch.items()}
        hidden = dict.fromkeys(guide_by, jnp.arange(batch["codes"].shape[0]) % 2 == 1)
    condition = model.condition(batch, hidden)

    def kept(cache: kv_cache.KVCache) -> kv_cache.Cache:
        cache = kv_cache.ring(cache, num_rows, model.num_leading(batch) + position)
        return kv_cache.quantized(cache) if cache_dtype == "int8" else cache

    def prefill() -> list[kv_cache.LayerCache]:
        return model.prefill(batch["codes"], condition, kept, length)

    def empty() -> list[kv_cache.LayerCache]:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(prefill))

    # What stands before the first code, or in a memory, is in the caches from the beginning.
    known = any(part is not None for part in (condition.prefix, condition.lead, condition.memory))
    caches = prefill() if known else jax.lax.cond(position > 0, prefill, empty)
    params, buffers = weights
    layers = functional.bind(for_few_rows(params, functional.declared), buffers).stack.unstacked()
    return Fixed(matrices_as(layers, model.dtype), condition), caches


def _advance(
    functional: modules.Functional,
    weights: tuple[modules.Tree, modules.Tree],
    fixed: Fixed,
    draws: tuple[Any, ...],
    position: jax.Array,
    until: jax.Array,
    *,
    codes: jax.Array,
    caches: list[kv_cache.LayerCache],
) -> tuple[jax.Array, list[kv_cache.LayerCache]]:
    """Samples the codes of the steps [position, until) of those rows where they are unknown.

    `codes` are laid out by steps, [B, S, Q], with -1 where a step has none of a codebook (`Pattern.placed`).
    """
    model: prior.Prior = functional.bind(*weights)
    _, _, keys, _, settings = draws
    places, codebook = _places(model.pattern, draws), model.pattern.codebook

    def body(position: jax.Array, carry: tuple) -> tuple:
        codes, caches = carry
        condition = fixed.condition.at(position)
        copies = condition.added.shape[0] // codes.shape[0]
        previous = jnp.where(position == 0, -1, _at(codes, jnp.maximum(position - 1, 0)))
        previous = jnp.repeat(previous, copies, axis=0)
        step_logits, caches = model.step(fixed.layers, previous, condition, caches, position)
        step_logits = step_logits.reshape(len(step_logits), codes.shape[-1], -1)
        if copies == 2:
            step_logits = guide(step_logits[0::2], step_logits[1::2], settings.guidance[:, None, None])
        step = step_logits, _at(codes, position), jax.tree.map(lambda x: _at(x, position), places)
        first = jnp.int32(0)
        if codebook is not None:  # draws for the others would be thrown away
            first = jnp.asarray(codebook)[position]
            step = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, 1, axis=1), step)
        step_logits, present, here = step
        row = jnp.where(here.unknown, _drawn(step_logits, keys, here, settings), present)
        return jax.lax.dynamic_update_slice(codes, row[:, None], (0, position, first)), caches

    return jax.lax.fori_loop(position, until, body, (codes, caches))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Places:
    """What the draws of the codes must know of their places; steps come before codebooks, as in `Pattern.placed`.

    Attributes:
      numbers: int32 [B, S, Q], of the codes in their tracks.
      unknown: bool [B, S, Q], whether they are to be drawn.
      temperature: float32 [B, S, Q].
    """

    numbers: jax.Array
    unknown: jax.Array
    temperature: jax.Array


def _places(pattern: patterns.Pattern, draws: tuple[Any, ...]) -> Places:
    """The places of all steps of a window: looked up once, and not at every step."""
    known, stop, _, offset, settings = draws
    num_frames, num_codebooks = pattern.steps.shape
    frames = jnp.arange(num_frames)[:, None]
    shape = len(known), num_frames, num_codebooks
    unknown = (known[:, None, None] <= frames) & (frames < stop[:, None, None])
    numbers = (offset[:, None, None] + frames) * num_codebooks + jnp.arange(num_codebooks)
    return Places(
        numbers=pattern.placed(numbers, 0),
        unknown=pattern.placed(jnp.broadcast_to(unknown, shape), False),
        temperature=pattern.placed(jnp.broadcast_to(settings.temperature[..., None], shape), 1),
    )


def _at(x: jax.Array, step: jax.Array) -> jax.Array:
    """[B, S, ...] -> [B, ...] of one step."""
    return jax.lax.dynamic_index_in_dim(x, step, axis=1, keepdims=False)


def _drawn(step_logits: jax.Array, keys: jax.Array, places: Places, settings: logit_filters.Settings) -> jax.Array:
    """Codes int32 [B, L] of one step, of the codebooks that it draws.

    Args:
      step_logits: float32 [B, L, K].
      keys: [B], the samples'.
      places: of these codes, [B, L] each.
      settings: of the draws.
    """
    num_rows, num_drawn, num_codes = step_logits.shape
    of_sample = [jnp.repeat(x, num_drawn) for x in (keys, settings.top_p, settings.top_k)]
    place_keys = jax.vmap(jax.random.fold_in)(of_sample[0], places.numbers.reshape(-1))
    columns = [x.reshape(-1, 1) for x in (places.temperature, *of_sample[1:])]
    drawn = logit_filters.sample(place_keys, step_logits.reshape(-1, num_codes), *columns)
    return drawn.reshape(num_rows, num_drawn)


def guide(told: jax.Array, untold: jax.Array, guidance: jax.Array) -> jax.Array:
    """Logits [B, Q, K] with and without some conditions -> untold + guidance * (told - untold).

    Classifier-free guidance (Ho & Salimans 2022) in logits: 0 ignores the conditions, 1 takes them as the data has
    them. The largest difference is subtracted from all, which changes no probability: however large the guidance, what
    overflows becomes -inf.
    """
    difference = told - untold
    return untold + guidance * (difference - jnp.max(difference, axis=-1, keepdims=True))


def _resize(caches: list[kv_cache.LayerCache], num_rows: int) -> list[kv_cache.LayerCache]:
    return [cache.with_own(functools.partial(kv_cache.resized, num_rows=num_rows)) for cache in caches]

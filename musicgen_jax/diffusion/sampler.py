"""Parallel sampling: every step of the network makes many codes known at once, whatever the length of the music.

`TrainedDiffusion.sample_codes` (diffusion/trained_diffusion.py) is how the rest of the package gets here.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import lyric_windows
from musicgen_jax.data.lyrics import Lyrics
from musicgen_jax.diffusion import denoiser, masking
from musicgen_jax.nn import modules
from musicgen_jax.priors import trained
from musicgen_jax.sampling import logit_filters, performed


@dataclasses.dataclass(frozen=True)
class Tracks:
    """What is known of the tracks to sample.

    Attributes:
      codes: int32 [N, T]; counted only where `known`.
      known: bool [N, T]: any mask. A prefix is continued, a gap is filled, all False starts from nothing.
      above: int32 [N, T / upsampling], codes of the tier above; None at the top.
      labels: int32 [N, L], indices in the config's vocabularies.
      length: codes of this tier in the whole piece, which the model is told; T or more.
      scores: what the tracks perform, track n piece n modulo their number.
      lyrics: what all of them sing; None where nobody knows.
    """

    codes: np.ndarray
    known: np.ndarray
    above: np.ndarray | None
    labels: np.ndarray
    length: int
    scores: performed.Scores | None = None
    lyrics: Lyrics | None = None


def sample_codes(
    model: trained.TrainedPrior,
    tracks: Tracks,
    keys: jax.Array,
    settings: "logit_filters.Settings",
    steps: int,
    *,
    position_order: str = "spread",
    batch_size: int = 64,
    progress: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """Codes of whole tracks; those that are known never change.

    Every window takes `steps` calls of the network, and the windows of `rounds` run as batches: below the top tier a
    track of any length takes 2 * steps sequential calls.

    Args:
      model: a denoiser.
      tracks: labels, the tier above and the known codes of N tracks.
      keys: PRNG keys [N]. The code at position t is drawn with fold_in(keys[n], t): a track depends on its own key
        alone, not on the others, the batch size or the number of tracks.
      settings: temperature float32 [N, T] by position in the track, top_p [N], top_k [N]; guidance [N] must be 1.
      steps: calls of the network for a window, at most its context; more of them give better codes.
      position_order: one of `masking.ORDERS`.
      batch_size: windows that run together; it changes the speed, not the result.
      progress: told how many codes were sampled, after every batch.

    Returns:
      int32 [N, T].

    Raises:
      UserError: steps out of range, an unknown order, or guidance other than 1.
    """
    check(model.config, steps, position_order)
    unguided = bool(np.all(np.asarray(settings.guidance) == 1))
    config.require(unguided, "`guidance`: the diffusion sampler has none; use 1")
    num_tracks, num_codes = tracks.codes.shape
    plan = rounds(num_codes, model.config.context, model.config.upsampling)
    unmask = make_unmask(model.functional, steps)
    by_code = {
        "codes": np.where(tracks.known, tracks.codes, 0).astype(np.int32),
        "known": tracks.known.copy(),
        "mask": np.ones(tracks.codes.shape, bool),
        "noise": np.asarray(_noise(keys, num_codes)),
        "priority": _priorities(keys, num_codes, position_order),
        "temperature": np.asarray(settings.temperature),
    }
    filters = np.asarray(settings.top_p), np.asarray(settings.top_k)
    size = min(batch_size, num_tracks * max(len(starts) for starts in plan))
    for starts in plan:
        places = _unknown(by_code["known"], starts, model.config.context)
        for first in range(0, len(places), size):
            chosen = places[first : first + size]
            # The last batch is filled by repetition, so that one program serves all.
            rows, begins = np.array(chosen + chosen[-1:] * (size - len(chosen)), np.int32).T
            batch = {name: _windows(x, rows, begins, model.config.context) for name, x in by_code.items()}
            batch |= _labels(model.config, tracks, rows, begins)
            sampled = unmask(model.weights, batch, *(x[rows] for x in filters))
            progress(_store(np.asarray(sampled), chosen, by_code["codes"], by_code["known"]))
    return by_code["codes"]


def check(model: config.PriorConfig, steps: int, position_order: str = "spread") -> None:
    """Raises UserError unless a window can be sampled in `steps` steps in that order."""
    config.require(
        1 <= steps <= model.context, f"`steps`={steps}: must be from 1 to the {model.context} codes of a window"
    )
    orders = ", ".join(masking.ORDERS)
    config.require(position_order in masking.ORDERS, f"position_order={position_order!r}: must be one of {orders}")


def rounds(num_codes: int, context: int, upsampling: int) -> list[list[int]]:
    """Starts of windows by round; windows of one round sample different codes and wait for those of the rounds before.

    Below the top tier, where the tier above says what the music is, first islands three quarters of a context apart,
    then bridges over the gaps, which see an eighth of a context of known codes on both sides: two rounds, any length,
    no seam that the model has not seen, and each code is computed 1.14 times. At the top one window after the other,
    each knowing half a context.

    Args:
      num_codes: of the track.
      context: codes of a window; a multiple of `upsampling`.
      upsampling: codes for one of the tier above, 0 at the top; window starts are multiples of it.
    """
    multiple = max(upsampling, 1)
    last = -(-max(num_codes - context, 0) // multiple) * multiple
    if last == 0:
        return [[0]]
    if not upsampling:
        hop = max(context // 2, 1)
        return [[min(start, last)] for start in range(0, last + hop, hop)]
    # None where a window is one code of the tier above: each of them then stands alone.
    overlap = min(max(context // 8 // multiple, 1) * multiple, context - multiple)
    period = 2 * (context - overlap)
    # The last bridge reaches the end itself where an island would have been too short to see anything.
    islands = [start for start in range(0, num_codes, period) if start == 0 or start + overlap < num_codes]
    bridges = [min(start + context - overlap, last) for start in islands if start + context < num_codes]
    return [islands, bridges] if bridges else [islands]


@functools.lru_cache(maxsize=16)
def make_unmask(functional: modules.Functional, steps: int) -> Callable[..., jax.Array]:
    """Jitted sampling of a batch of windows in `steps` calls of the network, compiled once for a number of steps.

    Args:
      functional: of the denoiser.
      steps: how many.

    Returns:
      unmask(weights, batch, top_p, top_k) -> codes int32 [B, T], where `batch` holds the window's arrays as in
      `code_dataset.Windows.window`, and by code, [B, T]: known, bool; noise, float32 in [0, 1), which decides the
      draws; priority, float32, see `masking`; temperature, float32. top_p float32 [B], top_k int32 [B].
    """

    @jax.jit
    def unmask(weights, batch, top_p, top_k) -> jax.Array:
        model: denoiser.Denoiser = functional.bind(*weights)
        known = batch["mask"] & batch["known"]
        num_codes, length = model.config.num_codes, known.shape[1]
        condition = model.condition(batch)
        unknown = batch["mask"] & ~known
        places = masking.positions_in_order(batch["priority"], unknown)
        bounds = masking.step_bounds(jnp.sum(unknown, axis=-1), steps, model.config.schedule)
        most = _most(length, steps, model.config.schedule)
        rows = jnp.arange(known.shape[0])[:, None]

        def body(step: jax.Array, codes: jax.Array) -> jax.Array:
            index = bounds[step][:, None] + jnp.arange(most)
            chosen = jnp.take_along_axis(places, jnp.minimum(index, length - 1), axis=1)
            hidden = model.run(codes[..., None], condition)
            # Only the codes of this step are predicted: over all steps, each of them once.
            step_logits = model.predict(hidden[rows, chosen])
            drawn = _drawn(step_logits, batch["noise"][rows, chosen], batch["temperature"][rows, chosen], top_p, top_k)
            inside = index < bounds[step + 1][:, None]
            return codes.at[rows, jnp.where(inside, chosen, length)].set(drawn, mode="drop")

        start = jnp.where(known, batch["codes"], num_codes)
        return jax.lax.fori_loop(0, steps, body, start)

    return unmask


def _most(total: int, steps: int, name: str) -> int:
    """The most codes that one step may have to draw, of `total` or fewer."""
    with jax.ensure_compile_time_eval():
        counts = masking.step_bounds(jnp.arange(total + 1), steps, name)
        return int(jnp.max(counts[1:] - counts[:-1]))


def _drawn(
    step_logits: jax.Array, noise: jax.Array, temperature: jax.Array, top_p: jax.Array, top_k: jax.Array
) -> jax.Array:
    """Codes int32 [B, N] from logits [B, N, K]: where the cumulative probabilities pass `noise` [B, N]."""
    batch, count, num_codes = step_logits.shape
    flat = step_logits.reshape(batch * count, num_codes)
    columns = [jnp.repeat(x, count)[:, None] for x in (top_p, top_k)]
    kept = logit_filters.filtered(flat, temperature.reshape(-1, 1), *columns)
    cumulative = jnp.cumsum(jax.nn.softmax(kept, axis=-1), axis=-1)
    passed = cumulative <= noise.reshape(-1, 1) * cumulative[:, -1:]
    return jnp.sum(passed, axis=-1).astype(jnp.int32).reshape(batch, count)


@functools.partial(jax.jit, static_argnums=1)
def _noise(keys: jax.Array, num_codes: int) -> jax.Array:
    """float32 [N, T] in [0, 1), each from its track's key and its position."""
    each = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), in_axes=(0, None))(keys, jnp.arange(num_codes))
    return jax.vmap(jax.vmap(jax.random.uniform))(each)


def _priorities(keys: jax.Array, num_codes: int, position_order: str) -> np.ndarray:
    """In which order the codes of each track become known, smallest first: float32 [N, T]."""
    if position_order == "random":
        return np.asarray(_noise(jax.vmap(lambda key: jax.random.fold_in(key, num_codes))(keys), num_codes))
    return np.broadcast_to(masking.spread(np.arange(num_codes)), (keys.shape[0], num_codes))


def _windows(x: np.ndarray, rows: np.ndarray, begins: np.ndarray, size: int) -> np.ndarray:
    """[N, T] -> [B, size]: of each row the part from its beginning on, with zeros behind the end."""
    padded = np.pad(x, ((0, 0), (0, size)))
    return padded[rows[:, None], begins[:, None] + np.arange(size)]


def _labels(model: config.PriorConfig, tracks: Tracks, rows: np.ndarray, begins: np.ndarray) -> dict[str, np.ndarray]:
    batch = {
        "labels": tracks.labels[rows].astype(np.int32),
        "start": begins,
        "length": np.full(len(rows), tracks.length, np.int32),
    }
    if model.upsampling:
        size = model.context // model.upsampling
        batch["above"] = _windows(tracks.above, rows, begins // model.upsampling, size)[..., None]
    if model.lyrics:
        seconds = begins / model.codes_per_second
        batch |= lyric_windows.of_windows(model, [tracks.lyrics] * len(rows), seconds)
    return batch | performed.of_windows(model, tracks.scores, rows, begins)


def _unknown(known: np.ndarray, starts: list[int], size: int) -> list[tuple[int, int]]:
    """(row, start) of the windows that have anything to draw; known is bool [N, T]."""
    return [(row, start) for start in starts for row in range(len(known)) if not known[row, start:][:size].all()]


def _store(sampled: np.ndarray, chosen: list[tuple[int, int]], codes: np.ndarray, known: np.ndarray) -> int:
    """Puts windows into the tracks and marks them known; returns how many codes were not known before."""
    before = int(known.sum())
    for window, (row, start) in zip(sampled, chosen, strict=False):
        part = slice(start, start + len(window))
        codes[row, part] = window[: len(codes[row, part])]
        known[row, part] = True
    return int(known.sum()) - before

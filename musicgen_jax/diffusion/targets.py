"""What a distilled model learns: windows with masks, and for every masked code the teacher's probabilities or the code.

The student q(x_t | known codes) is to be the teacher's own conditional. With codes x drawn from the teacher, the
cross-entropy of the code itself is least where q(x_t | known) = p(x_t | known), whatever the mask. The autoregressive
teacher's p(x_t | x_<t) may stand in for the code where *no code behind t is known*: then x_<t given the known codes is
distributed as the teacher draws it, and

    E[p(. | x_<t) | known] = p(x_t = . | known)

(the law of total probability): the same optimum, with all the noise of the drawn code taken out of the target. Where a
later code is known it is not: that code is evidence about x_t which p(x_t | x_<t) has not seen, and the code itself
remains the only exact target. So masks are drawn of which a part knows nothing behind some place.

A denoiser as the teacher of a round by steps (progressive distillation, Salimans and Ho 2022; for masked models
Deschenaux and Gulcehre 2024, self-distillation through time) takes two steps where its student takes one: the codes of
its first step are predicted from what the student sees, those of its second from these codes as well. In the order
"spread" two of its steps make known just the codes of one of the student's. A step's codes are drawn independently, so
the best that the student can do is the mean of these predictions: there the divergence from the teacher is least.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from musicgen_jax.diffusion import denoiser, masking
from musicgen_jax.priors import loss, prior

Batch = dict[str, jax.Array]


def prior_targets(teacher: prior.Prior, batch: Batch, key: jax.Array) -> Batch:
    """The batch with masks of many kinds and an autoregressive teacher's predictions.

    Args:
      teacher: the prior.
      batch: as `code_dataset.Windows.window` gives it, with a leading [B].
      key: of the masks.

    Returns:
      `batch` with "noised" int32 [B, T, 1], the student's input; "hard" and "soft" float32 [B, T], weights of the code
      and of the teacher's probabilities, one of them 0 and both where the code is known; "taught" [B, T, D], which the
      teacher's `predict` turns into logits. A window's weights sum to its number of codes.
    """
    known = draw_known(key, batch["mask"], batch["start"])
    unknown = batch["mask"] & ~known
    soft = unknown & behind_all_known(known)
    return batch | {
        "noised": masking.masked_codes(batch["codes"], known, teacher.config.num_codes),
        "soft": soft * _weight(unknown, batch["mask"]),
        "hard": (unknown & ~soft) * _weight(unknown, batch["mask"]),
        "taught": teacher.hidden(batch),
    }


def step_targets(teacher: denoiser.Denoiser, batch: Batch, key: jax.Array, steps: int, soft_share: float) -> Batch:
    """The batch before one of `steps` steps of the sampler, and the predictions of a teacher that takes two.

    Args:
      teacher: the denoiser of the round before.
      batch: as `code_dataset.Windows.window` gives it, with a leading [B].
      key: of the masks.
      steps: of the sampler.
      soft_share: weight of the teacher's probabilities; the rest is that of the codes.

    Returns:
      As `prior_targets`; codes of later steps have no weight, and no code where a step has none to draw.
    """
    exists, num_codes = batch["mask"], teacher.config.num_codes
    region_key, step_key = jax.random.split(key)
    among = exists & _region(region_key, exists, jnp.arange(exists.shape[0]) % 2 == 1)
    place = masking.ranks(_spread(batch["start"], exists), among)
    count = jnp.sum(among, axis=-1)
    bounds, of_teacher = (masking.step_bounds(count, n, teacher.config.schedule) for n in (steps, 2 * steps))
    step = (jax.random.randint(step_key, (), 0, steps) + jnp.arange(exists.shape[0])) % steps
    first, stop = (jnp.take_along_axis(bounds, step[None] + i, axis=0)[0][:, None] for i in range(2))
    middle = jnp.take_along_axis(of_teacher, 2 * step[None] + 1, axis=0)[0][:, None]
    # A step makes at least one code known, so that two of the teacher's may make more so than one of the student's.
    middle = jnp.clip(middle, first, stop)
    known = exists & (~among | (place < first))
    first_half = among & (first <= place) & (place < middle)
    both = among & (first <= place) & (place < stop)
    noised, between = (masking.masked_codes(batch["codes"], x, num_codes) for x in (known, known | first_half))
    taught = [teacher.hidden(batch | {"codes": codes}) for codes in (noised, between)]
    weight = both * _weight(both, exists)
    return batch | {
        "noised": noised,
        "soft": soft_share * weight,
        "hard": (1 - soft_share) * weight,
        "taught": jnp.where(first_half[..., None], *taught),
    }


def behind_all_known(known: jax.Array) -> jax.Array:
    """Places behind which no code is known, where an autoregressive teacher's probabilities are exact: bool [B, T]."""
    places = jnp.arange(known.shape[-1])
    return places > jnp.max(jnp.where(known, places, -1), axis=-1, keepdims=True)


def draw_known(key: jax.Array, exists: jax.Array, start: jax.Array) -> jax.Array:
    """Which codes are known, bool [B, T], any number of them. Four kinds of masks take turns over the rows:

    any codes; those that the sampler has made known after some steps; the same inside a stretch, all codes around it
    being known; any codes up to a place, behind which none is.

    Args:
      key: of the step.
      exists: bool [B, T].
      start: int32 [B], position of the window in its track.
    """
    turn_key, random_key, region_key, time_key, cut_key = jax.random.split(key, 5)
    rows, length = exists.shape
    kind = (jax.random.randint(turn_key, (), 0, 4) + jnp.arange(rows)) % 4
    among = exists & _region(region_key, exists, kind == 2)
    by_sampler = ((kind == 1) | (kind == 2))[:, None]
    priority = jnp.where(by_sampler, _spread(start, exists), jax.random.uniform(random_key, exists.shape))
    count = jnp.sum(among, axis=-1)
    num_masked = jnp.clip(jnp.ceil(masking.stratified_times(time_key, rows) * count), 1, jnp.maximum(count, 1))
    masked = among & (masking.ranks(priority, among) >= (count - num_masked)[:, None])
    cut = jnp.where(kind == 3, jax.random.randint(cut_key, (rows,), 0, length), length)
    return exists & ~masked & (jnp.arange(length) < cut[:, None])


def distillation_loss(
    model: denoiser.Denoiser, batch: Batch, key: jax.Array | None, predict_taught: Callable[[jax.Array], jax.Array]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over codes of weighted cross-entropies of the codes and divergences from the teacher, and metrics.

    Args:
      model: the student.
      batch: from `prior_targets` or `step_targets`.
      key: of dropout.
      predict_taught: "taught" [B, T, D] -> the teacher's logits [B, T, K].

    Returns:
      (loss, {"hard_nats", "divergence"}), these two being means over the weights of their own codes.
    """
    predict = model.predictor()

    def sums(part: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        hidden, codes, hard, soft, taught = part
        logits = predict(hidden)
        wanted = jax.nn.log_softmax(predict_taught(taught))
        divergence = jnp.sum(jnp.exp(wanted) * (wanted - jax.nn.log_softmax(logits)), axis=-1)
        return jnp.sum(loss.code_losses(logits, codes[..., 0]) * hard), jnp.sum(divergence * soft)

    hidden = model.hidden(batch | {"codes": batch["noised"]}, key)
    whole = (hidden, *(batch[name] for name in ("codes", "hard", "soft", "taught")))
    nats, divergence = loss.sum_over_chunks(sums, whole, model.config.loss_chunk)
    means = {
        "hard_nats": nats / jnp.maximum(jnp.sum(batch["hard"]), 1e-6),
        "divergence": divergence / jnp.maximum(jnp.sum(batch["soft"]), 1e-6),
    }
    return (nats + divergence) / jnp.maximum(loss.num_losses(batch), 1.0), means


def _region(key: jax.Array, exists: jax.Array, inside: jax.Array) -> jax.Array:
    """bool [B, T]: a random stretch of the rows bool [B] that are chosen, a quarter or more; all of the others."""
    rows, length = exists.shape
    shortest = length // 4
    low, high = jnp.sort(jax.random.randint(key, (2, rows, 1), 0, length + 1), axis=0)
    low = jnp.minimum(low, length - shortest)
    places = jnp.arange(length)
    stretch = (low <= places) & (places < jnp.maximum(high, low + shortest))
    return jnp.where(inside[:, None], stretch, True)


def _spread(start: jax.Array, exists: jax.Array) -> jax.Array:
    return masking.spread(start[:, None] + jnp.arange(exists.shape[1]))


def _weight(counted: jax.Array, exists: jax.Array) -> jax.Array:
    """float32 [B, 1]: codes of the window over codes that are counted."""
    number = jnp.sum(counted, axis=-1, keepdims=True)
    return jnp.sum(exists, axis=-1, keepdims=True) / jnp.maximum(number, 1)

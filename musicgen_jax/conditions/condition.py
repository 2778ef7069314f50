"""What a model is told besides the codes: what each condition gives, and all of them together."""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Condition:
    """What a model knows of a window besides its codes. A part that is None is not there.

    Attributes:
      added: [B, T, D], or [B, 1, D] where it is the same at every position: part of the stack's input.
      memory: [B, M, D], what cross-attention reads.
      memory_mask: bool [B, M], what exists of the memory; None is all of it.
      lead: [B, L, D], positions of the sequence before the codes, as vectors.
      start: [B, D], stands before the first token instead of the model's own vector.
      prefix: int32 [B, L], tokens of the sequence before the codes.
    """

    added: jax.Array | None = None
    memory: jax.Array | None = None
    memory_mask: jax.Array | None = None
    lead: jax.Array | None = None
    start: jax.Array | None = None
    prefix: jax.Array | None = None

    def at(self, position: jax.Array) -> "Condition":
        """That of one position: `added` [B, D]; the memory is in the caches already."""
        added = jax.lax.dynamic_index_in_dim(self.added, position, axis=1, keepdims=False)
        return dataclasses.replace(self, added=added, memory=None, memory_mask=None)


def joined(parts: Iterable[Condition], length: int, dtype: jnp.dtype) -> Condition:
    """All conditions as one: the sum of what is added, [B, length, D] in `dtype`, and the memories one after another.

    Where one part is narrower than the sum so far, the sum takes its dtype. One of them may have a lead, a start or a
    prefix.
    """
    whole, memories = Condition(), []
    for part in parts:
        if part.added is not None:
            added = part.added if whole.added is None else whole.added.astype(part.added.dtype) + part.added
            whole = dataclasses.replace(whole, added=added)
        memories += [part] if part.memory is not None else []
        once = {name: value for name in ("lead", "start", "prefix") if (value := getattr(part, name)) is not None}
        whole = dataclasses.replace(whole, **once)
    added = jnp.broadcast_to(whole.added, (len(whole.added), length, whole.added.shape[-1])).astype(dtype)
    return dataclasses.replace(whole, added=added, **_one_after_another(memories, dtype))


def _one_after_another(parts: list[Condition], dtype: jnp.dtype) -> dict[str, jax.Array]:
    """`memory` and `memory_mask` of all parts; no mask where all of each exists."""
    if not parts:
        return {}
    memory = jnp.concatenate([part.memory.astype(dtype) for part in parts], axis=1)
    if all(part.memory_mask is None for part in parts):
        return {"memory": memory}
    masks = [jnp.ones(p.memory.shape[:2], bool) if p.memory_mask is None else p.memory_mask for p in parts]
    return {"memory": memory, "memory_mask": jnp.concatenate(masks, axis=1)}


def hidden_rows(key: jax.Array, size: int, shares: Mapping[str, float], streams: Mapping[str, int]) -> dict:
    """Which windows of a training batch are not told something, for classifier-free guidance (Ho and Salimans 2022).

    Args:
      key: of the step.
      size: B.
      shares: condition -> how many of the windows it is hidden from.
      streams: condition -> number of its random stream, so that each is hidden by itself.

    Returns:
      {condition: bool [B]} of those whose share is not 0.
    """
    return {
        name: jax.random.bernoulli(jax.random.fold_in(key, streams[name]), share, (size,))
        for name, share in shares.items()
        if share
    }


def instead(hidden: jax.Array | None, null: jax.Array | None, added: jax.Array) -> jax.Array:
    """`added` [B, T, D] with the trained vector `null` [D] in the rows where `hidden`, bool [B] or None for nowhere."""
    if hidden is None:
        return added
    return jnp.where(hidden[:, None, None], null.astype(added.dtype), added)

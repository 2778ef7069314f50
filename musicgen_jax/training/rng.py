"""Random keys as a function of (seed, stream, step), so that nothing random needs to be checkpointed."""

import zlib

import jax


def key(seed: int, stream: str, step: int | jax.Array = 0) -> jax.Array:
    """Typed PRNG key; equal arguments give equal keys on every host and after every restart.

    Args:
      seed: of the run.
      stream: what the randomness is for ("init", "train", ...); its CRC-32 is folded in.
      step: update number; may be traced.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode())), step)

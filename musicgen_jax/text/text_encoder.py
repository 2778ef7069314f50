"""Texts -> vectors: vocabulary and T5's encoder together."""

import functools
import hashlib
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.text import t5, tokens

ROWS = 16  # texts encoded together; fewer are filled up to a power of two
STEP = 16  # and tokens to a multiple of this, so that few programs are compiled


def functional(model: config.T5Config, dtype: jnp.dtype = jnp.float32) -> modules.Functional:
    """T5's encoder as pure functions."""
    return modules.Functional(lambda rngs: t5.T5Encoder(model, dtype=dtype, rngs=rngs))


def read_vocabulary(workdir: str) -> tokens.Vocabulary:
    """The vocabulary in the workdir of an encoder. Raises as `tokens.Vocabulary`."""
    return tokens.Vocabulary(pathlib.Path(workdir) / tokens.FILE_NAME)


class TextEncoder:
    """Encodes texts with T5, on one device.

    Attributes:
      config: of the encoder.
      width: W, numbers of a vector.
    """

    def __init__(
        self,
        model: config.T5Config,
        weights: tuple[modules.Tree, modules.Tree],
        vocabulary: tokens.Vocabulary | None = None,
        dtype: jnp.dtype = jnp.float32,
    ):
        """Args:
        model: sizes.
        weights: (parameters, buffers).
        vocabulary: what `encode` reads text with; a folder's is added by `with_vocabulary`.
        dtype: of activations, see `t5.T5Encoder`.

        Raises:
          UserError: the vocabulary has more pieces than the encoder has vectors for.
        """
        self.config, self.width, self._weights, self._vocabulary = model, model.width, weights, vocabulary
        self._functional, self._dtype = functional(model, dtype), dtype
        fits = vocabulary is None or vocabulary.size <= model.vocabulary
        rule = f"has more pieces than the {model.vocabulary} that the encoder knows: they are not of the same model"
        config.require(fits, f"{vocabulary} {rule}")

    def with_vocabulary(self, vocabulary: tokens.Vocabulary) -> "TextEncoder":
        """The encoder with what it reads text with. Raises UserError where they do not fit together."""
        return TextEncoder(self.config, self._weights, vocabulary, self._dtype)

    @property
    def params(self) -> modules.Tree:
        """Its parameters."""
        return self._weights[0]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of all weights and of the vocabulary, 16 characters: vectors of different encoders do not mix."""
        own = modules.fingerprint(*self._weights) + self._vocabulary.digest
        return hashlib.sha256(own.encode()).hexdigest()[:16]

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of the tokens of N texts, none of which is cut.

        Returns:
          (float32 [N, M, W], bool [N, M]): M tokens of the longest, at least one; where the second is False there is
          no token and the vector is 0. Of an empty text there is none.

        Raises:
          UserError: a text is too long.
        """
        rows = [self._vocabulary.numbers(text) for text in texts]
        longest = max([1, *map(len, rows)])
        states = np.zeros((len(rows), longest, self.width), np.float32)
        mask = tokens.padded(rows, longest)[1]
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))  # texts of about a length go together
        for first in range(0, len(order), ROWS):
            taken = order[first : first + ROWS]
            length = len(rows[taken[-1]])
            if length:
                states[taken, :length] = self._encoded([rows[row] for row in taken], length)
        return states, mask

    def _encoded(self, rows: list[list[int]], length: int) -> np.ndarray:
        """Vectors [N, length, W] of at most `ROWS` texts; what fills up their program is not in them."""
        empty = [[]] * ((1 << (len(rows) - 1).bit_length()) - len(rows))
        batch = tokens.padded([*rows, *empty], -(-length // STEP) * STEP)
        return np.asarray(self._run(self._weights, *batch))[: len(rows), :length]

    @functools.cached_property
    def _run(self) -> "jax.stages.Wrapped":
        # Arguments, not closed-over constants: otherwise the weights would be compiled into the program.
        return jax.jit(lambda weights, numbers, mask: self._functional.bind(*weights)(numbers, mask))

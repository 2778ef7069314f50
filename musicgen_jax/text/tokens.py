"""Text as numbers: pieces of a vocabulary that sentencepiece reads from T5's spiece.model."""

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.runtime import buckets, files
from musicgen_jax.runtime.errors import NotFoundError, UserError

FILE_NAME = "spiece.model"
END = 1  # the token behind every text: sentencepiece does not add it by itself
MAX_TOKENS = 2048  # of a text; memory grows with the square
REMEDY = "it lies beside the published weights: copy it there"


class Vocabulary:
    """The pieces of text that an encoder knows.

    Attributes:
      size: how many.
      digest: of the file, hexadecimal.
    """

    def __init__(self, path: pathlib.Path):
        """Raises NotFoundError where there is no such file, UserError where it is no vocabulary of T5's."""
        self._path, self._processor = path, _read(path)
        self.size = self._processor.vocab_size()
        self.digest = hashlib.sha256(self._processor.serialized_model_proto()).hexdigest()
        found = self._processor.eos_id()
        config.require(found == END, f"{path}: the end of a text is token {found}, and T5's is {END}: {REMEDY}")

    def __str__(self) -> str:
        return str(self._path)

    def numbers(self, text: str) -> list[int]:
        """The tokens of a text and the one that ends it; none of a text that has no letter.

        Raises:
          UserError: there are more than `MAX_TOKENS`.
        """
        if not text.strip():
            return []
        found = [*self._processor.encode(text), END]
        config.require(
            len(found) <= MAX_TOKENS,
            f"a text of {len(text)} characters, {text[:40]!r}..., has {len(found)} tokens, of at most {MAX_TOKENS}: "
            "say it shorter",
        )
        return found


def padded(rows: Sequence[Sequence[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of N texts -> (int32 [N, length] with 0 behind each, bool [N, length]: which there are)."""
    tokens, mask = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), bool)
    for row, numbers in enumerate(rows):
        tokens[row, : len(numbers)], mask[row, : len(numbers)] = numbers, True
    return tokens, mask


def _read(path: pathlib.Path) -> Any:
    if not pathlib.Path(buckets.fetched(path)).is_file():
        raise NotFoundError(f"no such file: {path}, the vocabulary of the text encoder; {REMEDY}")
    try:
        import sentencepiece
    except ImportError as error:
        raise UserError(
            f"{path}: text needs sentencepiece, which is not installed: pip install 'musicgen_jax[text]'"
        ) from error
    with files.reading(path, f"it is no vocabulary of sentencepiece; {REMEDY}"):
        return sentencepiece.SentencePieceProcessor(model_file=str(path))

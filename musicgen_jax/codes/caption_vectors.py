"""Vectors of the captions of code shards, as a text encoder makes them: once each, and none in training.

CODES/captions/FINGERPRINT/ has vectors.bin, the vectors of all texts one behind the other, float16 [N, W], and
texts.json: which are whose. 10,000 captions of 30 tokens, by an encoder of width 768, take 460 MB of disk; readers map
the file, so that all processes of a machine share what of it they read. float16 rounds by 1 in 2048 at most, bfloat16
would by eight times as much.
"""

import contextlib
import functools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import code_shards
from musicgen_jax.runtime import console, files, records
from musicgen_jax.runtime.errors import NotFoundError, UserError

FOLDER, VECTORS, TEXTS = "captions", "vectors.bin", "texts.json"
BATCH = 64  # texts encoded between two writes
STORED = np.float16
REMEDY = "remove that folder and train with --text_encoder=DIR, which makes it anew"


class TextEncoder(Protocol):
    """What makes vectors of texts: `text.text_encoder.TextEncoder` does."""

    width: int
    fingerprint: str

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """N texts -> (float32 [N, M, W], bool [N, M]: which of them are of the text)."""
        ...


def write(directory: str, encoder: TextEncoder) -> str:
    """Makes the vectors of all that models may be told of the tracks in words, unless they are there.

    Args:
      directory: of code shards.
      encoder: of the texts; memory holds the vectors of `BATCH` of them.

    Returns:
      The encoder's fingerprint, which names them.

    Raises:
      NotFoundError: no codes in `directory`.
      UserError: a caption is too long for the encoder.
    """
    place = pathlib.Path(directory) / FOLDER / encoder.fingerprint
    texts = sorted({text for entry in code_shards.read_index(directory) for text in entry.texts if text})
    with contextlib.suppress(UserError):  # none yet, or damaged
        if set(texts) <= set(_read_texts(place)[1]):
            return encoder.fingerprint
    console.say(f"vectors of {len(texts)} captions, by the text encoder {encoder.fingerprint}: once for these codes")
    found: dict[str, tuple[int, int]] = {}
    place.mkdir(parents=True, exist_ok=True)
    (place / TEXTS).unlink(missing_ok=True)
    with files.replaced(place / VECTORS) as file:
        for text, vectors in _encoded(texts, encoder):
            found[text] = file.tell() // (STORED().itemsize * encoder.width), len(vectors)
            file.write(vectors.tobytes())
    files.write_json(place / TEXTS, {"width": encoder.width, "texts": found})  # last: without it there are none
    return encoder.fingerprint


def _encoded(texts: Sequence[str], encoder: TextEncoder) -> Iterator[tuple[str, np.ndarray]]:
    largest = np.finfo(STORED).max
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        for text, states, mask in zip(batch, *encoder.encode(batch), strict=True):
            yield text, np.clip(states[mask], -largest, largest).astype(STORED)


def resolve(model: config.PriorConfig, directory: str, train: Iterable[code_shards.TrackEntry]) -> dict[str, object]:
    """The fields `text_encoder`, `text_width` and `text_tokens` of a model that is told the captions of these codes.

    Raises:
      NotFoundError: no encoder of this name has made their vectors.
      UserError: no training track has a caption or a label; or nobody says which encoder is meant.
    """
    rule = "or train without: --config.model.text=false"
    worded = any(text for entry in train for text in entry.texts)
    config.require(
        worded,
        f"{directory} has no captions of its training tracks, and no labels to make some of: prepare recordings with "
        f".caption.txt or .json files beside them and extract the codes again, {rule}",
    )
    name = model.text_encoder
    if not name:
        known = sorted(path.parent.name for path in (pathlib.Path(directory) / FOLDER).glob(f"*/{TEXTS}"))
        listing = f" (there are those of {', '.join(known)})" if known else ""
        config.require(
            len(known) == 1,
            f"`text_encoder`: whose vectors of the captions{listing}? Pass the folder of a text encoder, as "
            f"convert --source=t5 writes it, {rule}",
        )
        name = known[0]
    vectors = Vectors(directory, name)
    return {"text_encoder": name, "text_width": vectors.width, "text_tokens": vectors.longest}


class Vectors:
    """What `write` wrote; picklable, each process maps the file for itself.

    Attributes:
      width: W.
      longest: vectors of the longest text.
    """

    def __init__(self, directory: str, fingerprint: str):
        """Raises NotFoundError where this encoder has made none, UserError where they are damaged."""
        self._place = pathlib.Path(directory) / FOLDER / fingerprint
        self.width, self._places = _read_texts(self._place)
        self.longest = max([1, *(count for _, count in self._places.values())])

    def of(self, text: str, size: int) -> dict[str, np.ndarray]:
        """What a model is told of a text: "text" float32 [size, W], 0 behind its end, and "text_mask" bool [size].

        Raises:
          UserError: it is none of the texts.
        """
        told, mask = np.zeros((size, self.width), np.float32), np.zeros(size, bool)
        if text:
            config.require(text in self._places, f"{self._place} has no vectors of {text[:60]!r}: {REMEDY}")
            first, count = self._places[text]
            told[:count], mask[:count] = self._vectors[first : first + count], True
        return {"text": told, "text_mask": mask}

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_vectors"}

    @functools.cached_property
    def _vectors(self) -> np.ndarray:
        with files.reading(self._place / VECTORS, REMEDY):
            return np.memmap(self._place / VECTORS, STORED, "r").reshape(-1, self.width)


def _read_texts(place: pathlib.Path) -> tuple[int, dict[str, tuple[int, int]]]:
    """(width, {text: (its first vector, how many)}). Raises as `Vectors`."""
    path = place / TEXTS
    if not path.is_file():
        raise NotFoundError(f"no vectors of captions in {place}: train with --text_encoder=DIR, which makes them")
    values = files.read_json(path)
    width = records.check(int, values.get("width"), f"{path}: width")
    texts = records.check(dict[str, tuple[int, int]], values.get("texts"), f"{path}: texts")
    size = (place / VECTORS).stat().st_size if (place / VECTORS).is_file() else -1
    total = sum(count for _, count in texts.values())
    ends = all(0 <= first <= first + count <= total for first, count in texts.values())
    config.require(width > 0 and ends and size == total * width * STORED().itemsize, f"{place} is damaged: {REMEDY}")
    return width, texts

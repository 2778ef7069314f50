"""Lyrics as a model reads them: the characters around a window, by their numbers in its vocabulary."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from musicgen_jax import config
from musicgen_jax.data import lyric_facts
from musicgen_jax.data.lyric_facts import LyricFacts
from musicgen_jax.data.lyrics import Lyrics, folded
from musicgen_jax.scores import excerpts

MAX_VOCABULARY = 4096  # characters; an alphabet has some dozens, and the most frequent of a Chinese text are as many
MAX_TOKENS = 2048  # of a window, whatever the data has
OTHER_SHARE = 0.01  # of the characters of a training window that are taken for unknown, so that a model has seen those


def vocabulary(tracks: Iterable[LyricFacts]) -> tuple[str, ...]:
    """The characters that most of the tracks have, sorted."""
    counts = Counter(character for track in tracks for character in track.characters)
    most = sorted(counts, key=lambda character: (-counts[character], character))[:MAX_VOCABULARY]
    return tuple(sorted(most))


def num_tokens(tracks: Iterable[LyricFacts], model: config.PriorConfig) -> int:
    """Characters that any window of these tracks has, and those that it is told before and behind itself."""
    seconds = model.context / model.codes_per_second + 2 * model.lyrics_margin
    return min(excerpts.rows_for((track.crowds for track in tracks), seconds), MAX_TOKENS)


def stretch(model: config.PriorConfig, begin: float) -> tuple[float, float]:
    """Seconds from which and up to which a window that begins at second `begin` is told the words."""
    return begin - model.lyrics_margin, begin + model.context / model.codes_per_second + model.lyrics_margin


def window(model: config.PriorConfig, lyrics: Lyrics | None, begin: float, size: int) -> dict[str, np.ndarray]:
    """What the condition `lyrics` reads of one window.

    Args:
      model: whose vocabulary it is.
      lyrics: with times in seconds of the track; None where nobody knows them.
      begin: second of the track at which the window begins.
      size: M; of more characters those next to the middle of the window are told.

    Returns:
      "lyrics" int32 [M], "lyric_times" float32 [M], "worded" bool; see `conditions.lyrics.Lyrics`.
    """
    numbers, times = np.full(size, -1, np.int32), np.zeros(size, np.float32)
    if lyrics is not None:
        told = lyrics.within(*stretch(model, begin))
        middle = np.searchsorted(told.times, begin + model.context / model.codes_per_second / 2)
        first = int(np.clip(middle - size // 2, 0, max(len(told) - size, 0)))
        text = folded(told.text)[first : first + size]
        known = {character: number for number, character in enumerate(model.characters, 1)}
        numbers[: len(text)] = [known.get(character, 0) for character in text]
        seconds = told.times[first : first + size].astype(np.float64) - begin
        times[: len(text)] = seconds * model.codes_per_second
    return {"lyrics": numbers, "lyric_times": times, "worded": np.bool_(lyrics is not None)}


def of_windows(model: config.PriorConfig, pieces: Sequence[Lyrics | None], begins: Sequence[float]) -> dict:
    """`window` of B windows, each of its piece and from its second on, with a leading [B]; M is as large as any window
    of these pieces needs, so that all of them share a program."""
    size = max(model.lyric_tokens, num_tokens((lyric_facts.of(one, "") for one in pieces), model))
    rows = [window(model, one, begin, size) for one, begin in zip(pieces, begins, strict=True)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def with_others(example: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A training example with a few of its characters taken for unknown."""
    numbers = example["lyrics"]
    taken = (rng.random(numbers.shape) < OTHER_SHARE) & (numbers > 0)
    return example | {"lyrics": np.where(taken, 0, numbers)}

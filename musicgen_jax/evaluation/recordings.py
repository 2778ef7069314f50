"""The held-out recordings of a data set, each read from its file when it is looked at: memory is that of one."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from musicgen_jax import config
from musicgen_jax.data import audio_dataset, audio_io, shards
from musicgen_jax.evaluation.score_quality import Performance
from musicgen_jax.scores.score import Score

Item = TypeVar("Item")


class Lazy(Mapping[str, Item]):
    """Named items that are made whenever they are looked at, and not kept: memory is that of one."""

    def __init__(self, makers: Mapping[str, Callable[[], Item]]) -> None:
        """Args:
        makers: name -> what makes the item.
        """
        self._makers = makers

    def __getitem__(self, name: str) -> Item:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class HeldOut:
    """The beginnings of the tracks of one split.

    Attributes:
      sample_rate: Hz.
      names: track id of each.
      lengths: samples of each.
      labels: label -> value of each.
    """

    def __init__(self, data: str, split: str, max_seconds: float) -> None:
        """Args:
        data: folder of prepare_data.
        split: "validation" or "test".
        max_seconds: of each track, from its beginning.
        """
        self._data = data
        self._records = shards.open_split(data, split, shards.audio_features())
        self._places = list(audio_dataset.find_tracks(data, split))
        self.sample_rate = shards.read_metadata(data)["sample_rate"]
        limit = max(round(max_seconds * self.sample_rate), 1)
        self.names = [place.track_id for place in self._places]
        self.lengths = [min(place.num_samples, limit) for place in self._places]
        self.labels = [place.labels for place in self._places]

    def __len__(self) -> int:
        return len(self._places)

    def audio(self, index: int) -> np.ndarray:
        """float32 [S]."""
        place, wanted, blocks = self._places[index], self.lengths[index], []
        for record in range(place.first, place.first + place.num_records):
            blocks.append(audio_io.from_int16(self._records[record]["audio"])[:wanted])
            wanted -= len(blocks[-1])
            if wanted <= 0:
                break
        return np.concatenate(blocks)

    def performance(self, index: int) -> Performance:
        """The recording with its notes; none where the data set has no scores."""
        timbre = self.labels[index].get("genre", config.UNKNOWN_LABEL)
        score = self._score(index).clipped(self.lengths[index] / self.sample_rate)
        return Performance(self.names[index], self.audio(index), self.sample_rate, timbre, score)

    @property
    def waveforms(self) -> Lazy[np.ndarray]:
        """Name -> float32 [S], of each recording."""
        return Lazy({name: functools.partial(self.audio, index) for index, name in enumerate(self.names)})

    @property
    def performances(self) -> Lazy[Performance]:
        """Name -> the recording with its notes, of each that has any."""
        having = [index for index in range(len(self)) if self._score(index).notes.size]
        return Lazy({self.names[index]: functools.partial(self.performance, index) for index in having})

    def _score(self, index: int) -> Score:
        facts = audio_dataset.facts_of(self._records, self._places[index].first, self._data)
        return Score(facts.get("notes", ()))

    def title(self, index: int) -> str:
        """A track's name with what is known of it."""
        known = [value for value in self.labels[index].values() if value not in ("", config.UNKNOWN_LABEL)]
        return f"{self.names[index]} ({', '.join(known)})" if known else self.names[index]

    def chosen(self, count: int) -> list[int]:
        """`count` recordings to listen to: the first of each genre, where genres are known, then others in order."""
        seen: set[str | None] = set()
        first, rest = [], []
        for index, labels in enumerate(self.labels):
            (rest if labels.get("genre") in seen else first).append(index)
            seen.add(labels.get("genre"))
        return (first + rest)[:count]

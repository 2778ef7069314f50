"""What every data source hands to `prepare_data`: tracks whose audio is read block by block."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from musicgen_jax.data import captions
from musicgen_jax.data.lyrics import Lyrics
from musicgen_jax.scores.score import Score


@dataclasses.dataclass(frozen=True)
class Track:
    """One piece of music, the unit of the train/validation/test split.

    Attributes:
      track_id: unique in the dataset and stable between runs.
      path: where it came from, relative to the source folder where there is one.
      group: tracks of one group are never divided between splits (two renderings of one work, say).
      hash: hexadecimal SHA-256 of the source; equal hashes mean exact duplicates.
      labels: what a prior may be told of it, label -> value: {"genre": "jazz", "instrument": "sax"}. The names are
        identifiers, and those that the source has: not every track needs each. "unknown" is as good as none.
      duration: seconds of the source.
      sample_rate: Hz of the source, before resampling.
      channels: number of channels of the source.
      blocks: called once, possibly in another process, so it must pickle: a functools.partial of a module's function.
        Yields mono float32 arrays [S] in [-1, 1] at the dataset's sample rate, in order. None where there is a `file`,
        or a score and no audio, which is so of all tracks of a source or of none.
      file: path of the recording that it is. It is read once, to check and to write it; hash, duration, sample rate and
        channels, and the group unless it has one, are known then, and the source's `checked` may know more.
      score: what is played in it, in seconds of the track, where that is known.
      score_from: in place of `score` where a source has more scores than fit into memory: reads it, called once, as
        `blocks` is. `score_kind` is known all the same.
      score_kind: where the score comes from: "exact" where the audio was rendered from it, "" where there is none.
      lyrics: what is sung in it, and when, where that is known.
      lyrics_kind: where the lyrics come from: "exact" where the audio was rendered from them, "lrc" where a file beside
        it has their times, "txt" where they are spread evenly over it, "" where there are none.
      caption: how it sounds, in words. Of a track whose recording nobody has looked at yet, the file that may say it.
      warning: what is doubtful about a track that is kept all the same ("clipped: ..."), or "".
      split: "train", "validation" or "test" where the source has a split of its own; of other tracks "", and they are
        split by group, see `manifest.split_tracks`.
      licence: under which the track was published, as SPDX abbreviates it ("CC-BY-4.0"); "" where that is not known.
    """

    track_id: str
    path: str
    group: str
    hash: str
    labels: dict[str, str]
    duration: float
    sample_rate: int
    channels: int
    blocks: Callable[[], Iterator[np.ndarray]] | None = None
    file: str = ""
    score: Score | None = None
    score_kind: str = ""
    lyrics: Lyrics | None = None
    lyrics_kind: str = ""
    caption: captions.Caption = captions.NONE
    warning: str = ""
    split: str = ""
    licence: str = ""
    score_from: Callable[[], Score] | None = None

    @property
    def audible(self) -> bool:
        """Whether it has audio."""
        return bool(self.blocks or self.file)

    def loaded(self) -> "Track":
        """The track with its score in memory. Raises what `score_from` raises."""
        if self.score_from is None:
            return self
        return dataclasses.replace(self, score=self.score_from(), score_from=None)

    def warned(self, warning: str) -> "Track":
        """The track with another warning behind those that it has."""
        return dataclasses.replace(self, warning="; ".join(filter(None, [self.warning, warning])))


def of_file(path: str, name: str, labels: dict[str, str], group: str = "", **more: Any) -> Track:
    """The track of a recording that nobody has looked at yet; `name` is its path relative to the source folder."""
    return Track(name, name, group, "", labels, 0.0, 0, 0, file=path, **more)


@dataclasses.dataclass(frozen=True)
class Rejection:
    """A source file that does not enter the dataset, with the reason a person can act on."""

    path: str
    reason: str
    hash: str = ""
    duration: float = 0.0
    sample_rate: int = 0
    channels: int = 0

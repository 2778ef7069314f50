"""What the index of a data set, of audio or of codes, says of a track's lyrics."""

import dataclasses
import hashlib

import numpy as np

from musicgen_jax.data.lyrics import Lyrics, folded
from musicgen_jax.scores import excerpts
from musicgen_jax.scores.score import COLUMNS, ONSET


@dataclasses.dataclass(frozen=True)
class LyricFacts:
    """What the index of a dataset says of a track's lyrics; the characters stand in the records.

    Attributes:
      kind: see `track.Track.lyrics_kind`; "" where the track has no lyrics.
      num_characters: of the whole track.
      characters: those that it has, folded as models know them.
      digest: of characters and times, hexadecimal.
      crowds: how many characters may begin within any stretch of 1, 2, 4, ... seconds; see `excerpts.crowds`.
    """

    kind: str = ""
    num_characters: int = 0
    characters: str = ""
    digest: str = ""
    crowds: tuple[int, ...] = ()


NONE = LyricFacts()


def of(lyrics: Lyrics | None, kind: str) -> LyricFacts:
    """The facts of a track with these lyrics, or with none."""
    if lyrics is None:
        return NONE
    digest = hashlib.sha256(lyrics.text.encode() + np.ascontiguousarray(lyrics.times).tobytes()).hexdigest()[:16]
    moments = np.zeros((len(lyrics), len(COLUMNS)), np.float32)
    moments[:, ONSET] = lyrics.times
    characters = "".join(sorted(set(folded(lyrics.text))))
    return LyricFacts(kind, len(lyrics), characters, digest, excerpts.crowds(moments))

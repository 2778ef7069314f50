"""What the index of a data set, of audio or of codes, says of a track's score."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from musicgen_jax.scores import excerpts
from musicgen_jax.scores.score import Score


@dataclasses.dataclass(frozen=True)
class ScoreFacts:
    """What the index of a dataset says of a track's score; the notes stand in the records.

    Attributes:
      kind: see `track.Track.score_kind`; "" where the track has no score.
      num_notes: of the whole track.
      digest: of the notes, hexadecimal.
      crowds: see `excerpts.crowds`.
      quarters, bars, fermatas, syllables: see `scores.score.Score`; () where they are not known.
    """

    kind: str = ""
    num_notes: int = 0
    digest: str = ""
    crowds: tuple[int, ...] = ()
    quarters: tuple[float, ...] = ()
    bars: tuple[float, ...] = ()
    fermatas: tuple[tuple[float, float], ...] = ()
    syllables: tuple[tuple[float, str], ...] = ()

    def score(self, notes: np.ndarray) -> Score | None:
        """The track's score, whose notes are float32 [N, 5]; None where it has none.

        Raises:
          UserError: the index is damaged.
        """
        if not self.kind:
            return None
        quarters, bars = (np.array(x) if x else None for x in (self.quarters, self.bars))
        fermatas = np.array(self.fermatas, np.float32).reshape(-1, 2)
        return Score(notes, quarters, bars, fermatas, self.syllables)


NONE = ScoreFacts()


def of(score: Score | None, kind: str) -> ScoreFacts:
    """The facts of a track with this score, or with none."""
    if score is None:
        return NONE
    quarters, bars = (() if x is None else tuple(x.tolist()) for x in (score.quarters, score.bars))
    digest = hashlib.sha256(np.ascontiguousarray(score.notes).tobytes()).hexdigest()[:16]
    fermatas = tuple(map(tuple, score.fermatas.tolist()))
    crowds, meter = excerpts.crowds(score.notes), (quarters, bars, fermatas)
    return ScoreFacts(kind, len(score.notes), digest, crowds, *meter, score.syllables)


def index_row(row: Any) -> dict[str, Any]:
    """A dataclass with `score`, `lyrics` and `caption` as a row of JSON lines; without those of which there is none."""
    values = {}
    for name, value in ((field.name, getattr(row, field.name)) for field in dataclasses.fields(row)):
        if name not in ("score", "lyrics", "caption"):
            values[name] = value
        elif value.kind:
            values[name] = dataclasses.asdict(value)
    if "score" in values and not values["score"]["syllables"]:
        del values["score"]["syllables"]
    return values

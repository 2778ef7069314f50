"""Note F1 by transcription: a network hears which notes begin when, in any timbre, and these are compared with a score.

A note is right where one of the same pitch begins within 50 ms in the score, each counted once; ends do not count
(Bay, Ehmann and Downie 2009). Music of the synthesizer, whose notes are known, says how well the network hears: of
recordings of known scores it finds `transcribed_f1_ceiling`.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from musicgen_jax.evaluation import bootstrap
from musicgen_jax.evaluation.score_quality import Performance
from musicgen_jax.scores import transcription
from musicgen_jax.scores.score import ONSET, PITCH, Score

ONSET_SECONDS = 0.05


def judge(
    samples: Iterable[Performance], references: Iterable[Performance], network: transcription.Network
) -> dict[str, Any]:
    """Transcribes samples that perform scores, and held-out recordings that do; each is looked at once, and not kept.

    Args:
      samples: at least one.
      references: held-out tracks with their scores; may be empty.
      network: of `transcription.load`.

    Returns:
      "transcribed_f1" (mean over the samples), "transcribed_f1_low" and "transcribed_f1_high" (its bootstrap interval),
      "transcribed_f1_shuffled" (against the next sample's score) where there are two scores, and
      "transcribed_f1_ceiling" of the recordings, clips as long as the samples, where there are any; "transcribed" has
      `intervals` of these means, and the rows of `samples` and `recordings`.
    """
    heard, wanted, rows, seconds = [], [], [], []
    for one in samples:
        heard.append(transcription.transcribe(network, [one.audio], one.sample_rate))
        wanted.append(_played(one))
        seconds.append(one.seconds)
        rows.append({"name": one.name, "transcribed_f1": f1(heard[-1], wanted[-1])})
    for row, found, own, other in zip(rows, heard, wanted, [*wanted[1:], wanted[0]], strict=True):
        if not np.array_equal(own.notes, other.notes):
            row["transcribed_f1_shuffled"] = f1(found, other)
    real = []
    for one in references:
        if not (clip := one.clip(float(np.mean(seconds)))).score.empty:
            notes = transcription.transcribe(network, [clip.audio], clip.sample_rate)
            real.append({"name": one.name, "transcribed_f1": f1(notes, _played(clip))})
    sides = {name: [row[name] for row in rows if name in row] for name in ("transcribed_f1", "transcribed_f1_shuffled")}
    sides["transcribed_f1_ceiling"] = [row["transcribed_f1"] for row in real]
    intervals = {name: bootstrap.mean(values) for name, values in sides.items() if values}
    ends = {f"transcribed_f1_{end}": intervals["transcribed_f1"][end] for end in ("low", "high")}
    means = {name: mean["mean"] for name, mean in intervals.items()}
    return means | ends | {"transcribed": {"intervals": intervals, "samples": rows, "recordings": real}}


def f1(found: Score, wanted: Score) -> float:
    """Twice the notes that are right, divided by those that were found and those that were wanted; 1 for two rests."""
    total = len(found.notes) + len(wanted.notes)
    pitches = np.union1d(np.round(found.notes[:, PITCH]), np.round(wanted.notes[:, PITCH]))
    return (
        2 * sum(_matches(_onsets(found, pitch), _onsets(wanted, pitch)) for pitch in pitches) / total if total else 1.0
    )


def _played(one: Performance) -> Score:
    """The notes that are heard in a clip: one that sounds from its beginning on begins there."""
    return one.score.clipped(one.seconds)


def _onsets(score: Score, pitch: float) -> np.ndarray:
    return score.notes[np.round(score.notes[:, PITCH]) == pitch, ONSET]


def _matches(found: np.ndarray, wanted: np.ndarray) -> int:
    """How many pairs of onsets, both in order, lie within ONSET_SECONDS of each other: the most that there can be."""
    count = first = second = 0
    while first < len(found) and second < len(wanted):
        late = found[first] - wanted[second]
        count += abs(late) <= ONSET_SECONDS
        first += late <= ONSET_SECONDS
        second += late >= -ONSET_SECONDS
    return count

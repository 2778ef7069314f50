"""Note F1 by transcription: a network hears which notes begin when, in any timbre, and these are compared with a score.

A note is right where one of the same pitch begins within 50 ms in the score, each counted once; ends do not count
(Bay, Ehmann and Downie 2009). Music of the synthesizer, whose notes are known, says how well the network hears: of
recordings of known scores it finds `transcribed_f1_ceiling`.
"""

from collections.abc import Sequence

import numpy as np

from musicgen_jax.evaluation import bootstrap
from musicgen_jax.evaluation.score_quality import Performance
from musicgen_jax.scores import transcription
from musicgen_jax.scores.score import ONSET, PITCH, Score

ONSET_SECONDS = 0.05


def judge(
    samples: Sequence[Performance], references: Sequence[Performance], network: transcription.Network
) -> dict[str, float | None]:
    """Transcribes samples that perform scores, and held-out recordings that do.

    Args:
      samples: at least one.
      references: held-out tracks with their scores; may be empty.
      network: of `transcription.load`.

    Returns:
      "transcribed_f1" (mean over the samples), "transcribed_f1_low" and "transcribed_f1_high" (its bootstrap interval),
      "transcribed_f1_shuffled" (against the next sample's score) where there are two scores, and
      "transcribed_f1_ceiling" of the recordings, clips as long as the samples, where there are any.
    """
    heard = [transcription.transcribe(network, [one.audio], one.sample_rate) for one in samples]
    mean = bootstrap.mean([f1(notes, _played(one)) for notes, one in zip(heard, samples, strict=True)])
    found = {"transcribed_f1": mean["mean"], "transcribed_f1_low": mean["low"], "transcribed_f1_high": mean["high"]}
    others = [
        f1(notes, _played(other))
        for notes, one, other in zip(heard, samples, [*samples[1:], samples[0]], strict=True)
        if not np.array_equal(one.score.notes, other.score.notes)
    ]
    seconds = float(np.mean([one.seconds for one in samples]))
    clips = [clip for one in references if not (clip := one.clip(seconds)).score.empty]
    real = [f1(transcription.transcribe(network, [clip.audio], clip.sample_rate), _played(clip)) for clip in clips]
    beside = {"transcribed_f1_shuffled": others, "transcribed_f1_ceiling": real}
    return found | {name: float(np.mean(values)) for name, values in beside.items() if values}


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

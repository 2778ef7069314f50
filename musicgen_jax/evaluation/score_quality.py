"""Do samples play the notes that they were told, and are composed scores like those that people wrote?"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.ddsp import timbres
from musicgen_jax.evaluation import bootstrap, note_fit
from musicgen_jax.scores import statistics
from musicgen_jax.scores.score import ONSET, Score

MEASURE = "template fit of the synthesizer's timbres, 20 frames a second"
END_TOLERANCE = 0.1  # seconds by which the last clip of a piece may be too short


@dataclasses.dataclass(frozen=True, eq=False)
class Performance:
    """Audio and the score that it plays, both from time 0 on.

    Attributes:
      name: for the report.
      audio: float32 [S].
      sample_rate: Hz.
      timbre: what plays it, a genre of the data set.
      score: its notes.
    """

    name: str
    audio: np.ndarray
    sample_rate: int
    timbre: str
    score: Score

    @property
    def seconds(self) -> float:
        return len(self.audio) / self.sample_rate

    def clip(self, seconds: float) -> "Performance":
        """Its middle, of at most so many seconds."""
        start = max(0.0, (self.seconds - seconds) / 2)
        first, count = round(start * self.sample_rate), round(seconds * self.sample_rate)
        audio = self.audio[first : first + count]
        return dataclasses.replace(self, audio=audio, score=self.score.cut(start, start + seconds))


def judge(samples: Sequence[Performance], references: Sequence[Performance]) -> tuple[dict[str, Any], dict[str, str]]:
    """All figures of samples that perform scores, beside those of held-out recordings that do.

    Args:
      samples: at least one.
      references: held-out tracks with their scores; may be empty.

    Returns:
      The metrics `score`, and what of them is absent with the reason: `note_f1` (mean over the samples whose timbre is
      one of the synthesizer's), `note_f1_low` and `note_f1_high` (its bootstrap interval), `note_f1_lowest`,
      `note_f1_shuffled` (against the next sample's score), `note_f1_ceiling` (of the recordings), `note_f1_share` and
      `note_f1_shuffled_share` (of the ceiling), `tone` and `tone_ceiling`, `measure`, `samples` (name, note_f1, tone,
      for each that was measured), and `statistics` of the scores; see `compare`.
    """
    scores = [one.score for one in samples]
    found: dict[str, Any] = {"statistics": compare(scores, [r.score for r in references], _mean_seconds(samples))}
    known = {timbre.name for timbre in timbres.ALL}
    heard = [one for one in samples if one.timbre in known]
    if not heard:
        return found, {"score.note_f1": _why_unheard(samples)}
    fits = [note_fit.fit(one.audio, one.sample_rate, one.timbre) for one in heard]
    f1 = [note_fit.agreement(fit, one.score).f1 for fit, one in zip(fits, heard, strict=True)]
    mean = bootstrap.mean(f1)
    found |= {"note_f1": mean["mean"], "note_f1_low": mean["low"], "note_f1_high": mean["high"]}
    found |= {"note_f1_lowest": min(f1), "tone": float(np.mean([fit.tone for fit in fits])), "measure": MEASURE}
    found["samples"] = [
        {"name": one.name, "note_f1": value, "tone": fit.tone} for one, value, fit in zip(heard, f1, fits, strict=True)
    ]
    more, absent = _beside(heard, fits, [one for one in references if one.timbre in known])
    if len(heard) < len(samples):
        absent["score.note_f1_of_all"] = f"{len(heard)} of {len(samples)} samples are measured: {_why_unheard(samples)}"
    found |= more
    if "note_f1_ceiling" in found:
        names = [name for name in ("note_f1", "note_f1_shuffled") if name in found]
        found |= {f"{name}_share": found[name] / max(found["note_f1_ceiling"], 1e-9) for name in names}
    return found, absent


def _mean_seconds(samples: Sequence[Performance]) -> float:
    return float(np.mean([one.seconds for one in samples]))


def _why_unheard(samples: Sequence[Performance]) -> str:
    """Why notes cannot be found in those samples whose timbre is none of the synthesizer's."""
    known = [timbre.name for timbre in timbres.ALL]
    others = sorted({one.timbre for one in samples} - {*known, config.UNKNOWN_LABEL})
    if others:
        rule = f"notes are found by the synthesizer's timbres, {', '.join(known)}, not of {', '.join(others)}"
        return f"{rule}; a transcribing network finds those of any"
    return f"the samples were asked for no genre: sample with one of {', '.join(known)}"


def _beside(
    samples: Sequence[Performance], fits: list[note_fit.Fit], references: Sequence[Performance]
) -> tuple[dict[str, float], dict[str, str]]:
    """What the figure of the samples is to be compared with: wrong scores below, recordings above."""
    found, absent = {}, {}
    others = [
        (fit, other.score)
        for fit, one, other in zip(fits, samples, [*samples[1:], samples[0]], strict=True)
        if not np.array_equal(one.score.notes, other.score.notes)
    ]
    if others:
        found["note_f1_shuffled"] = float(np.mean([note_fit.agreement(fit, score).f1 for fit, score in others]))
    else:
        absent["score.note_f1_shuffled"] = "all samples have one score: shuffled ones need two"
    seconds = _mean_seconds(samples)
    clips = [clip for one in references if not (clip := one.clip(seconds)).score.empty]
    if clips:
        real = [note_fit.fit(clip.audio, clip.sample_rate, clip.timbre) for clip in clips]
        f1 = [note_fit.agreement(fit, clip.score).f1 for fit, clip in zip(real, clips, strict=True)]
        found |= {"note_f1_ceiling": float(np.mean(f1)), "tone_ceiling": float(np.mean([fit.tone for fit in real]))}
    else:
        absent["score.note_f1_ceiling"] = "no held-out recording has a score and a timbre of the synthesizer"
    return found, absent


def compare(scores: Sequence[Score], references: Sequence[Score], seconds: float) -> dict[str, Any]:
    """Figures of scores (`statistics.of`) beside those of held-out ones, each as `bootstrap.mean` over pieces.

    The key and the pitch classes of a long piece are others than those of a short one, so of held-out pieces all clips
    of the scores' length count (`clips`), and a piece's figure is their mean.

    Args:
      scores: to be judged.
      references: held-out; may be empty.
      seconds: length of the scores.

    Returns:
      "samples" and "held_out", {figure: mean with interval}; "interval_distance" and "pitch_class_distance" in [0, 1],
      between the histograms of melodic steps, and of pitch classes counted from the keynote of the best key. Without
      references only "samples".
    """
    sides = {"samples": [[score] for score in scores]}
    sides |= {"held_out": [clips(score, seconds) for score in references]} if references else {}
    found: dict[str, Any] = {}
    for side, pieces in sides.items():
        figures = [[statistics.of(clip) for clip in piece] for piece in pieces]
        found[side] = {
            name: bootstrap.mean([float(np.mean([clip[name] for clip in piece])) for piece in figures])
            for name in figures[0][0]
        }
    if references:
        for name, histogram in (("interval", statistics.intervals), ("pitch_class", statistics.degrees)):
            means = [
                np.mean([np.mean([histogram(clip) for clip in piece], axis=0) for piece in pieces], axis=0)
                for pieces in sides.values()
            ]
            found[f"{name}_distance"] = statistics.distance(*means)
    return found


def clips(score: Score, seconds: float) -> list[Score]:
    """Consecutive clips of a score, each of so many seconds; what is left over counts only where there is no whole one.

    A clip begins where a note does, as a sample does too: begun in the middle of a chord, all notes of the chord would
    count as notes that begin.
    """
    if score.seconds <= seconds:
        return [score]
    found, start = [], 0.0
    while len(begin := score.notes[score.notes[:, ONSET] >= start - 1e-6, ONSET]):
        start, stop = float(begin[0]), float(begin[0]) + seconds
        if found and stop > score.seconds + END_TOLERANCE:
            break
        found.append(score.cut(start, stop).clipped(seconds))
        start = stop
    return found

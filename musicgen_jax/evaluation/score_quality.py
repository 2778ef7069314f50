"""Do samples play the notes that they were told, and are composed scores like those that people wrote?"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.ddsp import timbres
from musicgen_jax.evaluation import bootstrap, note_fit, parallel
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


def judge(samples: Iterable[Performance], references: Iterable[Performance]) -> tuple[dict[str, Any], dict[str, str]]:
    """All figures of samples that perform scores, beside those of held-out recordings that do.

    Each performance is looked at once, in order, and not kept.

    Args:
      samples: at least one.
      references: held-out tracks with their scores; may be empty.

    Returns:
      The metrics `score`, and what of them is absent with the reason: `note_f1` (mean over the samples whose timbre is
      one of the synthesizer's), `note_f1_low` and `note_f1_high` (its bootstrap interval), `note_f1_lowest`,
      `note_f1_shuffled` (against the next sample's score), `note_f1_ceiling` (of the recordings), `note_f1_share` and
      `note_f1_shuffled_share` (of the ceiling), `tone` and `tone_ceiling`, `measure`; `samples` and `recordings` (name,
      note_f1, tone, of samples note_f1_shuffled, for each that was measured), `intervals` of the means; and
      `statistics` of the scores, see `compare`.
    """
    known = {timbre.name for timbre in timbres.ALL}
    scores, asked, lengths, heard = [], [], [], []
    for one, found_in in parallel.ordered(lambda one: (one, _heard(one, known)), samples):
        scores.append(one.score)
        asked.append(one.timbre)
        lengths.append(one.seconds)
        heard += [found_in] if found_in else []
    seconds, held_out, recordings = float(np.mean(lengths)), [], []
    for one, found_in in parallel.ordered(
        lambda one: (one, _heard(one.clip(seconds), known if heard else set())), references
    ):
        held_out.append(one.score)
        recordings += [found_in] if found_in and not found_in.score.empty else []
    found: dict[str, Any] = {"statistics": compare(scores, held_out, seconds)}
    if not heard:
        return found, {"score.note_f1": _why_unheard(asked)}
    figures, absent = _figures(heard, recordings)
    if len(heard) < len(scores):
        absent["score.note_f1_of_all"] = f"{len(heard)} of {len(scores)} samples are measured: {_why_unheard(asked)}"
    return found | figures, absent


@dataclasses.dataclass(frozen=True)
class _Heard:
    """The notes that were found in a performance, and those that it should have."""

    name: str
    fit: note_fit.Fit
    score: Score

    def figures(self) -> dict[str, Any]:
        return {"name": self.name, "note_f1": note_fit.agreement(self.fit, self.score).f1, "tone": self.fit.tone}


def _heard(one: Performance, timbres_known: set[str]) -> _Heard | None:
    """The notes of a performance; None where its timbre is none of these."""
    if one.timbre not in timbres_known:
        return None
    return _Heard(one.name, note_fit.fit(one.audio, one.sample_rate, one.timbre), one.score)


def _figures(heard: list[_Heard], recordings: list[_Heard]) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures of samples, beside what they are to be compared with: wrong scores below, recordings above."""
    rows, real, absent = [one.figures() for one in heard], [one.figures() for one in recordings], {}
    for row, one, other in zip(rows, heard, [*heard[1:], heard[0]], strict=True):
        if not np.array_equal(one.score.notes, other.score.notes):
            row["note_f1_shuffled"] = note_fit.agreement(one.fit, other.score).f1
    sides = {name: [row[name] for row in rows if name in row] for name in ("note_f1", "tone", "note_f1_shuffled")}
    sides |= {f"{name}_ceiling": [row[name] for row in real] for name in ("note_f1", "tone")}
    intervals = {name: bootstrap.mean(values) for name, values in sides.items() if values}
    found = {name: mean["mean"] for name, mean in intervals.items()}
    found |= {"note_f1_low": intervals["note_f1"]["low"], "note_f1_high": intervals["note_f1"]["high"]}
    found |= {"note_f1_lowest": min(sides["note_f1"]), "measure": MEASURE}
    found |= {"samples": rows, "recordings": real, "intervals": intervals}
    if "note_f1_shuffled" not in found:
        absent["score.note_f1_shuffled"] = "all samples have one score: shuffled ones need two"
    if not real:
        absent["score.note_f1_ceiling"] = "no held-out recording has a score and a timbre of the synthesizer"
        return found, absent
    names = [name for name in ("note_f1", "note_f1_shuffled") if name in found]
    found |= {f"{name}_share": found[name] / max(found["note_f1_ceiling"], 1e-9) for name in names}
    return found, absent


def _why_unheard(asked: Sequence[str]) -> str:
    """Why notes cannot be found in samples of these timbres, those that are none of the synthesizer's."""
    known = [timbre.name for timbre in timbres.ALL]
    others = sorted(set(asked) - {*known, config.UNKNOWN_LABEL})
    if others:
        rule = f"notes are found by the synthesizer's timbres, {', '.join(known)}, not of {', '.join(others)}"
        return f"{rule}; a transcribing network finds those of any"
    return f"the samples were asked for no genre: sample with one of {', '.join(known)}"


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

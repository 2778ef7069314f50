"""Where in beat, bar and phrase the sixteenths of a grid lie: of scores, and of music that is yet to be composed."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes.forms import Section
from musicgen_jax.scores.grid import CELLS, places
from musicgen_jax.scores.score import Score

MAX_PHRASES = 64  # lengths that a config keeps
FAR = np.iinfo(np.int16).max  # sixteenths until a fermata that never comes


def positions(score: Score, num_steps: int) -> np.ndarray:
    """What a composer is told of each sixteenth; see `conditions.position`.

    Args:
      score: with quarters. One without fermatas says nothing of its phrases.
      num_steps: S, sixteenths from quarter 0 on.

    Returns:
      int32 [S, 4]: sixteenth of the quarter, sixteenth of the bar, whether an end of a phrase is held, sixteenths until
      one begins that is not held yet; -1 where unknown.
    """
    beat, bar, held = places(score, num_steps).astype(np.int32).T
    if not len(score.fermatas):
        held = until = np.full(num_steps, -1, np.int32)
    else:
        until = _until(held)
    return np.stack([beat, bar, held, until], axis=1)


def _until(held: np.ndarray) -> np.ndarray:
    """Sixteenths until the next held end begins, from whether one is held; 0 at its first sixteenth."""
    num_steps = len(held)
    begins = np.flatnonzero((held == 1) & (np.append(0, held[:-1]) == 0))
    index = np.searchsorted(begins, np.arange(num_steps))
    there = np.append(begins, num_steps + FAR)[index]
    return np.minimum(there - np.arange(num_steps), FAR).astype(np.int32)


def planned(
    model: config.ComposerConfig,
    num_steps: int,
    known: np.ndarray,
    rng: np.random.Generator,
    sections: Sequence[Section] = (),
) -> np.ndarray:
    """The positions of a piece that is yet to be composed, as `positions` has them.

    Bars are those that are most common in the training scores. Phrases follow each other, each as long as one of theirs
    that is drawn at random, and the last one ends with the piece. What the training scores do not say stays unknown.
    A section ends with the end of a phrase too, and returns with its bars and phrases.

    Args:
      model: its config, resolved.
      num_steps: S.
      known: int32 [P, 4], positions of a beginning that is given; bars go on from its last one, phrases begin anew.
      rng: draws the phrases.
      sections: of the piece; none is one, the whole. The first is as long as the beginning at least.
    """
    steps, given = np.arange(num_steps), len(known)
    found = np.full((num_steps, 4), -1, np.int32)
    found[:, 0] = steps % CELLS
    if model.bar_steps:
        upbeat = model.upbeat_steps
        if given and known[-1, 1] >= 0:
            upbeat = (given - 1 - known[-1, 1]) % model.bar_steps
        found[:, 1] = (steps - upbeat) % model.bar_steps
    if model.phrase_steps:
        held, end = np.zeros(num_steps, np.int32), given
        shortest = min(model.phrase_steps)
        for stop in [section.stop for section in sections] or [num_steps]:
            while end < stop:
                end += int(rng.choice(model.phrase_steps))
                end = stop if end > stop - shortest else end
                held[max(end - model.fermata_steps, given) : end] = 1
        found[:, 2], found[:, 3] = held, _until(held)
    found[:given] = known[:num_steps]
    return _with_returns(found, given, sections)


def _with_returns(plan: np.ndarray, given: int, sections: Sequence[Section]) -> np.ndarray:
    """The plan, int32 [S, 4], with that of each section that returns, and what is until the next held end then."""
    returning = [section for section in sections if section.source is not None]
    for section in returning:
        plan[section.start : section.stop] = plan[section.returned]
    if returning:
        told = np.arange(len(plan)) >= given
        told &= plan[:, 2] >= 0
        plan[told, 3] = _until(plan[:, 2] == 1)[told]
    return plan


@dataclasses.dataclass(frozen=True)
class Usual:
    """What most scores have in common; the fields are those of `config.ComposerConfig`."""

    bar_steps: int = 0
    upbeat_steps: int = 0
    fermata_steps: int = 0
    phrase_steps: tuple[int, ...] = ()


def usual(scores: Iterable[Score]) -> Usual:
    """The meter and the phrases of scores, those without quarters left out."""
    bars, upbeats, phrases, held = collections.Counter(), collections.Counter(), [], []
    for score in scores:
        if score.quarters is None:
            continue
        begins = np.round((np.zeros(0) if score.bars is None else score.bars) * CELLS).astype(int)
        if len(begins) > 1:
            bars.update(np.diff(begins).tolist())
            upbeats[int(begins[begins >= 0][0]) if (begins >= 0).any() else 0] += 1
        cells = np.round(score.quarter_at(score.fermatas.astype(np.float64)) * CELLS).astype(int)
        ends = np.unique(cells[:, 1])
        phrases += [length for length in np.diff(ends, prepend=0).tolist() if length > 0]
        held += (cells[:, 1] - cells[:, 0]).tolist()
    kept = sorted(phrases)
    chosen = np.linspace(0, len(kept) - 1, min(len(kept), MAX_PHRASES)).round().astype(int)
    return Usual(
        bar_steps=bars.most_common(1)[0][0] if bars else 0,
        upbeat_steps=upbeats.most_common(1)[0][0] if upbeats else 0,
        fermata_steps=max(int(np.median(held)), 1) if held else 0,
        phrase_steps=tuple(kept[index] for index in chosen),
    )

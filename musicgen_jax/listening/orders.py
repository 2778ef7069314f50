"""What a listener hears, in which order: balanced across listeners, a function of the seed and the listener's number.

The orders are rows of a Williams design (E. J. Williams, "Experimental designs balanced for the estimation of residual
effects of treatments", 1949): in its n rows (2n where n is odd) each of n things stands in each place equally often,
and comes behind each other one equally often. Listener after listener takes the next row.
"""

import dataclasses
import functools
import math

import numpy as np

from musicgen_jax.listening.study import ATTENTION, PRACTICE, TEST, Study, Trial

CONSENT = "consent"
WAYS_OF_ABX = ((0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1))  # which of the two is A, which is B, which is X


@dataclasses.dataclass(frozen=True)
class Page:
    """One page of a listener's study.

    Attributes:
      trial: id of the trial or of the headphone trial, or CONSENT.
      slots: ids of the stimuli, in the order in which the page has them.
      given: ids of what is heard beside them: the open reference, or X.
    """

    trial: str
    slots: tuple[str, ...] = ()
    given: tuple[str, ...] = ()


@functools.cache
def williams(number: int) -> tuple[tuple[int, ...], ...]:
    """The rows of a Williams design for `number` things: each a permutation of range(number)."""
    zigzag = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(number)]
    rows = [tuple((start + step) % number for step in zigzag) for start in range(number)]
    return tuple(rows + [row[::-1] for row in rows] if number % 2 and number > 1 else rows)


def of(study: Study, number: int) -> list[Page]:
    """The pages of a listener: consent, headphone check, practice, then tests with attention checks between them.

    Args:
      study: to take part in.
      number: of the listener, from 0.
    """
    tests = [trial for trial in study.trials if trial.kind == TEST]
    checks = [trial for trial in study.trials if trial.kind == ATTENTION]
    shuffled = np.random.default_rng(study.seed).permutation(len(tests))  # neighbours in the study need not stay ones
    orders = williams(len(tests))
    order = [shuffled[place] for place in orders[number % len(orders)]]
    pages = [_page(study, tests[index], number, int(index), len(orders)) for index in order]
    rng = np.random.default_rng((study.seed, number))
    for count, trial in enumerate(checks):  # each in a stretch of its own, never first
        place = int(rng.integers(len(tests) * count // len(checks), len(tests) * (count + 1) // len(checks))) + 1
        pages.insert(place + count, _page(study, trial, number, count))
    practice = [_page(study, trial, number) for trial in study.trials if trial.kind == PRACTICE]
    tones = [Page(tone.id, (tone.id,)) for tone in study.headphones]
    return [Page(CONSENT), *tones, *practice, *pages]


def _page(study: Study, trial: Trial, number: int, shift: int = 0, orders: int = 1) -> Page:
    """A trial's page: its stimuli in the listener's order.

    Args:
      study: that it is of.
      trial: of it.
      number: of the listener.
      shift: by how many rows this trial is ahead of others, so that a listener hears all kinds of orders.
      orders: after how many listeners the trial comes in the same place again. When both have come round together the
        next row is left out: else the place would tell the order of the stimuli.
    """
    ids = [one.id for one in trial.stimuli]
    given = tuple(one.id for one in trial.given)
    rows = WAYS_OF_ABX if study.design == "abx" else williams(len(ids))
    row = rows[(number + number // math.lcm(orders, len(rows)) + shift) % len(rows)]
    if study.design == "abx":
        first, second, hidden = row
        return Page(trial.id, (ids[first], ids[second]), (given[hidden],))
    return Page(trial.id, tuple(ids[place] for place in row), given)

"""Musical forms: the sections of a piece on a grid of sixteenths, and which of them return."""

import dataclasses

from musicgen_jax import config
from musicgen_jax.scores.grid import CELLS


@dataclasses.dataclass(frozen=True)
class Section:
    """Sixteenths [start, stop) of a piece.

    Attributes:
      start: its first sixteenth.
      stop: the one behind its last.
      letter: its name; "" for what a form says nothing of.
      source: the first sixteenth of the section that returns here; None where new music is written.
    """

    start: int
    stop: int
    letter: str = ""
    source: int | None = None

    @property
    def returned(self) -> slice:
        """The sixteenths that return here."""
        return slice(self.source, self.source + self.stop - self.start)


def unit(model: config.ComposerConfig) -> int:
    """Sixteenths of which sections have whole multiples: a bar, or a quarter where bars are unknown."""
    return model.bar_steps or CELLS


def sections(form: str, num_steps: int, bar: int) -> tuple[Section, ...]:
    """The sections of a piece.

    All are equally long, as many whole bars as there is room for. They are counted from the beginning, an upbeat
    included, so that each has its own upbeat. What is left behind the last one belongs to it where it is new, and is
    new music behind it where it has returned: the piece ends with the end of a phrase.

    Args:
      form: a letter for each section, equal ones for equal sections. "" is one section, the piece.
      num_steps: sixteenths of the piece.
      bar: `unit` of the composer; a bar for each section at least must fit.
    """
    if not form:
        return (Section(0, num_steps),)
    length = num_steps // (len(form) * bar) * bar
    found = []
    for number, letter in enumerate(form):
        first, start = form.index(letter), number * length
        source = first * length if first < number else None
        found.append(Section(start, start + length, letter, source))
    last = found[-1]
    if last.source is None:
        found[-1] = dataclasses.replace(last, stop=num_steps)
    elif last.stop < num_steps:
        found.append(Section(last.stop, num_steps))
    return tuple(found)

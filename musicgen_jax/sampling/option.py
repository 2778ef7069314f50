"""What one option of sampling is: its type, its default, which values it takes, and how they are written."""

import csv
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from musicgen_jax import config

Value = float | tuple[float, float]  # a number, or its course from the music's beginning to its end
ByStream = Value | Mapping[str, Value]

# What values may be, in the words of the documentation.
TYPES = {
    "number": "a number",
    "whole": "a whole number",
    "wholes": "whole numbers; on the command line NUMBER,NUMBER",
    "truth": "True or False; on the command line the flag alone",
    "text": "text",
    "names": "a name or several; on the command line NAME,NAME or the flag again",
    "texts": "text or several; on the command line the flag again",
    "document": "text, or the path of a .txt or .lrc file that holds it",
    "path": "a path",
    "source": "a path, or in Python the thing itself: a waveform, a score",
    "labels": "labels by name, each with a value or several; in Python a dict, as a flag pitch:60,family:flute",
    "by_stream": "a number for all streams of codes, or one for each: in Python a dict, as a flag top:1,bottom:2",
}


_SAME = object()


@dataclasses.dataclass(frozen=True)
class Option:
    """One thing that may be said of the music.

    Attributes:
      name: of the argument in Python.
      type: of its values, a key of `TYPES`.
      default: the value of a request that is told nothing.
      help: what it means; the flag's help and the documentation. Names of options stand in backticks.
      flag: name of the flag; by default the argument's.
      flag_default: what the flag says where it is not given, if that is not `default`; None: nothing, and the value
        follows from the prompt and the models.
      fits: whether a value, or each number of one by stream, is in range.
      rule: how that is said: "must be ...".
      choices: the only texts that it may be, if these are known.
      course: of a value by stream: whether it may move over the music, from the first of two numbers to the second.
      whole: of a value by stream: whether the numbers count something.
      field: of the request; by default the argument's name. A field "settings.NAME" is one of how codes are drawn,
        `sampler_settings.SamplingSettings`; None: the request does not hold it, `generation` reads it itself.
      decides: whether other values give other music; an interrupted run goes on with another value of what does not.
    """

    name: str
    type: str
    default: Any
    help: str
    flag: str = ""
    flag_default: Any = _SAME
    fits: Callable[[Any], bool] = lambda value: True
    rule: str = ""
    choices: tuple[str, ...] = ()
    course: bool = False
    whole: bool = False
    field: str | None = ""
    decides: bool = True

    def __post_init__(self):
        assert self.type in TYPES, self.type
        if self.field == "":
            object.__setattr__(self, "field", self.name)

    @property
    def flag_name(self) -> str:
        """Name of its flag, without dashes."""
        return self.flag or self.name

    @property
    def flag_value(self) -> Any:
        """What its flag says where it is not given."""
        return self.default if self.flag_default is _SAME else self.flag_default

    def require(self, value: Any) -> None:
        """Raises UserError for a value of the right type that is out of range; None is no value."""
        if value is None:
            return
        if self.choices:
            config.require(value in self.choices, f"`{self.name}`={value}: must be one of {', '.join(self.choices)}")
        for number in self._numbers(value) if self.type == "by_stream" else (value,):
            config.require(self.fits(number), f"`{self.name}`={number}: {self.rule}")

    def _numbers(self, value: ByStream) -> Iterator[float]:
        for one in value.values() if isinstance(value, Mapping) else [value]:
            if not isinstance(one, tuple | list):
                yield one
                continue
            config.require(self.course, f"`{self.name}`={one}: only the temperature changes over the music")
            config.require(
                len(one) == 2, f"`{self.name}`={one}: must be one number, or two: from the first to the last"
            )
            yield from one

    def parse(self, text: str) -> ByStream:
        """A value by stream of text: "0.9" for all, "0.9~1.1" for a course, "top:0.9,bottom:0.9~1.1" for each.

        Raises:
          UserError: it is none of these.
        """
        name = self.name
        if ":" not in text:
            return self._parse(text, text)
        pairs = [part.strip().partition(":") for part in text.split(",")]
        streams = [stream for stream, _, _ in pairs]
        fits = all(streams) and len(set(streams)) == len(streams)
        config.require(fits, f"`{name}`={text}: name each stream once: `{name}`=top:1,bottom:1")
        return {stream: self._parse(text, value) for stream, _, value in pairs}

    def parse_wholes(self, texts: Iterable[str]) -> tuple[int, ...]:
        """Whole numbers of their texts. Raises UserError for a text of another kind."""
        wrong = [text for text in texts if not text.strip().isdecimal()]
        config.require(not wrong, f"`{self.name}`={','.join(wrong)}: write whole numbers: `{self.name}`=7,8")
        return tuple(int(text) for text in texts)

    def parse_labels(self, texts: Iterable[str]) -> dict[str, list[str]]:
        """Label -> its values, of texts such as "pitch:60,family:flute"; one with a comma in it stands in quotes.

        Raises:
          UserError: a part of one is no such pair.
        """
        found: dict[str, list[str]] = {}
        for part in (part for text in texts for part in next(csv.reader([text], skipinitialspace=True), [])):
            name, _, value = (word.strip() for word in part.partition(":"))
            rule = f"write LABEL:VALUE: `{self.name}`=pitch:60,family:flute"
            config.require(bool(name and value), f"`{self.name}`={part}: {rule}")
            found.setdefault(name, []).append(value)
        return found

    def _parse(self, text: str, value: str) -> Value:
        try:
            numbers = tuple(float(number) for number in value.split("~"))
        except ValueError:
            numbers = ()
        name, course = self.name, ", FROM~TO" if self.course else ""
        rule = f"`{name}`={text}: write a number{course}, or either by stream: `{name}`=top:1,middle:1,bottom:1"
        config.require(len(numbers) in (1, 2) and not any(map(math.isnan, numbers)), rule)
        counted = tuple(int(number) if self.whole and number.is_integer() else number for number in numbers)
        return counted[0] if len(counted) == 1 else counted

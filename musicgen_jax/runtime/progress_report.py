"""Progress of a long loop on stderr: a bar on a terminal; elsewhere, in a log, a line every 10 %."""

import os
import sys
import time
from typing import Any

import tqdm

from musicgen_jax.runtime import console

LINES = 10  # in a log, for the whole of a loop


class Progress:
    """How much of a loop is done, how fast it goes and how long it still takes.

    The speed leaves out the longest pause between two updates, for that is the one in which a program was compiled.
    The first one to be shown in a process says before it what it runs on.

    Args:
      description: of the loop, such as "train".
      total: of what it counts.
      unit: of `total`, in the plural: "steps", "audio-s".
      done: before it began; says nothing about the speed.
      show: whether to print anything.
      devices: what the loop runs on; None is JAX's devices.
    """

    def __init__(
        self,
        description: str,
        total: float,
        unit: str,
        *,
        done: float = 0,
        show: bool = True,
        devices: str | None = None,
    ):
        self._description, self._total, self._unit, self._done = description, total, unit, min(done, total)
        self._bar, self._show, self._note = None, show, ""
        if show:
            console.say_devices(devices)
        self._speed, self._started, self._line = _Speed(), time.monotonic(), self._lines_due()
        if show and sys.stderr.isatty():
            self._bar = _Bar(description, total, self._done, self._texts())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the bar; what is printed stays."""
        if self._bar is not None:
            self._bar.close()

    def note(self, text: str) -> None:
        """What stands behind the figures from now on, such as the loss."""
        self._note = text

    def skip(self, amount: float) -> None:
        """Counts what was found done already."""
        self._advance(amount)

    def update(self, amount: float = 1) -> None:
        """Counts what was just done. The total is never passed, should more be done than was foreseen."""
        self._speed.add(amount)
        self._advance(amount)

    def _advance(self, amount: float) -> None:
        before, self._done = self._done, min(self._done + amount, self._total)
        if not self._show:
            return
        if self._bar is not None:
            self._bar.texts = self._texts()
            self._bar.update(self._done - before)
        elif (line := self._lines_due()) > self._line:
            self._line = line
            console.say(self._log_line())

    def _lines_due(self) -> int:
        # Fractions of seconds may not quite add up to their sum.
        return int(LINES * self._done / self._total + 1e-6) if self._total else LINES

    def _count(self) -> str:
        return f"{self._done:,.0f} of {self._total:,.0f} {self._unit}"

    def _details(self) -> str:
        speed = self._speed.units_a_second
        parts = [describe_speed(speed, self._unit) if speed else "", self._note]
        return "".join(f", {part}" for part in parts if part)

    def _seconds_left(self) -> float | None:
        speed = self._speed.units_a_second
        return (self._total - self._done) / speed if speed else None

    def _log_line(self) -> str:
        elapsed, left = time.monotonic() - self._started, self._seconds_left()
        text = f"{self._description}: {100 * self._line // LINES} %, {self._count()}"
        text += f", {tqdm.tqdm.format_interval(elapsed)} elapsed"
        if left is not None and self._done < self._total:
            text += f", {tqdm.tqdm.format_interval(left)} left"
        return text + self._details()

    def _texts(self) -> dict[str, str]:
        left = self._seconds_left()
        return {
            "count": self._count(),
            "left": "?" if left is None else tqdm.tqdm.format_interval(left),
            "details": self._details(),
        }


def describe_speed(units_a_second: float, unit: str) -> str:
    """Such as "2.94 steps/s" or "12,345 codes/s"."""
    return f"{units_a_second:{',.0f' if units_a_second >= 100 else '.3g'}} {unit}/s"


class _Bar(tqdm.tqdm):
    """tqdm's bar, with the texts that `Progress` makes."""

    def __init__(self, description: str, total: float, done: float, texts: dict[str, str]):
        self.texts = texts
        # Some terminals say that they have 0 lines of 0 columns, and tqdm would print nothing.
        size = (
            {"dynamic_ncols": True} if all(os.get_terminal_size(sys.stderr.fileno())) else {"ncols": 100, "nrows": 24}
        )
        super().__init__(
            desc=description,
            total=total,
            initial=done,
            mininterval=0.2,
            miniters=0,  # else fast steps at first make a slow loop look as if it hung
            bar_format="{desc}: {percentage:3.0f} %|{bar}| {count} [{elapsed}<{left}{details}]",
            **size,
        )

    @property
    def format_dict(self) -> dict[str, Any]:
        """What `bar_format` may name."""
        return super().format_dict | self.texts


class _Speed:
    """Units a second since the beginning, without the longest pause and what it brought."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._seconds = self._amount = 0.0
        self._longest = (0.0, 0.0)

    def add(self, amount: float) -> None:
        now = time.monotonic()
        pause, self._last = now - self._last, now
        self._longest = max(self._longest, (pause, amount))
        self._seconds, self._amount = self._seconds + pause, self._amount + amount

    @property
    def units_a_second(self) -> float | None:
        """None before there are two updates."""
        seconds, amount = self._seconds - self._longest[0], self._amount - self._longest[1]
        return amount / seconds if seconds > 0 and amount > 0 else None

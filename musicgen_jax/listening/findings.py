"""Figures of a study, and the reasons why some are absent."""

from collections.abc import Callable
from typing import Any


class NotComputable(ValueError):
    """These answers have no such figure; the message is the reason, for whoever reads the statistics."""


class Findings:
    """Figures by dotted path, and beside them the reasons for those that are absent.

    Attributes:
      figures: what statistics.json will hold.
      absent: dotted path -> why no figure is there.
    """

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        self.absent: dict[str, str] = {}

    def add(self, path: tuple[str, ...], compute: Callable[[], Any]) -> Any:
        """Puts compute() at `path` and returns it; where it is NotComputable, its reason goes to `absent`.

        A mapping may say "why" something within it is None; that reason goes to `absent` as well.
        """
        try:
            found = compute()
        except NotComputable as reason:
            self.absent[".".join(path)] = str(reason)
            return None
        self._gather(path, found)
        place = self.figures
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = found
        return found

    def _gather(self, path: tuple[str, ...], found: Any) -> None:
        if not isinstance(found, dict):
            return
        if why := found.pop("why", ""):
            self.absent[".".join((*path, "interval"))] = why
        for name, value in found.items():
            self._gather((*path, name), value)

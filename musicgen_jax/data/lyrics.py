"""Lyrics: the characters that are sung and when each begins, from text alone or from an LRC file.

LRC has a time for each line, `[mm:ss.xx]words`, or several where a line comes back, `[00:12.00][01:15.30]words`. The
enhanced format has times between the words as well: `[00:12.00]<00:12.04>Some <00:12.30>words<00:13.00>`. A time
without words ends those before it, and `[offset:+500]` makes all of them 500 ms earlier.
"""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

SUFFIXES = (".lrc", ".txt")
MAX_BYTES = 1 << 20  # of a file: a libretto has some hundred kB
MAX_CHARACTERS = 1 << 17  # of a track, a line that comes back counted each time
CHARACTER_SECONDS = 0.1  # of a character, where nothing says how fast the words are sung
LONGEST_CHARACTER = 0.5  # seconds; what comes later until the next time is an interlude

_TIME = r"(\d{1,4}):(\d{1,2})(?:[.:](\d{1,3}))?"
_LINE_TIMES = re.compile(rf"\s*\[{_TIME}\]")
_WORD_TIME = re.compile(rf"<{_TIME}>")
_ID_TAG = re.compile(r"\s*\[(#|[A-Za-z]{1,20})\s*:([^\]\n]*)\]\s*$")


@dataclasses.dataclass(frozen=True, eq=False)
class Lyrics:
    """Characters and when they begin.

    Attributes:
      text: of N characters, lines end with "\\n".
      times: float32 [N], seconds from the beginning of the music, never falling.
    """

    text: str
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.text)

    def within(self, start: float, stop: float) -> "Lyrics":
        """What begins within [start, stop) seconds, with its times as they are."""
        first, last = np.searchsorted(self.times, [start, stop])
        return Lyrics(self.text[first:last], self.times[first:last])


NONE = Lyrics("", np.zeros(0, np.float32))


def joined(parts: Sequence[Lyrics]) -> Lyrics:
    """Consecutive stretches of one piece as one."""
    return Lyrics("".join(part.text for part in parts), np.concatenate([NONE.times, *(part.times for part in parts)]))


def decoded(content: bytes) -> tuple[str, str]:
    """(the text of a file, what is doubtful about it or ""): UTF-8 with or without a mark, UTF-16 with one, or, where
    it is none of these, Windows-1252, which has Latin-1 in it.

    Raises:
      UserError: it is no text.
    """
    marks = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = next((name for mark, name in marks.items() if content.startswith(mark)), "utf-8")
    try:
        text, doubt = content.decode(encoding), ""
    except UnicodeDecodeError:
        text, doubt = content.decode("cp1252", "replace"), "no UTF-8, read as Windows-1252"
    if "\0" in text:
        raise UserError("no text: it has bytes of 0")
    return text, doubt


def folded(text: str) -> str:
    """The characters as models know them, one for one: small letters, compatible forms as one."""
    return "".join(map(_folded, text))


@functools.cache
def _folded(character: str) -> str:
    return unicodedata.normalize("NFKC", character).lower()[:1] or character


def read(path: files.Path) -> tuple[str, str]:
    """(the text of a .txt or .lrc file, what is doubtful about it or "").

    Raises:
      NotFoundError: there is no such file.
      UserError: it is empty, too large, or no text.
    """
    size = files.require_file(path, "file of lyrics")
    name = files.describe_path(path)
    if size > MAX_BYTES:
        raise UserError(f"{name}: too large: {size} bytes of lyrics; at most {MAX_BYTES} are read")
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES)
    try:
        return decoded(content)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def has_times(text: str) -> bool:
    """Whether a text is LRC: one of its lines begins with a time."""
    return any(_LINE_TIMES.match(line) for line in text.splitlines())


def words(text: str) -> str:
    """The words alone of a text with or without times, in the order in which they are sung."""
    return parse(text, 1.0).text if has_times(text) else text


def parse(text: str, seconds: float) -> Lyrics:
    """When each character of a text is sung.

    Where it has times, characters between two of them are spread evenly, but none lasts longer than
    `LONGEST_CHARACTER`. Where it has none, all are spread evenly over the music.

    Args:
      text: words, or what an LRC file holds. Tags that say something else ([ar:...]) are no words.
      seconds: of the music, from which the pace of a text without times follows.

    Raises:
      UserError: more than `MAX_CHARACTERS`.
    """
    if not has_times(text):
        plain = _clean(text).strip()
        _require_size(len(plain))
        return Lyrics(plain, (np.arange(len(plain)) * (seconds / max(len(plain), 1))).astype(np.float32))
    return timed(pieces_of(text))


def syllables(text: str, seconds: float) -> tuple[tuple[float, str], ...]:
    """The syllables of a text with or without times, as `Score.syllables` has them; arguments as of `parse`.

    A syllable is what has a time of its own, or stands between hyphens; where neither is there, it is a word.
    """
    whole, found, place = parse(text, seconds), [], 0
    pieces = sorted(pieces_of(text), key=lambda piece: piece[0]) if has_times(text) else [(0.0, f"{whole.text} ")]
    for _, piece in pieces:
        for part in re.finditer(r"([^\s-]+)-?(\s*)", piece):
            time = float(whole.times[place + part.start()])
            found.append((time, part[1] + (" " if part[2] else "")))
        place += len(piece)
    return tuple(found)


def timed(pieces: Sequence[tuple[float, str]]) -> Lyrics:
    """When each character is sung of words or syllables whose beginnings are known: (second, text) each, and "" ends
    what is before it. As in `parse`, characters are spread evenly up to the next time.

    Raises UserError for more than `MAX_CHARACTERS`.
    """
    _require_size(sum(len(piece) for _, piece in pieces))
    pieces = sorted(pieces, key=lambda piece: piece[0])
    starts = np.array([time for time, _ in pieces])
    lengths = np.array([len(piece) for _, piece in pieces], np.int64)
    gaps = np.diff(starts, append=np.inf)
    sung = (lengths > 0) & np.isfinite(gaps)
    pace = np.minimum(gaps[sung] / lengths[sung], LONGEST_CHARACTER)
    usual = float(np.median(pace)) if len(pace) else CHARACTER_SECONDS
    each = np.where(np.isfinite(gaps), np.minimum(gaps / np.maximum(lengths, 1), LONGEST_CHARACTER), usual)
    places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    times = np.repeat(starts, lengths) + places * np.repeat(each, lengths)
    # Rounding may bring the end of one piece behind the beginning of the next.
    times = np.maximum.accumulate(np.maximum(times, 0.0).astype(np.float32)) if len(times) else NONE.times
    return Lyrics("".join(piece for _, piece in pieces), times)


def to_lrc(pieces: Sequence[tuple[float, str]], end: float) -> str:
    """One line of the enhanced format, to hundredths of a second: what `parse` reads.

    Args:
      pieces: (second at which they begin, words or syllables with the spaces behind them), in order.
      end: second at which the last one ends.
    """
    first = pieces[0][0] if pieces else end
    line = "".join(f"<{_tag(time)}>{piece}" for time, piece in pieces)
    return f"[{_tag(first)}]{line}<{_tag(end)}>\n"


def _tag(seconds: float) -> str:
    hundredths = round(100 * seconds)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def pieces_of(text: str) -> list[tuple[float, str]]:
    """(second, words that begin then) of an LRC text, in the order of its lines; see `timed`.

    Raises UserError for more than `MAX_CHARACTERS`.
    """
    lines: list[tuple[list[float], list[str]]] = []  # what goes on with a line is joined once, or long ones take hours
    offset = 0.0
    for line in _clean(text).split("\n"):
        times, rest = _line_times(line)
        tag = None if times else _ID_TAG.match(line)
        if tag:
            offset = _milliseconds(tag[2]) if tag[1].lower() == "offset" else offset
        elif times or not lines:
            lines += [(times or [0.0], [rest])] if times or rest else []
        elif rest:  # words without a time of their own go on with the line before them
            lines[-1][1].append(rest)
    whole = [(times, "\n".join(parts)) for times, parts in lines]
    _require_size(sum(len(times) * len(rest) for times, rest in whole))
    found = [piece for times, rest in whole for time in times for piece in _words(rest, time, time - times[0])]
    return [(time - offset, piece) for time, piece in found]


def _line_times(line: str) -> tuple[list[float], str]:
    """The times that a line begins with, and what follows them."""
    times, place = [], 0
    while found := _LINE_TIMES.match(line, place):
        times.append(_seconds(found))
        place = found.end()
    return times, line[place:].strip()


def _words(line: str, start: float, shift: float) -> list[tuple[float, str]]:
    """The pieces of a line that begins at `start`; the times within it are those of its first appearance, which was
    `shift` seconds before this one."""
    pieces, place, time = [], 0, start
    for found in _WORD_TIME.finditer(line):
        pieces.append((time, line[place : found.start()]))
        time, place = max(_seconds(found) + shift, start), found.end()
    pieces.append((time, line[place:]))
    spoken = [index for index, (_, piece) in enumerate(pieces) if piece.strip()]
    if not spoken:
        return [(start, "")]
    # The end of a line belongs to its last word, behind which there may be the time at which that ends.
    last = spoken[-1]
    ends = [(when, "") for when, _ in pieces[last + 1 :]]
    return [*pieces[:last], (pieces[last][0], pieces[last][1].rstrip() + "\n"), *ends]


def _seconds(found: re.Match) -> float:
    minutes, seconds, fraction = found.groups()
    return 60.0 * int(minutes) + int(seconds) + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)


def _milliseconds(text: str) -> float:
    """Seconds that a tag's number of milliseconds is; 0 for what is no number."""
    number = re.fullmatch(r"\s*([+-]?\d{1,9})\s*", text)
    return int(number[1]) / 1000 if number else 0.0


def _clean(text: str) -> str:
    """Composed characters, one line end, no control characters."""
    lines = unicodedata.normalize("NFC", text.removeprefix("\ufeff")).splitlines()
    plain = ("".join(" " if unicodedata.category(one) == "Cc" else one for one in line).rstrip() for line in lines)
    return "\n".join(plain)


def _require_size(count: int) -> None:
    if count > MAX_CHARACTERS:
        raise UserError(f"too many words: over {MAX_CHARACTERS} characters; at most so many are read")

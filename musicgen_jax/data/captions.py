"""Captions: how a recording sounds, in words, from a file beside it or made of its labels.

A file of text is a caption. One of JSON has it under one of `TEXT_KEYS`, and may have `FIELDS` besides, as the files do
that MusicGen (Copet et al. 2023, arXiv 2306.05284, section 3) was trained with: a model may be told those too.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from musicgen_jax import config
from musicgen_jax.data import lyrics
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

TEXT, JSON, PLAIN = ".caption.txt", ".json", ".txt"  # what x.wav's caption lies in; the last if x.txt has no lyrics
SUFFIXES = (TEXT, JSON)
MAX_BYTES = 1 << 16  # of a file
MAX_CHARACTERS = 2000  # of a caption, or of all its fields: encoders were trained with a quarter of that
TEXT_KEYS = ("caption", "description", "text")
FIELDS = ("title", "artist", "genre", "moods", "keywords", "instrument", "bpm", "key")


@dataclasses.dataclass(frozen=True)
class Caption:
    """What is said of a track in words.

    Attributes:
      kind: "text" or "json", the file that it is from, or "tags" of the recording; "" where there is none.
      text: the caption; it may be "" where there are fields.
      fields: name, one of `FIELDS` -> value.
    """

    kind: str = ""
    text: str = ""
    fields: dict[str, str] = dataclasses.field(default_factory=dict)


NONE = Caption()


def of_tags(title: str, labels: Mapping[str, str]) -> Caption:
    """What a recording's title says, with its labels; none without a title, since labels are told in any case."""
    title = _line(title)[:MAX_CHARACTERS]
    known = {name: labels[name] for name in FIELDS if labels.get(name, config.UNKNOWN_LABEL) != config.UNKNOWN_LABEL}
    return Caption("tags", "", {"title": title} | known) if title else NONE


def told(caption: Caption, labels: Mapping[str, str]) -> tuple[str, ...]:
    """What a model may be told of a track: its caption, or where it has none its fields or labels; then its caption and
    these together, and these alone. ("",) where nothing is known.

    Args:
      caption: of the track.
      labels: likewise; they count where the caption has no fields.
    """
    known = caption.fields or {name: one for name, one in labels.items() if one not in ("", config.UNKNOWN_LABEL)}
    about = ". ".join(f"{name}: {value}" for name, value in known.items())
    if not (caption.text and about):
        return (caption.text or about,)
    return caption.text, f"{caption.text.rstrip('.')}. {about}", about


def read(path: str) -> tuple[Caption, str]:
    """(the caption in a file of text, or one of JSON by its name, what is doubtful about it or "").

    Raises:
      NotFoundError: there is no such file.
      UserError: it is too large, of no text, or has no caption.
    """
    name = files.describe_path(path)
    size = files.require_file(path, "caption")
    config.require(size <= MAX_BYTES, f"{name}: too large: {size} bytes of a caption; at most {MAX_BYTES} are read")
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES)
    try:
        text, doubt = lyrics.decoded(content)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    of_json = path.lower().endswith(JSON)
    found = _of_json(files.parse_json(text.encode(), name)) if of_json else Caption("text", _line(text))
    config.require(bool(found.text or found.fields), f"{name}: no caption: {_rule(of_json)}")
    longest = max(len(found.text), sum(map(len, found.fields.values())))
    config.require(longest <= MAX_CHARACTERS, f"{name}: too long: {longest} characters, of at most {MAX_CHARACTERS}")
    return found, doubt


def _rule(of_json: bool) -> str:
    if not of_json:
        return "the file has no words"
    return f"it has none of {', '.join((*TEXT_KEYS, *FIELDS))} with a text, a number or a list of these"


def _of_json(values: dict[str, Any]) -> Caption:
    texts = filter(None, (_value(values.get(key)) for key in TEXT_KEYS))
    fields = {key: one for key in FIELDS if (one := _value(values.get(key)))}
    return Caption("json", next(texts, ""), fields)


def _value(value: Any) -> str:
    """A value of JSON in words: "" for what is none."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_value, value)))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return _line(f"{value:g}" if isinstance(value, float) else str(value))


def _line(text: str) -> str:
    """A text as one line."""
    return " ".join(text.split())

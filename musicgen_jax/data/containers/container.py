"""An audio file -> its container's content, by its first bytes and not by its name."""

import dataclasses
from typing import BinaryIO

from musicgen_jax.data.containers import chunks, flac, id3, mpeg, ogg
from musicgen_jax.data.containers.content import Content, Part, bytes_at


def read(file: BinaryIO, size: int, extension: str) -> Content:
    """What is in an open file of `size` bytes.

    Args:
      file: positioned anywhere.
      size: in bytes.
      extension: such as ".mp3", in lower case; consulted only where the first bytes say nothing.

    Raises:
      UserError: the file is cut or damaged; "category: detail", without its name.
    """
    start, names = id3.leading(file)
    if start >= size:  # a tag whose size is wrong
        start = 0
    magic = bytes_at(file, start, 12)
    kind = chunks.kind_of(magic)
    content = None
    if magic[:4] == ogg.MAGIC:
        content = ogg.read(file, start, size)
    elif magic[:4] == flac.MAGIC:
        content = flac.read(file, start, size - id3.trailing(file, size)[0])
    elif kind is not None and not start:
        content = chunks.read(file, size, kind)
    elif start or mpeg.LAYER_3.match(magic) or extension == ".mp3":
        tag_bytes, old_names = id3.trailing(file, size)
        content, names = mpeg.read(file, start, size - tag_bytes), old_names | names
    if content is None:
        warning = "unknown container: nothing in it tells whether the file is whole"
        content = Content((Part(0, size),), (warning,))
    return dataclasses.replace(
        content,
        artist=content.artist or names.get("artist", ""),
        genre=content.genre or names.get("genre", ""),
        album=content.album or names.get("album", ""),
        title=content.title or names.get("title", ""),
    )

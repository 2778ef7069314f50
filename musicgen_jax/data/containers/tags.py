"""Artist, genre, album and title from Vorbis comments, RIFF INFO lists and ID3 tags, each in its own encoding."""

from musicgen_jax.data.containers import id3

RIFF_NAMES = {b"IART": "artist", b"IGNR": "genre", b"IPRD": "album", b"INAM": "title"}


def from_vorbis_comment(block: bytes) -> tuple[str, str, str, str]:
    """(artist, genre, album, title) of a comment header (Vorbis I specification, section 5): all artists, the first of
    the others."""
    found: dict[str, list[str]] = {"artist": [], "genre": [], "album": [], "title": []}
    vendor = int.from_bytes(block[:4], "little")
    position = 4 + vendor
    count = int.from_bytes(block[position : position + 4], "little")
    position += 4
    for _ in range(count):
        if position + 4 > len(block):
            break
        size = int.from_bytes(block[position : position + 4], "little")
        name, _, value = block[position + 4 : position + 4 + size].partition(b"=")
        values = found.get(name.decode("latin-1").lower())
        if values is not None and value.strip():
            values.append(text(value))
        position += 4 + size
    genre, album, title = (next(iter(found[name]), "") for name in ("genre", "album", "title"))
    return "; ".join(found["artist"]), genre, album, title


def from_riff_info(chunk: bytes) -> dict[str, str]:
    """{"artist", "genre", "album", "title"} of the body of a LIST chunk of type INFO."""
    found, position = {}, 4
    while position + 8 <= len(chunk):
        name, size = chunk[position : position + 4], int.from_bytes(chunk[position + 4 : position + 8], "little")
        if name in RIFF_NAMES:
            found[RIFF_NAMES[name]] = text(chunk[position + 8 : position + 8 + size].split(b"\0")[0])
        position += 8 + size + size % 2
    return found


def text(value: bytes) -> str:
    """Bytes of which nobody says in what encoding they are: UTF-8 if they are valid as such, else Latin-1."""
    try:
        return value.decode("utf-8").strip(id3.BLANK)
    except UnicodeDecodeError:
        return value.decode("latin-1").strip(id3.BLANK)

"""ID3: every version, encoding and way of writing a genre."""

import struct
import zlib

import pytest
import sounds

from musicgen_jax.data.containers import id3

BJORK, DVORAK = "Björk", "Dvořák 東京"


def synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 127 for shift in (21, 14, 7, 0))


def tag(version: int, frames: list[tuple[str, bytes]], flags: int = 0, frame_flags: int = 0, extended=b"") -> bytes:
    body = extended
    for name, content in frames:
        if version == 2:
            body += name.encode() + struct.pack(">I", len(content))[1:] + content
        else:
            size = synchsafe(len(content)) if version == 4 else struct.pack(">I", len(content))
            body += name.encode() + size + bytes([0, frame_flags]) + content
    body += bytes(20)
    return b"ID3" + bytes([version, 0, flags]) + synchsafe(len(body)) + body


@pytest.mark.parametrize(
    ("version", "artist", "text"),
    [
        (2, "TP1", b"\x00" + BJORK.encode("latin-1")),
        (3, "TPE1", b"\x00" + BJORK.encode("latin-1") + b"\0"),
        (3, "TPE1", b"\x01" + BJORK.encode("utf-16")),
        (3, "TPE1", b"\x01\xfe\xff" + BJORK.encode("utf-16-be") + b"\0\0"),
        (3, "TPE1", b"\x01" + BJORK.encode("utf-16-le")),
        (4, "TPE1", b"\x02" + BJORK.encode("utf-16-be")),
        (4, "TPE1", b"\x03" + BJORK.encode()),
    ],
)
def test_encodings(version, artist, text):
    assert id3.parse(tag(version, [("TSSE"[: len(artist)], b"\0x"), (artist, text)])) == {"artist": BJORK}


def test_letters_beyond_latin_1_and_several_artists():
    assert id3.parse(tag(3, [("TPE1", b"\x01" + DVORAK.encode("utf-16"))])) == {"artist": DVORAK}
    assert id3.parse(tag(4, [("TPE1", b"\x03A\0B")])) == {"artist": "A; B"}


def test_unsynchronised_compressed_and_extended_frames():
    text = b"\x01\xff\xfe" + "ÿA".encode("utf-16-le")
    assert id3.parse(tag(4, [("TPE1", text.replace(b"\xff", b"\xff\0"))], frame_flags=2)) == {"artist": "ÿA"}
    whole = tag(3, [("TPE1", text)])
    body = whole[10:].replace(b"\xff", b"\xff\0")
    assert id3.parse(b"ID3\x03\0\x80" + synchsafe(len(body)) + body) == {"artist": "ÿA"}
    packed = struct.pack(">I", 6) + zlib.compress(b"\x00Bj\xf6rk")
    assert id3.parse(tag(3, [("TPE1", packed)], frame_flags=0x80)) == {"artist": BJORK}
    assert id3.parse(tag(4, [("TPE1", synchsafe(6) + packed[4:])], frame_flags=9)) == {"artist": BJORK}
    assert id3.parse(tag(4, [("TPE1", b"secret")], frame_flags=4)) == {}
    assert id3.parse(tag(4, [("TPE1", b"\x00A")], flags=0x40, extended=synchsafe(6) + b"\x01\0")) == {"artist": "A"}
    assert id3.parse(tag(3, [("TPE1", b"\x00A")], flags=0x40, extended=struct.pack(">I", 6) + bytes(6))) == {
        "artist": "A"
    }


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("17", "Rock"), ("(17)", "Rock"), ("(17)Rock", "Rock"), ("(17)rock", "Rock"), ("Rock", "Rock"), ("RX", "Remix"),
        ("(CR)", "Cover"), ("(4)Eurodisco", "Eurodisco"), ("(51)(39)", "Techno-Industrial"), ("((Odd)", "(Odd)"),
        ("17\x0052", "Rock"), ("191", "Psybient"), ("192", ""), ("255", ""), ("(255)", ""), ("(255)Own", "Own"),
        ("99999999999", ""), ("", ""), ("80s", "80s"), ("Drum (and) Bass", "Drum (and) Bass"), ("0", "Blues"),
    ],
)  # fmt: skip
def test_genres_by_name(written, name):
    assert id3.genre(written) == name
    assert id3.parse(tag(4, [("TCON", b"\x03" + written.encode())])).get("genre", "") == name


def test_tags_of_an_mp3(tmp_path):
    audio = sounds.encoded("MP3", sounds.noise())
    v1 = b"TAG" + bytes(30) + BJORK.encode("latin-1").ljust(30, b"\0") + bytes(64) + b"\x08"
    facts = sounds.inspected(tmp_path, "1.mp3", audio + v1)
    assert (facts.reason, facts.artist, facts.genre) == ("", BJORK, "Jazz")
    v2 = tag(3, [("TPE1", b"\x01" + DVORAK.encode("utf-16"))])
    facts = sounds.inspected(tmp_path, "2.mp3", v2 + audio + v1)
    assert (facts.reason, facts.artist, facts.genre) == ("", DVORAK, "Jazz")
    facts = sounds.inspected(tmp_path, "3.flac", v2 + sounds.encoded("FLAC", sounds.noise()) + v1)
    assert (facts.reason, facts.artist, facts.duration) == ("", DVORAK, 2.0)


@pytest.mark.parametrize("padding", [0, 600])
def test_plain_sizes_in_version_2_4(padding):
    """As some programs write them; sizes that are right stay right, whatever the padding behind them."""
    artist = "x" * 200
    frames = [("TPE1", b"\x03" + artist.encode()), ("TCON", b"\x0317")]
    for version in (3, 4):  # the frames of version 3 have plain sizes
        body = tag(version, frames)[10:-20] + bytes(padding)
        marked = b"ID3\x04\0\0" + synchsafe(len(body)) + body
        assert id3.parse(marked) == {"artist": artist, "genre": "Rock"}

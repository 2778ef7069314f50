"""FLAC: of unknown length, cut, and its comments."""

import numpy as np
import sounds

AUDIO = sounds.noise(3.0)
FLAC = sounds.encoded("FLAC", AUDIO)


def without_length(data: bytes) -> bytes:
    """As an encoder leaves it that writes to a pipe: no length, no checksum of the samples."""
    block = data[8:42]
    return data[:8] + block[:13] + bytes([block[13] & 0xF0]) + bytes(20) + data[42:]


def test_unknown_length_is_read_to_the_end(tmp_path):
    facts = sounds.inspected(tmp_path, "a.flac", without_length(FLAC))
    assert (facts.reason, facts.duration) == ("", 3.0) and facts.warning.startswith("unknown length: ")
    want = sounds.decoded(tmp_path, "b.flac", FLAC)
    np.testing.assert_array_equal(sounds.decoded(tmp_path, "a.flac", without_length(FLAC)), want)
    assert sounds.inspected(tmp_path, "b.flac", FLAC).warning == ""


def test_a_length_that_is_too_small_loses_nothing(tmp_path):
    short = FLAC[:21] + bytes([FLAC[21] & 0xF0]) + sounds.RATE.to_bytes(4) + FLAC[26:]
    facts = sounds.inspected(tmp_path, "a.flac", short)
    assert (facts.reason, facts.duration) == ("", 3.0)
    assert facts.warning == "wrong length: its header says 16000 frames, 48000 are there and are read"


def test_cut_and_changed_files(tmp_path):
    for size in (30, len(FLAC) // 2, len(FLAC) - 100):
        assert sounds.inspected(tmp_path, "cut.flac", FLAC[:size]).reason.startswith("truncated")
    middle = len(FLAC) // 2
    changed = FLAC[:middle] + bytes(4) + FLAC[middle + 4 :]
    assert sounds.inspected(tmp_path, "changed.flac", changed).reason.startswith("truncated or damaged: ")


def test_a_header_of_another_length(tmp_path):
    for size in (0, 13, 33, 35):
        damaged = FLAC[:4] + bytes([FLAC[4]]) + size.to_bytes(3) + FLAC[8 : 8 + size] + FLAC[42:]
        reason = sounds.inspected(tmp_path, "a.flac", damaged).reason
        assert reason.startswith(f"damaged: the STREAMINFO block of its FLAC header has {size} bytes, not 34")


def test_comments_in_latin_1(tmp_path):
    comment = b"\0\0\0\0\x02\0\0\0"
    for entry in (b"artist=Bj\xf6rk", b"GENRE=Caf\xe9"):
        comment += len(entry).to_bytes(4, "little") + entry
    block = b"\x04" + len(comment).to_bytes(3) + comment
    facts = sounds.inspected(tmp_path, "a.flac", FLAC[:42] + block + FLAC[42:])
    assert (facts.reason, facts.artist, facts.genre) == ("", "Björk", "Café")

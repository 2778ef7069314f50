"""Wav and its kin: lengths that are wrong or unknown, cut files, odd chunks, tags."""

import struct

import numpy as np
import pytest
import sounds

from musicgen_jax.data import audio_io

AUDIO = sounds.noise()  # 64,000 bytes of 16 bits
WAV = sounds.encoded("WAV", AUDIO)
SIZE_AT = WAV.index(b"data") + 4


def with_length(length: int) -> bytes:
    return WAV[:SIZE_AT] + struct.pack("<I", length) + WAV[SIZE_AT + 4 :]


def chunk(name: bytes, content: bytes, pad: bytes = b"") -> bytes:
    return name + struct.pack("<I", len(content)) + content + pad


@pytest.mark.parametrize(
    "length",
    [0, 1, 2**31 - 1, 0x7FFFF000, 2**31, 2**31 - 44, 2**32 - 1, 2**32 - 37, 64_002, 64_008, 64_036, 64_044],
)
def test_a_length_that_was_never_filled_in_or_is_off_by_a_header_is_read_to_the_end(tmp_path, length):
    facts = sounds.inspected(tmp_path, "a.wav", with_length(length))
    assert facts.reason == "" and facts.duration == 2.0
    assert facts.warning.startswith(f"wrong length: its header says {length} bytes of audio, 64000 are there")
    np.testing.assert_array_equal(
        sounds.decoded(tmp_path, "b.wav", with_length(length)), sounds.decoded(tmp_path, "c.wav", WAV)
    )


@pytest.mark.parametrize("length", [0, 2**31 - 1, 2**32 - 1, 64_002])
def test_tags_behind_samples_of_unknown_length_are_not_heard(tmp_path, length):
    words = chunk(b"INFO", b"")[:4] + chunk(b"IART", b"Somebody")
    tagged = with_length(length) + chunk(b"LIST", words) + chunk(b"id3 ", b"ID3\x03\x00\x00" + bytes(4))
    assert "64000 are there" in sounds.inspected(tmp_path, "a.wav", tagged).warning
    with audio_io.open_audio(tmp_path / "a.wav") as file:
        assert file.artist == "Somebody"
    np.testing.assert_array_equal(sounds.decoded(tmp_path, "a.wav", tagged), sounds.decoded(tmp_path, "c.wav", WAV))


def test_a_file_of_nothing_but_names_of_chunks_is_no_trap(tmp_path):
    facts = sounds.inspected(tmp_path, "a.wav", with_length(2**31 - 1) + chunk(b"LIST", b"") * 2**17)
    assert facts.reason == ""  # they are read as samples, since they do not reach to the end in so many chunks


@pytest.mark.parametrize(
    ("container", "subtype"),
    [(c, s) for c in ("WAV", "WAVEX") for s in ("PCM_U8", "PCM_24", "FLOAT", "ULAW")] + [("WAV", "MS_ADPCM")],
)
def test_the_recorder_was_killed_in_every_encoding(tmp_path, container, subtype):
    whole = sounds.encoded(container, AUDIO, subtype=subtype)
    at = whole.index(b"data") + 4
    killed = whole[:4] + bytes(4) + whole[8:at] + bytes(4) + whole[at + 4 :]
    want = sounds.decoded(tmp_path, "whole.wav", whole)
    assert len(want) >= len(AUDIO)
    np.testing.assert_array_equal(sounds.decoded(tmp_path, "killed.wav", killed), want)


@pytest.mark.parametrize(
    ("container", "options", "name", "field", "format"),
    [
        ("RF64", {}, b"ds64", 16, "<Q"),
        ("WAV", {"endian": "BIG"}, b"data", 4, ">I"),
        ("W64", {}, b"data", 16, "<Q"),
        ("AIFF", {}, b"SSND", 4, ">I"),
    ],
)
def test_the_other_kinds_of_chunks(tmp_path, container, options, name, field, format):
    whole = sounds.encoded(container, AUDIO, **options)
    assert sounds.inspected(tmp_path, "whole.wav", whole).warning == ""
    want = sounds.decoded(tmp_path, "whole.wav", whole)
    at = whole.index(name) + field
    for length in (0, 2 ** (8 * struct.calcsize(format)) - 1):
        unknown = whole[:at] + struct.pack(format, length) + whole[at + struct.calcsize(format) :]
        np.testing.assert_array_equal(sounds.decoded(tmp_path, "unknown.wav", unknown), want)
        assert sounds.inspected(tmp_path, "unknown.wav", unknown).warning.startswith("wrong length: ")
    assert sounds.inspected(tmp_path, "cut.wav", whole[:-20_000]).reason.startswith("truncated: its header promises")


def test_cut_files_are_truncated(tmp_path):
    for cut in (5_000, 30_000, 63_000):
        facts = sounds.inspected(tmp_path, "a.wav", WAV[:-cut])
        assert facts.reason.startswith(
            f"truncated: its header promises 64000 bytes of audio and {64_000 - cut} are there"
        )
    facts = sounds.inspected(tmp_path, "few.wav", WAV[:-100])
    assert facts.reason == "" and facts.duration == 31_950 / 16_000
    assert "says 64000 bytes of audio, 63900 are there" in facts.warning


def test_what_lies_behind_the_samples_is_no_audio(tmp_path):
    info = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"some program"))
    assert sounds.inspected(tmp_path, "list.wav", WAV + info).warning == ""
    facts = sounds.inspected(tmp_path, "junk.wav", WAV + b"no chunk at all " * 10)
    assert facts.duration == 2.0 and facts.warning.startswith("stray bytes: 160 bytes")
    facts = sounds.inspected(tmp_path, "two.wav", WAV + chunk(b"data", WAV[44:32_044]))
    assert facts.duration == 2.0 and facts.warning.startswith("more samples: 32000 bytes in a second chunk")
    empty = with_length(0)[: SIZE_AT + 4] + info
    assert sounds.inspected(tmp_path, "empty.wav", empty).reason.startswith("too short: 0.00 s")


def test_an_odd_number_of_bytes_of_audio_at_the_end(tmp_path):
    odd = sounds.encoded("WAV", AUDIO[:31_999], subtype="PCM_24")[: 44 + 3 * 31_999]
    assert len(odd) % 2 == 1
    facts = sounds.inspected(tmp_path, "a.wav", odd)
    assert (facts.reason, facts.warning, facts.duration) == ("", "", 31_999 / 16_000)


def test_an_odd_chunk_without_its_last_byte(tmp_path):
    info = chunk(b"LIST", b"INFO" + chunk(b"IART", b"Bj\xf6rk\0x"))
    for data in (WAV[:12] + WAV[12:36] + info + WAV[36:], WAV + info):
        facts = sounds.inspected(tmp_path, "a.wav", data)
        assert (facts.reason, facts.duration, facts.artist) == ("", 2.0, "Björk")


def test_tags(tmp_path):
    body = b"TPE1" + struct.pack(">IH", 6, 0) + b"\x00Bj\xf6rk" + b"TCON" + struct.pack(">IH", 3, 0) + b"\x0017"
    id3 = b"ID3\x03\0\0\0\0\0" + bytes([len(body)]) + body
    facts = sounds.inspected(tmp_path, "a.wav", WAV + chunk(b"id3 ", id3, b"\0" * (len(id3) % 2)))
    assert (facts.artist, facts.genre, facts.warning) == ("Björk", "Rock", "")
    info = chunk(b"LIST", b"INFO" + chunk(b"IART", "Dvořák\0".encode(), b"\0") + chunk(b"IGNR", b"Caf\xe9\0", b"\0"))
    facts = sounds.inspected(tmp_path, "b.wav", WAV + info + b"\0" * (len(info) % 2))
    assert (facts.artist, facts.genre) == ("Dvořák", "Café")


def test_beyond_4_gib_the_header_is_that_of_rf64(tmp_path):
    """A sparse file stands for the samples: only its header is read, not its 5 GB."""
    import soundfile

    from musicgen_jax.data.containers import container, content

    path, size = tmp_path / "long.wav", 5 * 10**9
    with open(path, "wb") as file:
        file.write(with_length(2**32 - 1)[: SIZE_AT + 4])
        file.truncate(SIZE_AT + 4 + size)
    with open(path, "rb") as file:
        found = container.read(file, SIZE_AT + 4 + size, ".wav")
        decoder = soundfile.SoundFile(content.PartFile(file, found.parts[0]))
        assert decoder.frames == size // 2

"""MPEG layer III: read whole with and without a Xing header; cut files are found out."""

import numpy as np
import pytest
import sounds

from musicgen_jax.data.containers import mpeg

RATES = (44100, 22050, 8000)  # MPEG 1, 2 and 2.5
HEAD = 4 + 32 + 120


def rising(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """A quiet tone, then noise: a variable bit rate begins low and ends high."""
    time = np.arange(round(seconds * rate)) / rate
    mono = np.where(time < 0.8 * seconds, 0.3 * np.sin(2765 * time), sounds.noise(seconds, rate)).astype(np.float32)
    return mono if channels == 1 else np.stack([mono, 0.5 * mono], axis=1)


def without_xing(data: bytes) -> bytes:
    assert b"Xing" in data[:HEAD] or b"Info" in data[:HEAD]
    return data[mpeg.frame_bytes(data[:4]) :]


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_without_its_xing_header_all_of_it_is_read(tmp_path, mode, rate, channels):
    whole = sounds.encoded("MP3", rising(6.0, rate, channels), rate, bitrate_mode=mode, compression_level=0.5)
    facts = sounds.inspected(tmp_path, "whole.mp3", whole)
    assert (facts.reason, facts.warning, facts.duration) == ("", "", 6.0)
    facts = sounds.inspected(tmp_path, "bare.mp3", without_xing(whole))
    assert facts.reason == "" and 6.0 <= facts.duration <= 6.0 + 4 * 1152 / rate
    assert facts.warning.startswith("unknown length: ") == (mode != "CONSTANT")
    # The encoder's delay, which the header tells, is no longer cut off; beside it the samples are the same.
    want, got = (
        sounds.decoded(tmp_path, f"{name}.mp3", (tmp_path / f"{name}.mp3").read_bytes()) for name in ("whole", "bare")
    )
    noisy = slice(int(0.9 * len(want)), int(0.9 * len(want)) + 1000)  # the tone would fit in many places
    delay = next(d for d in range(2500) if np.allclose(got[d:][noisy], want[noisy], atol=1e-3))
    np.testing.assert_allclose(got[delay + 5000 : delay + len(want)], want[5000:], atol=1e-3)


def test_cut_files(tmp_path):
    whole = sounds.encoded("MP3", sounds.noise(6.0))
    for share in (0.5, 0.9, 0.97):
        reason = sounds.inspected(tmp_path, "cut.mp3", whole[: int(share * len(whole))]).reason
        assert reason.startswith("truncated: ") and "MPEG frames are there" in reason
    bare = without_xing(whole)
    facts = sounds.inspected(tmp_path, "bare.mp3", bare[: len(bare) // 2])
    assert facts.reason == "" and "cut: its last MPEG frame breaks off and is left out" in facts.warning


def test_what_follows_the_last_frame_is_told(tmp_path):
    first, other = sounds.encoded("MP3", sounds.noise(2.0)), sounds.encoded("MP3", sounds.noise(2.0, 22050), 22050)
    facts = sounds.inspected(tmp_path, "a.mp3", first + other)
    assert facts.reason == "" and facts.duration == 2.0
    assert facts.warning == f"stray bytes: {len(other)} bytes between or behind its MPEG frames are left out"
    assert sounds.inspected(tmp_path, "a.mp3", first + b"APETAGEX" + bytes(200)).warning == ""


def test_two_files_in_one(tmp_path):
    parts = [sounds.encoded("MP3", sounds.noise(seconds)) for seconds in (2.0, 3.0)]
    facts = sounds.inspected(tmp_path, "a.mp3", b"".join(parts))
    assert facts.reason == "" and facts.duration == pytest.approx(5.0, abs=0.4)
    assert facts.warning.startswith("wrong length: its header tells of ")


def test_tags_and_stray_bytes_are_no_audio(tmp_path):
    whole = sounds.encoded("MP3", sounds.noise(3.0))
    # A picture with bytes that look like a frame.
    tag = b"ID3\x03\0\0\0\0\x02\x00" + (b"APIC\0\0\0\xf0\0\0" + whole[:240]).ljust(256, b"\0")
    facts = sounds.inspected(tmp_path, "tagged.mp3", tag + whole + b"TAG" + bytes(125))
    assert (facts.reason, facts.warning, facts.duration) == ("", "", 3.0)
    third = 2 * mpeg.frame_bytes(whole[:4])  # frames of a constant bit rate at 16 kHz are equally long
    third = whole.index(whole[:2], third - 2)
    facts = sounds.inspected(tmp_path, "stray.mp3", whole[:third] + bytes(300) + whole[third:])
    assert (
        facts.reason == "" and facts.warning == "stray bytes: 300 bytes between or behind its MPEG frames are left out"
    )


def test_a_tag_that_claims_more_than_the_file(tmp_path):
    whole = sounds.encoded("MP3", sounds.noise(3.0))
    facts = sounds.inspected(tmp_path, "a.mp3", b"ID3\x03\0\0\x7f\x7f\x7f\x7f" + bytes(50) + whole)
    assert (facts.reason, facts.duration) == ("", 3.0)


def test_zeros_in_front(tmp_path):
    whole = sounds.encoded("MP3", sounds.noise(3.0))
    assert sounds.inspected(tmp_path, "a.mp3", bytes(2000) + whole).duration == 3.0


def test_a_header_of_our_own_is_read_as_such():
    for header in (b"\xff\xfb\x90\x44", b"\xff\xfa\x90\xc4", b"\xff\xf3\x44\x44", b"\xff\xe3\x44\xc4"):
        frame = mpeg.xing(header, 1234)
        assert len(frame) == mpeg.frame_bytes(frame[:4]) and mpeg._info(frame) == (len(frame), 1234)

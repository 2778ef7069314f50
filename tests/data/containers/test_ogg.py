"""Ogg: damage of every kind is found, chains are read whole."""

import numpy as np
import pytest
import sounds

from musicgen_jax.data.containers import ogg


def pages_of(data: bytes) -> list[bytes]:
    starts = [index for index in range(len(data)) if data.startswith(b"OggS\0", index)]
    return [data[start:stop] for start, stop in zip(starts, [*starts[1:], len(data)], strict=True)]


def sealed(page: bytes) -> bytes:
    """A page with its checksum."""
    blank = page[:22] + bytes(4) + page[26:]
    return blank[:22] + ogg.crc(blank).to_bytes(4, "little") + blank[26:]


@pytest.fixture(scope="module")
def recording() -> bytes:
    return sounds.encoded("OGG", sounds.noise(5.0))


def test_checksums_are_those_of_the_encoder(recording):
    pages = pages_of(recording)
    assert len(pages) > 6 and all(sealed(page) == page for page in pages)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_streams_are_read_whole(tmp_path, subtype):
    parts = [sounds.encoded("OGG", sounds.noise(2.0, seed=seed), subtype=subtype) for seed in range(3)]
    wanted = [sounds.decoded(tmp_path, "part.ogg", part) for part in parts]
    np.testing.assert_array_equal(sounds.decoded(tmp_path, "chain.ogg", b"".join(parts)), np.concatenate(wanted))
    facts = sounds.inspected(tmp_path, "chain.ogg", b"".join(parts))
    assert facts.reason == "" and facts.warning == "chained: 3 Ogg streams, one after the other"
    assert facts.duration == pytest.approx(6.0, abs=0.01)


def test_chained_streams_of_different_rates_are_rejected(tmp_path):
    parts = [sounds.encoded("OGG", sounds.noise(2.0, rate), rate) for rate in (16000, 22050)]
    reason = sounds.inspected(tmp_path, "a.ogg", b"".join(parts)).reason
    assert reason.startswith("mixed streams: 22050 Hz in 1 channels after 16000 Hz in 1")


def test_every_missing_page_is_noticed(tmp_path, recording):
    pages = pages_of(recording)
    for missing in range(1, len(pages) - 1):
        rest = b"".join(page for index, page in enumerate(pages) if index != missing)
        reason = sounds.inspected(tmp_path, "a.ogg", rest).reason
        assert reason.startswith("damaged: Ogg pages are missing before byte"), (missing, reason)


def test_changed_bytes_are_noticed_wherever_they_are(tmp_path, recording):
    for position in range(40, len(recording), len(recording) // 40):
        changed = recording[:position] + bytes([recording[position] ^ 16]) + recording[position + 1 :]
        reason = sounds.inspected(tmp_path, "a.ogg", changed).reason
        assert reason.startswith(("damaged: ", "truncated: ")), (position, reason)


def test_cut_files(tmp_path, recording):
    pages = pages_of(recording)
    for size in (len(recording) // 2, len(recording) - 1, len(b"".join(pages[:4])) + 10):
        assert sounds.inspected(tmp_path, "a.ogg", recording[:size]).reason.startswith("truncated: ")


def test_a_stream_without_end_mark_is_kept_if_its_last_packet_is_whole(tmp_path, recording):
    pages = pages_of(recording)
    unmarked = sealed(pages[-1][:5] + bytes([pages[-1][5] & ~ogg.ENDS]) + pages[-1][6:])
    data = b"".join([*pages[:-1], unmarked])
    facts = sounds.inspected(tmp_path, "a.ogg", data)
    assert facts.reason == "" and facts.duration == 5.0 and facts.warning.startswith("no end mark: ")
    whole = [index for index in range(4, len(pages) - 1) if pages[index][26 + pages[index][26]] != 255]
    facts = sounds.inspected(tmp_path, "b.ogg", b"".join(pages[: whole[0] + 1]))
    assert facts.warning.startswith("no end mark: ") and 1 < facts.duration < 5


def test_an_opus_stream_without_end_mark_is_as_long_as_with_it(tmp_path):
    whole = sounds.encoded("OGG", sounds.noise(5.0), subtype="OPUS")
    pages = pages_of(whole)
    data = b"".join([*pages[:-1], sealed(pages[-1][:5] + bytes([pages[-1][5] & ~ogg.ENDS]) + pages[-1][6:])])
    np.testing.assert_array_equal(sounds.decoded(tmp_path, "a.ogg", data), sounds.decoded(tmp_path, "whole.ogg", whole))
    assert sounds.inspected(tmp_path, "a.ogg", data).warning.startswith("no end mark: ")


def test_streams_side_by_side_are_told(tmp_path, recording):
    """Two recordings whose pages alternate: one of them is heard."""
    other = [sealed(page[:14] + b"else" + page[18:]) for page in pages_of(sounds.encoded("OGG", sounds.noise(5.0)))]
    mixed = b"".join(page for pair in zip(pages_of(recording), other, strict=True) for page in pair)
    facts = sounds.inspected(tmp_path, "a.ogg", mixed)
    assert facts.duration == 5.0 and facts.warning.startswith("several streams: ")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize(("granule", "reason"), [(20000, "goes back in time"), (2**64 - 1, "does not tell how long")])
def test_a_last_page_that_would_cut_what_is_there(tmp_path, subtype, granule, reason):
    pages = pages_of(sounds.encoded("OGG", sounds.noise(5.0), subtype=subtype))
    last = sealed(pages[-1][:6] + granule.to_bytes(8, "little") + pages[-1][14:])
    found = sounds.inspected(tmp_path, "a.ogg", b"".join([*pages[:-1], last])).reason
    assert found.startswith("damaged: ") and reason in found


def test_a_packet_that_goes_on_nowhere_is_truncated(tmp_path, recording):
    pages = pages_of(recording)
    last = pages[-2]
    table = 27 + last[26]
    size = sum(last[27:table])
    grown = last[: table - 1] + b"\xff" + last[table:] + bytes(255 - last[table - 1])
    assert len(grown) - table == size + 255 - last[table - 1]
    assert sounds.inspected(tmp_path, "a.ogg", b"".join(pages[:-2]) + sealed(grown)).reason.startswith(
        "truncated: its last Ogg packet breaks off"
    )


def test_bytes_that_are_no_page(tmp_path, recording):
    facts = sounds.inspected(tmp_path, "behind.ogg", recording + b"TAG" + bytes(125))
    assert facts.reason == "" and facts.warning == "stray bytes: 128 bytes behind its last Ogg page are left out"
    pages = pages_of(recording)
    reason = sounds.inspected(tmp_path, "between.ogg", b"".join([*pages[:3], b"junk", *pages[3:]])).reason
    assert reason.startswith("damaged: the bytes from")


def test_a_length_that_is_no_length(tmp_path, recording):
    pages = pages_of(recording)
    last = sealed(pages[-1][:6] + (2**40).to_bytes(8, "little") + pages[-1][14:])
    assert sounds.inspected(tmp_path, "a.ogg", b"".join([*pages[:-1], last])).reason.startswith("truncated: ")


@pytest.mark.parametrize(("subtype", "magic"), [("VORBIS", b"\x03vorbis"), ("OPUS", b"OpusTags")])
def test_comments_in_whatever_encoding(tmp_path, subtype, magic):
    pages = pages_of(sounds.encoded("OGG", sounds.noise(2.0), subtype=subtype))
    comment = b"\0\0\0\0\x03\0\0\0"
    for entry in (b"ARTIST=Bj\xf6rk", "artist=Dvořák".encode(), b"Genre=Trip-Hop"):
        comment += len(entry).to_bytes(4, "little") + entry
    old = pages[1]
    sizes = list(old[27 : 27 + old[26]])
    first = next(index for index, size in enumerate(sizes) if size < 255) + 1  # lacing values of the old comment
    rest = old[27 + old[26] + sum(sizes[:first]) :]
    packet = magic + comment + (b"\x01" if subtype == "VORBIS" else b"")
    lacing = [255] * (len(packet) // 255) + [len(packet) % 255] + sizes[first:]
    pages[1] = sealed(old[:26] + bytes([len(lacing), *lacing]) + packet + rest)
    facts = sounds.inspected(tmp_path, "a.ogg", b"".join(pages))
    assert (facts.reason, facts.artist, facts.genre) == ("", "Björk; Dvořák", "Trip-Hop")


def test_a_large_picture_among_the_comments(tmp_path):
    """Four megabytes over many pages: read in a moment, and the artist behind them found."""
    pages = pages_of(sounds.encoded("OGG", sounds.noise(2.0), subtype="OPUS"))
    entries = (b"METADATA_BLOCK_PICTURE=" + bytes(4_000_000), b"ARTIST=Ann")
    packet = b"OpusTags" + bytes(4) + (2).to_bytes(4, "little")
    packet += b"".join(len(entry).to_bytes(4, "little") + entry for entry in entries)
    old = pages[1]
    bodies = [packet[start : start + 255 * 255] for start in range(0, len(packet), 255 * 255)]
    comments = []
    for index, body in enumerate(bodies):
        last = index == len(bodies) - 1
        lacing = [255] * (len(body) // 255) + ([len(body) % 255] if last else [])
        number = (1 + index).to_bytes(4, "little")
        comments.append(
            old[:5] + bytes([index > 0]) + old[6:18] + number + bytes(4) + bytes([len(lacing), *lacing]) + body
        )
    moved = [
        page[:18] + (len(bodies) + 1 + index).to_bytes(4, "little") + page[22:] for index, page in enumerate(pages[2:])
    ]
    facts = sounds.inspected(tmp_path, "a.ogg", pages[0] + b"".join(map(sealed, comments + moved)))
    assert (facts.reason, facts.artist) == ("", "Ann")

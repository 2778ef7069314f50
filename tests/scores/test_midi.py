"""MIDI files: read as pretty_midi reads them, written and read again, and every bad one refused in one line."""

import pathlib
import struct

import fuzzing
import numpy as np
import pytest

from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

SHARED = pathlib.Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
MAESTRO = sorted((SHARED / "maestro-v3.0.0").glob("*/*.midi"))
LAKH = sorted((SHARED / "lmd_full" / "d").glob("*.mid"))
END = b"\x00\xff\x2f\x00"


def number(value: int) -> bytes:
    """A variable-length quantity."""
    digits = [value & 127]
    while value := value >> 7:
        digits.append(128 | (value & 127))
    return bytes(reversed(digits))


def note(wait: int, length: int, pitch: int = 60, channel: int = 0) -> bytes:
    return number(wait) + bytes([0x90 | channel, pitch, 64]) + number(length) + bytes([0x80 | channel, pitch, 0])


def meta(wait: int, kind: int, content: bytes) -> bytes:
    return number(wait) + bytes([0xFF, kind, len(content)]) + content


def tempo(wait: int, microseconds: int) -> bytes:
    return meta(wait, 0x51, microseconds.to_bytes(3, "big"))


def song(*tracks: bytes, kind: int = 1, division: int = 480, count: int | None = None) -> bytes:
    """A file of tracks, each of which gets its end."""
    header = struct.pack(">IHHH", 6, kind, len(tracks) if count is None else count, division)
    return b"MThd" + header + b"".join(b"MTrk" + struct.pack(">I", len(t) + 4) + t + END for t in tracks)


def oracle(path: pathlib.Path) -> np.ndarray:
    """float64 [N, 4], pitch, onset, end, velocity of all that is no drum, sorted, as pretty_midi reads it."""
    pretty_midi = pytest.importorskip("pretty_midi", reason="pretty_midi is not installed: pip install '.[test]'")
    instruments = [x for x in pretty_midi.PrettyMIDI(str(path)).instruments if not x.is_drum]
    rows = np.array([(n.pitch, n.start, n.end, n.velocity) for x in instruments for n in x.notes])
    return rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 0], rows[:, 1].astype(np.float32)))]


def require_equal(path: pathlib.Path) -> None:
    found, wanted = midi.read(path), oracle(path)
    rows = np.column_stack([found.notes[:, :2], found.ends, found.notes[:, 3]])
    rows = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 0], rows[:, 1]))]
    np.testing.assert_array_equal(rows[:, [0, 3]], wanted[:, [0, 3]])
    np.testing.assert_allclose(rows[:, 1:3], wanted[:, 1:3], rtol=1e-7, atol=1e-6)


def test_as_pretty_midi_reads(tmp_path):
    tempos = tempo(0, 400_000) + tempo(700, 900_000) + tempo(0, 650_000) + tempo(5000, 333_333)
    melody = b"".join(
        note(wait, length, pitch) for wait, length, pitch in ((0, 480, 60), (13, 977, 64), (6000, 77, 67))
    )
    channels = note(5, 10, 40, channel=2) + note(5, 1000, 50, channel=3) + note(0, 100, 36, channel=9)
    (tmp_path / "a.mid").write_bytes(song(tempos, melody, channels, division=384))
    require_equal(tmp_path / "a.mid")
    found = midi.read(tmp_path / "a.mid")
    assert found.num_parts == 3  # two channels of the last track, and its drums are left out
    assert [found.of_part(part)[0, 0] for part in range(3)] == [60, 40, 50]


@pytest.mark.skipif(not MAESTRO, reason="the shared folder with real performances is absent")
def test_real_files_as_pretty_midi_reads_them():
    for path in (MAESTRO[0], MAESTRO[-1], *LAKH):
        require_equal(path)


@pytest.mark.slow
@pytest.mark.skipif(not MAESTRO, reason="the shared folder with real performances is absent")
@pytest.mark.parametrize("path", MAESTRO, ids=lambda path: path.stem[:12])
def test_all_real_performances_as_pretty_midi_reads_them(path):
    require_equal(path)


def test_the_tempo_map_makes_quarters_and_bars():
    signatures = meta(0, 0x58, bytes([1, 2, 24, 8])) + meta(480, 0x58, bytes([3, 2, 24, 8]))
    head = tempo(0, 1_000_000) + signatures + tempo(1440, 500_000)
    found = midi.parse(song(head, note(0, 480 * 8)), "x")
    np.testing.assert_allclose(found.quarters, [0, 1, 2, 3, 4, 4.5, 5, 5.5, 6])
    np.testing.assert_array_equal(found.bars, [-2, 1, 4, 7])  # one quarter before a bar of three is an upbeat
    assert found.seconds == 6.0
    without = midi.parse(song(note(0, 480)), "x")
    assert without.bars is None and without.quarters.tolist() == [0, 0.5]


def test_sixths_and_changes_of_meter():
    head = meta(0, 0x58, bytes([6, 3, 24, 8])) + meta(480 * 6, 0x58, bytes([4, 2, 24, 8]))
    assert midi.parse(song(head, note(0, 480 * 12)), "x").bars.tolist() == [0, 3, 6, 10]


def test_keys_struck_again_end_in_turn():
    twice = b"\x00\x90\x3c\x40\x0a\x90\x3c\x40\x0a\x80\x3c\x00\x0a\x80\x3c\x00"
    found = midi.parse(song(twice, division=100), "x")
    np.testing.assert_allclose(found.notes[:, 1:3], [[0, 0.1], [0.05, 0.1]], rtol=1e-6)


BAD = {
    "empty": (b"", "no MIDI file: it begins with b''"),
    "wav": (b"RIFF....", "no MIDI file: it begins with b'RIFF'"),
    "header": (song(note(0, 1))[:12], "truncated: 12 bytes"),
    "cut": (song(note(0, 1), note(0, 480))[:-3], "truncated: track 2 ends 3 bytes after the file"),
    "lost track": (song(note(0, 1), count=3), "tracks announced: 3, found: 1"),
    "silent track": (song(note(0, 1), note(0, 1), count=1), "tracks announced: 1, found: more than 1"),
    "type 2": (song(note(0, 1), kind=2), "MIDI of format 2"),
    "smpte": (song(note(0, 1), division=0xE728), "SMPTE"),
    "no ticks": (song(note(0, 1), division=0), "0 ticks a quarter"),
    "silence": (song(b""), "no notes in it"),
    "nothing": (song(), "no notes in it"),
    "drums": (song(note(0, 9, channel=9)), "no notes but drums"),
    "byte": (song(b"\x00\x90\x3c\xc0\x05\x80\x3c\x00"), "damaged MIDI \\(Get velocity=192\\)"),
    "no status": (song(b"\x00\x3c\x40"), "damaged MIDI"),
    "sysex": (song(b"\x00\xf0\x8f\xff\xff\x7f\x00"), "damaged MIDI"),
    "tempo": (song(tempo(0, 0), note(0, 480)), "a tempo of 0"),
    "signature": (song(meta(0, 0x58, bytes([0, 2, 24, 8])), note(0, 480)), "an impossible time signature"),
    "power": (song(meta(0, 0x58, bytes([4, 240, 24, 8])), note(0, 480)), "an impossible time signature"),
    "10^9 ticks": (song(note(0, 2**28 - 1) * 4), "too long: 2236962 quarters"),
    "a day": (song(tempo(0, 2**24 - 1) + note(0, 480 * 10_000)), "too long: 10000 quarters, 167772 s"),
    "10^10 ticks": (song(note(2**28 - 1, 2**28 - 1) * 20), "too long: "),
    "10^6 at once": (song(b"\x00\x90\x3c\x40" * 10**6 + b"\x01\x80\x3c\x00" * 10**6), "too many notes: 1000000"),
    "10^5 at once": (song(b"\x00\x90\x3c\x40" * 10**5 + b"\x01\x80\x3c\x00" * 10**5), "too dense: 100000 notes"),
    "2000 tracks": (song(*[note(0, 1)] * 2000), "too many tracks: 2000"),
    "2000 channels": (song(*[b"".join(note(0, 1, 60, n) for n in range(9))] * 250), "too many tracks: 2250"),
    "10^6 programs": (song(b"\x00\xc0\x01" * 10**6), "too many changes of program"),
    "10^5 meters": (song(meta(0, 0x58, bytes([3, 2, 24, 8])) * 10**5 + note(0, 9)), "too many time signatures: 100000"),
    "8 MB": (song(note(0, 1) * 1_100_000), "too large"),
    "10^6 without an end": (song(b"\x00\x90\x3c\x40" * 10**6), "no notes in it"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(name):
    content, message = BAD[name]
    with pytest.raises(UserError, match=rf"^x\.mid: .*{message}") as caught:
        midi.parse(content, "x.mid")
    assert "\n" not in str(caught.value)


def test_bad_paths(tmp_path, monkeypatch):
    with pytest.raises(NotFoundError, match="no such MIDI file"):
        midi.read(tmp_path / "none.mid")
    with pytest.raises(UserError, match="no regular file: it is a folder"):
        midi.read(tmp_path)
    (tmp_path / "a.mid").write_bytes(song(note(0, 1)))
    monkeypatch.setattr(midi, "MAX_BYTES", 10)
    with pytest.raises(UserError, match=r"a\.mid: too large"):
        midi.read(tmp_path / "a.mid")
    assert midi.read_or_explain(tmp_path / "a.mid").startswith("too large")


def test_unknown_chunks_and_junk_behind_are_skipped():
    odd = b"XFIH" + struct.pack(">I", 4) + b"abcd"
    whole = song(note(0, 480))
    for content in (whole + odd, whole + b"junk", whole[:14] + odd + whole[14:]):
        assert len(midi.parse(content, "x").notes) == 1


def chorale(seed: int = 0, first: float = 0.0) -> Score:
    """Four parts with a changing tempo, an upbeat, and pitches that are struck again at once."""
    rng = np.random.default_rng(seed)
    quarters = first + np.concatenate([[0.0], np.cumsum(rng.uniform(0.4, 1.1, 40))])
    rows = []
    for part in range(4):
        positions = np.sort(rng.choice(np.arange(160), 60, replace=False)) / 4
        times = np.interp(np.append(positions, 40), np.arange(41), quarters)
        pitches = rng.integers(40, 45, 60) + 10 * part
        rows.append(np.column_stack([pitches, times[:-1], np.diff(times), rng.integers(1, 128, 60), np.full(60, part)]))
    return Score(np.concatenate(rows), quarters, np.arange(-3, 40, 4))


def test_written_scores_are_read_again(tmp_path):
    score = chorale()
    midi.write(tmp_path / "a.mid", score)
    again = midi.read(tmp_path / "a.mid")
    np.testing.assert_array_equal(again.notes[:, [0, 3, 4]], score.notes[:, [0, 3, 4]])
    # 960 ticks a quarter of at most 1.1 s, and the nearest.
    np.testing.assert_allclose(again.notes[:, 1], score.notes[:, 1], atol=0.6e-3)
    np.testing.assert_allclose(again.ends, score.ends, atol=0.6e-3)
    np.testing.assert_allclose(again.quarters, score.quarters[: len(again.quarters)], atol=1e-6)
    np.testing.assert_array_equal(again.bars, score.bars)
    require_equal(tmp_path / "a.mid")
    # What was written once is written as before.
    np.testing.assert_array_equal(midi.parse(midi.to_bytes(again), "x").notes, again.notes)


def test_bytes_are_deterministic_and_tracks_are_parts():
    score = chorale()
    content = midi.to_bytes(score)
    assert content == midi.to_bytes(chorale())
    assert content.count(b"MTrk") in (4, 5)  # a track of tempos, if symusic makes one
    assert content[8:10] == b"\x00\x01"
    sparse = Score([[60, 0, 1, 64, 0], [60, 0, 1, 64, 20]])
    assert len(midi.parse(midi.to_bytes(sparse), "x").notes) == 2


def test_a_score_without_a_meter_keeps_its_times():
    rng = np.random.default_rng(1)
    onsets = np.sort(rng.uniform(0, 600, 500))
    rows = [rng.integers(30, 90, 500), onsets, rng.uniform(0.02, 3, 500), rng.integers(1, 128, 500), np.zeros(500)]
    score = Score(np.stack(rows, axis=1))
    again = midi.parse(midi.to_bytes(score), "x")
    np.testing.assert_array_equal(again.notes[:, [0, 3]], score.notes[:, [0, 3]])
    np.testing.assert_allclose(again.notes[:, 1], score.notes[:, 1], atol=0.3e-3)
    np.testing.assert_allclose(np.sort(again.ends), np.sort(score.ends), atol=0.3e-3)
    assert again.bars is None


@pytest.mark.parametrize("first", [0.0, 0.7, -0.35, -3.0])
def test_second_0_is_tick_0_wherever_the_quarters_begin(first):
    score = chorale(2, first)
    again = midi.parse(midi.to_bytes(score), "x")
    wanted = score.clipped(score.seconds)
    np.testing.assert_array_equal(np.sort(again.notes[:, 0]), np.sort(wanted.notes[:, 0]))
    np.testing.assert_allclose(np.sort(again.notes[:, 1]), np.sort(wanted.notes[:, 1]), atol=1e-3)
    inside = score.quarters[(score.quarters > 0) & (score.quarters < score.seconds - 2)]
    for quarter in inside:
        assert np.abs(again.quarters - quarter).min() < 1e-5
    bars = again.second_at(again.bars)
    for bar in score.second_at(score.bars):
        if 1 < bar < score.seconds - 2:
            assert np.abs(bars - bar).min() < 1e-5


def test_nothing_and_notes_of_no_length():
    assert midi.to_bytes(Score([]))[:4] == b"MThd"
    again = midi.parse(midi.to_bytes(Score([[60, 1, 0, 64, 0]])), "x")
    assert len(again.notes) == 1 and 0 < again.notes[0, 2] < 1e-3


def test_what_midi_cannot_say():
    with pytest.raises(UserError, match=r"lasts 20\.0 s; MIDI has tempos up to 16\.8 s"):
        midi.to_bytes(Score([[60, 0, 1, 64, 0]], quarters=[0, 20]))
    with pytest.raises(UserError, match="at most 86400 s are written"):
        midi.to_bytes(Score([[60, 90_000, 1, 64, 0]]))


@pytest.mark.slow
@pytest.mark.parametrize("tracks", [False, True], ids=["bytes", "events"])
def test_damaged_files(tracks, capsys):
    whole = song(tempo(0, 400_000) + meta(0, 0x58, bytes([3, 2, 24, 8])), *(note(5, 99, 60 + n) * 20 for n in range(3)))
    assert len(midi.parse(whole, "x").notes) == 60

    def inputs():
        for damaged in fuzzing.mutations(whole[14:] if tracks else whole, seed=3, count=3000):
            # The lengths of chunks set right: the damage is found by the parser of events.
            yield song(damaged[8 : len(damaged) // 2], damaged[len(damaged) // 2 :]) if tracks else damaged

    figures = fuzzing.survey(lambda content: midi.parse(content, "x", apply_sustain=True), inputs())
    with capsys.disabled():
        print(f"\nMIDI, damaged {'events' if tracks else 'bytes'}: {figures}")
    assert figures["refused"] and figures["read"]

"""The 388 performance events: to and fro, any events there may be, and real performances, equal to note-seq's."""

import pathlib

import numpy as np
import pytest

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi, performance_events
from musicgen_jax.scores.score import Score

SHARED = pathlib.Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
MAESTRO = sorted((SHARED / "maestro-v3.0.0").glob("*/*.midi"))
needs_maestro = pytest.mark.skipif(not MAESTRO, reason="the shared folder with real performances is absent")


def performance(seed: int, count: int = 400) -> Score:
    """Notes at any time; those of one pitch neither overlap nor touch, once they are rounded."""
    rng = np.random.default_rng(seed)
    rows = []
    for pitch in rng.permutation(88)[:20] + 21:
        times = np.cumsum(rng.uniform(0.03, 3.0, 2 * count // 20))
        lengths = times[1::2] - times[::2]
        columns = np.full(len(lengths), pitch), times[::2], lengths, rng.integers(1, 128, len(lengths)), lengths * 0
        rows.append(np.stack(columns, axis=1))
    return Score(np.concatenate(rows))


def slow(score: Score) -> list[int]:
    """Events one after the other, as the definition has them."""
    notes = [(round(p), int(o * 100 + 0.5), int(e * 100 + 0.5), (round(v) - 1) // 4)
             for (p, o, _, v, _), e in zip(score.notes.astype(float).tolist(), score.ends.astype(float).tolist(), strict=True)]  # fmt: skip # noqa: E501
    moments = [(onset, n, 0) for n, (_, onset, _, _) in enumerate(notes)]
    moments += [(max(end, onset + 1), n, 1) for n, (_, onset, end, _) in enumerate(notes)]
    events, now, loudness = [], 0, None
    for moment, n, is_end in sorted(moments):
        while now < moment:
            wait = min(100, moment - now)
            events.append(256 + wait - 1)
            now += wait
        pitch, _, _, wanted = notes[n]
        if not is_end and wanted != loudness:
            events.append(356 + wanted)
            loudness = wanted
        events.append(pitch + 128 * is_end)
    return events


def test_as_event_by_event():
    for seed in range(5):
        score = performance(seed)
        assert performance_events.encode(score).tolist() == slow(score)


def test_a_known_phrase():
    # note-seq's own words for: velocity 64, middle C from 0.5 to 2 s, and a note of 5 ms at 2 s, softer.
    score = Score([[60, 0.5, 1.5, 64, 0], [62, 2.0, 0.005, 61, 0], [64, 2.0, 0.005, 30, 3]])
    events = performance_events.encode(score)
    assert events.dtype == np.int16
    assert events.tolist() == [305, 371, 60, 355, 305, 188, 62, 363, 64, 256, 190, 192]


def require_near(found: Score, wanted: Score) -> None:
    """Every note within 10 ms and 4 steps of velocity: notes of a pitch are compared in their order."""
    assert len(found.notes) == len(wanted.notes)
    for pitch in np.unique(wanted.notes[:, 0]):
        ours, theirs = ((s.notes[s.notes[:, 0] == pitch], s.ends[s.notes[:, 0] == pitch]) for s in (found, wanted))
        np.testing.assert_allclose(ours[0][:, 1], theirs[0][:, 1], atol=0.0051)
        np.testing.assert_allclose(np.sort(ours[1]), np.sort(theirs[1]), atol=0.0101)
        np.testing.assert_allclose(ours[0][:, 3], theirs[0][:, 3], atol=3.01)


def test_decoded_notes_are_near():
    for seed in range(5):
        score = performance(seed)
        again = performance_events.decode(performance_events.encode(score))
        require_near(again, score)
        # Now all times are whole steps: nothing changes any more.
        np.testing.assert_array_equal(performance_events.decode(performance_events.encode(again)).notes, again.notes)


def test_whatever_events_there_are():
    rng = np.random.default_rng(0)
    for _ in range(50):
        score = performance_events.decode(rng.integers(0, 388, 300))
        assert np.isfinite(score.notes).all()
    assert performance_events.decode([]).empty
    assert performance_events.decode([188, 60, 188, 355]).empty  # an end without a beginning; a note of no length
    (drone,) = performance_events.decode([60, *[355] * 9]).notes  # never ended
    assert drone.tolist() == [60, 0, 9, 65 - 4 + 4, 0]
    (cut,) = performance_events.decode([60, *[355] * 9], max_seconds=5.0).notes
    assert cut[2] == 5.0
    first, second = performance_events.decode([360, 60, 261, 370, 60, 261, 188, 261, 188]).notes
    np.testing.assert_allclose([first[1:4], second[1:4]], [[0, 0.12, 17], [0.06, 0.12, 57]], rtol=1e-6)


def test_excerpts_begin_at_0():
    score = performance(1).cut(10.0, 20.0)
    assert score.notes[:, 1].min() < 0
    again = performance_events.decode(performance_events.encode(score))
    assert len(again.notes) == len(score.notes) and again.notes[:, 1].min() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: performance_events.decode([388]), "events are from 0 to 387; got 388"),
        (lambda: performance_events.decode([[1]]), r"shape \[L\]; got \[1, 1\]"),
        (lambda: performance_events.encode(Score([[60, 0, 1e5, 64, 0]])), "a day at most"),
        (lambda: performance_events.decode(np.full(90_000, 355)), "last 90000 s"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.slow
@needs_maestro
@pytest.mark.parametrize("path", MAESTRO, ids=lambda path: path.stem[:12])
def test_real_performances_survive(path, tmp_path):
    """MIDI -> events -> MIDI: every note is there, within 10 ms and 4 steps of velocity; mir_eval's F1 is 1."""
    mir_eval = pytest.importorskip("mir_eval", reason="mir_eval is not installed: pip install '.[test]'")
    wanted = midi.read(path, apply_sustain=True)
    midi.write(tmp_path / "a.mid", performance_events.decode(performance_events.encode(wanted)))
    found = midi.read(tmp_path / "a.mid")
    assert len(found.notes) == len(wanted.notes)
    matched = 0
    # Only notes of one pitch can match, so that mir_eval may see one pitch at a time: all at once take gigabytes.
    for pitch in np.unique(wanted.notes[:, 0]):
        sides = []
        for score in (wanted, found):
            chosen = score.notes[:, 0] == pitch
            intervals = np.stack([score.notes[chosen, 1], score.ends[chosen]], axis=1).astype(np.float64)
            sides += [intervals, np.full(chosen.sum(), mir_eval.util.midi_to_hz(pitch)), score.notes[chosen, 3]]
        pairs = mir_eval.transcription.match_notes(
            *sides[0:2], *sides[3:5], onset_tolerance=0.01, offset_ratio=None, pitch_tolerance=1.0
        )
        for (onset, end), (decoded_onset, decoded_end) in ((sides[0][i], sides[3][j]) for i, j in pairs):
            # Half a step and a tick of the file. A note has a step at least: of one that has less, the length counts.
            assert abs(decoded_onset - onset) < 0.006
            late = decoded_end - end if end - onset >= 0.01 else (decoded_end - decoded_onset) - (end - onset)
            assert abs(late) < 0.01
        assert all(abs(sides[2][i] - sides[5][j]) <= 4 for i, j in pairs)
        matched += len(pairs)
    assert 2 * matched / (len(wanted.notes) + len(found.notes)) == 1.0


def seq_events(path: pathlib.Path) -> np.ndarray:
    """The events that note-seq makes of a file."""
    note_seq = pytest.importorskip("note_seq", reason="note-seq is not installed: pip install '.[parity]'")
    from note_seq import performance_encoder_decoder

    sequence = note_seq.apply_sustain_control_changes(note_seq.midi_file_to_note_sequence(str(path)))
    sequence = note_seq.quantize_note_sequence_absolute(sequence, 100)
    encoding = performance_encoder_decoder.PerformanceOneHotEncoding(num_velocity_bins=32)
    performed = note_seq.Performance(sequence, num_velocity_bins=32)
    return np.array([encoding.encode_event(event) for event in performed])


def write_pedalled(path: pathlib.Path, seed: int) -> None:
    """A performance with a pedal, in a changing tempo."""
    import symusic

    rng = np.random.default_rng(seed)
    song = symusic.Score.from_midi(midi.to_bytes(performance(seed)))
    for tick in np.sort(rng.integers(0, song.end(), 200)).tolist():
        song.tracks[0].controls.append(symusic.ControlChange(tick, 64, int(rng.integers(0, 128))))
    song.tempos.append(symusic.Tempo(5000, mspq=412_345))
    song.dump_midi(str(path))


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_note_seq(seed, tmp_path):
    write_pedalled(tmp_path / "a.mid", seed)
    found = performance_events.encode(midi.read(tmp_path / "a.mid", apply_sustain=True))
    np.testing.assert_array_equal(found, seq_events(tmp_path / "a.mid"))


@pytest.mark.parity
@needs_maestro
@pytest.mark.parametrize("path", MAESTRO, ids=lambda path: path.stem[:12])
def test_equal_to_note_seq_on_real_performances(path):
    found = performance_events.encode(midi.read(path, apply_sustain=True))
    np.testing.assert_array_equal(found, seq_events(path))

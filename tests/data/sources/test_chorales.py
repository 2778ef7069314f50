"""The embedded data set: the corpus's chorales, and a folder of scores made here."""

import collections
import os
import re
import sys

import numpy as np
import pytest
import tiny_music_xml

from musicgen_jax.data.sources import chorales
from musicgen_jax.scores import music_xml

SAMPLE_RATE = 11025


@pytest.fixture(scope="module")
def planned():
    tiny_music_xml.needs_music21()
    return chorales.tracks("", SAMPLE_RATE, seed=0, num_workers=0, num_chorales=10)


def render(item):
    return np.concatenate(list(item.blocks()))


def test_timbres_are_equally_frequent_and_works_stay_together(planned):
    tracks, _ = planned
    assert len(tracks) == 10
    counts = collections.Counter(item.labels["genre"] for item in tracks)
    assert set(counts) == {"organ", "flute", "strings", "voice"}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert {item.labels["artist"] for item in tracks} == {"bach"}
    assert [item.track_id for item in tracks] == sorted({item.track_id for item in tracks})
    for item in tracks:
        assert item.path.startswith(f"{item.group}.") or item.path.startswith(f"{item.group}-")
    assert len({item.hash for item in tracks}) == 10


def test_a_chorale_has_the_promised_length_and_does_not_clip(planned):
    assert all(1 < item.duration <= chorales.MAX_SECONDS for item in planned[0])
    item = planned[0][0]
    blocks = list(item.blocks())
    audio = np.concatenate(blocks)
    assert audio.dtype == np.float32
    assert len(audio) == item.duration * SAMPLE_RATE
    assert 0.2 < np.abs(audio).max() < 1
    assert max(map(len, blocks)) <= chorales.BLOCK_SECONDS * SAMPLE_RATE


@pytest.mark.long
def test_the_seed_decides_everything(planned):
    tracks, rejections = planned
    again, rejections_again = chorales.tracks("", SAMPLE_RATE, seed=0, num_workers=0, num_chorales=10)
    assert [(t.track_id, t.hash, t.duration) for t in again] == [(t.track_id, t.hash, t.duration) for t in tracks]
    assert rejections_again == rejections
    assert render(again[0]).tobytes() == render(tracks[0]).tobytes()
    other, _ = chorales.tracks("", SAMPLE_RATE, seed=1, num_workers=0, num_chorales=10)
    assert {t.hash for t in other}.isdisjoint(t.hash for t in tracks)


def test_workers_do_not_change_the_result(tmp_path):
    for index in range(3):
        tiny_music_xml.write(tmp_path / f"{index}.musicxml", parts=tiny_music_xml.PARTS if index else ("Violin",))
    alone = chorales.tracks(str(tmp_path), SAMPLE_RATE, 0, 0)
    together = chorales.tracks(str(tmp_path), SAMPLE_RATE, 0, 1)
    assert [t.hash for t in together[0]] == [t.hash for t in alone[0]]
    assert together[1] == alone[1]


def test_what_cannot_be_sung_is_rejected_with_the_reason(tmp_path):
    tiny_music_xml.write(tmp_path / "a_good.musicxml")
    tiny_music_xml.write(tmp_path / "b_three.musicxml", parts=("Soprano", "Alto", "Bass"))
    tiny_music_xml.write(tmp_path / "c_chord.musicxml", chord_in="Alto")
    (tmp_path / "d_broken.xml").write_text("<score-partwise><part>")
    tiny_music_xml.write(tmp_path / "e_twin.musicxml", transpose=2)
    tracks, rejections = chorales.tracks(str(tmp_path), SAMPLE_RATE, seed=0, num_workers=0)
    reasons = {rejection.path: rejection.reason for rejection in rejections}
    twins = {"a_good.musicxml", "e_twin.musicxml"}
    assert len(tracks) == 1
    assert tracks[0].path in twins
    assert reasons.pop((twins - {tracks[0].path}).pop()) == f"the same notes, in whatever key, as: {tracks[0].path}"
    assert reasons.pop("b_three.musicxml") == "parts other than Soprano, Alto, Tenor, Bass: Soprano, Alto, Bass"
    assert reasons.pop("c_chord.musicxml").startswith("several notes at once in one part: Alto")
    assert reasons.pop("d_broken.xml").startswith("music21 cannot parse it: ")
    assert not reasons


def rewritten(path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text())
    assert count
    path.write_text(text)


def test_notes_that_nobody_sings_are_rejected_with_the_reason(tmp_path):
    changes = {
        "high": (r"<octave>\d</octave>", "<octave>99</octave>"),
        "low": (r"<octave>\d</octave>", "<octave>-3</octave>"),
        "altered": (r"(</step>)", r"\1<alter>1000</alter>"),
        "long": (r"<duration>\d+</duration>", "<duration>10000000000</duration>"),
    }
    for name, change in changes.items():
        tiny_music_xml.write(tmp_path / f"{name}.musicxml")
        rewritten(tmp_path / f"{name}.musicxml", *change)
    tiny_music_xml.write(tmp_path / "beyond.musicxml", transpose=40)  # MIDI 114 is 5.9 kHz
    os.mkfifo(tmp_path / "fifo.xml")
    tracks, rejections = chorales.tracks(str(tmp_path), SAMPLE_RATE, seed=0, num_workers=0)
    reasons = {rejection.path: rejection.reason for rejection in rejections}
    assert tracks == []
    assert reasons.pop("high.musicxml").startswith(
        "pitch out of range: MIDI 1200 in Soprano at quarter 0; from 12 to 127"
    )
    assert reasons.pop("low.musicxml").startswith("pitch out of range: MIDI -24 in Soprano")
    assert "incorrect accidental" in reasons.pop("altered.musicxml")
    assert reasons.pop("long.musicxml").startswith("duration out of range: ")
    assert reasons.pop("beyond.musicxml") == "pitch beyond the sample rate: MIDI 114 is 5920 Hz, too high for 11025 Hz"
    assert reasons.pop("fifo.xml").startswith("no regular file: it is a FIFO")
    assert not reasons


def test_ties_are_merged_and_fermatas_lengthen(tmp_path):
    tiny_music_xml.write(tmp_path / "plain.musicxml")
    tiny_music_xml.write(tmp_path / "held.musicxml", fermata=True)
    plain, held = music_xml.read(tmp_path / "plain.musicxml"), music_xml.read(tmp_path / "held.musicxml")
    np.testing.assert_array_equal(plain.score.of_part(0)[:, :3], [[72, 0, 1], [73, 1, 1], [74, 2, 2]])
    assert plain.parts == chorales.PARTS
    assert (plain.score.fermatas.tolist(), held.score.fermatas.tolist()) == ([], [[1.0, 2.0]])
    (voices, _, seconds), (slow, performed, longer) = (
        chorales._perform(score, np.random.default_rng(0)) for score in (plain, held)
    )
    quarter = seconds / 4
    assert longer == pytest.approx(seconds + (chorales.FERMATA_STRETCH - 1) * quarter)
    np.testing.assert_allclose(voices[3][:, 1:3] / quarter, [[0, 1], [1, 1], [2, 2]], rtol=1e-5)
    np.testing.assert_allclose(slow[3][:, 1:3] / quarter, [[0, 1], [1, 1.4], [2.4, 2]], rtol=1e-5)
    np.testing.assert_allclose(performed.quarters / quarter, [0, 1, 2.4, 3.4, 4.4], rtol=1e-5)
    np.testing.assert_allclose(performed.fermatas / quarter, [[1, 2.4]], rtol=1e-5)
    np.testing.assert_array_equal(performed.bars, [0])


def test_a_known_score_is_performed_as_ever(tmp_path):
    tiny_music_xml.write(tmp_path / "held.musicxml", fermata=True)
    (item,), _ = chorales.tracks(str(tmp_path), SAMPLE_RATE, 0, 0)
    # Of the code of November 2026: tempo, fermatas, velocities, timbre. Data sets made anew must stay the same.
    assert item.hash == "05976008e200bd21ca98911ffdccd876938ac2e9b8d827935fd8a189dffaba8c"
    assert item.duration == 2.74421768707483


def test_a_track_knows_the_score_that_it_was_rendered_from(planned):
    for item in planned[0]:
        voices = item.blocks.args[0]
        assert item.score_kind == "exact" and item.score.num_parts == 4
        for part, voice in enumerate(voices):
            notes = item.score.of_part(part)
            np.testing.assert_array_equal(notes[:, :3], voice[:, :3])
            np.testing.assert_allclose(notes[:, 3] / 127, voice[:, 3], rtol=1e-6)
        assert item.score.seconds == pytest.approx(item.duration, abs=1e-4)
        assert item.score.quarters[0] == 0 and item.score.quarters[-1] >= item.duration - 1e-4
        held = item.score.quarter_at(item.score.fermatas)
        np.testing.assert_allclose(held, np.round(held * 4) / 4, atol=1e-4)  # fermatas stand on sixteenths
        assert (np.diff(item.score.bars) == 4).all() and -4 < item.score.bars[0] <= 0


def test_a_chorale_sounds_the_notes_of_its_score(tmp_path):
    tiny_music_xml.write(tmp_path / "one.musicxml")
    tracks, _ = chorales.tracks(str(tmp_path), SAMPLE_RATE, 0, 0)
    audio = render(tracks[0])
    last = audio[int(0.55 * len(audio)) : int(0.9 * len(audio))]  # the tied notes
    spectrum = np.abs(np.fft.rfft(last * np.hanning(len(last)), 8 * len(last)))
    hertz = np.arange(len(spectrum)) * SAMPLE_RATE / (8 * len(last))
    for pitch in (74, 69, 62, 50):
        f0 = 440 * 2 ** ((pitch - 69) / 12)
        inside = np.abs(hertz - f0) < 0.06 * f0
        assert hertz[inside][np.argmax(spectrum[inside])] == pytest.approx(f0, rel=0.01)


def test_without_music21_the_message_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(ValueError, match=r"pip install 'musicgen_jax\[demo\]'"):
        chorales.tracks("", SAMPLE_RATE, 0, 0)


def test_bad_sources_are_refused(tmp_path):
    tiny_music_xml.needs_music21()
    with pytest.raises(ValueError, match="is no folder"):
        chorales.tracks(str(tmp_path / "none"), SAMPLE_RATE, 0, 0)
    with pytest.raises(ValueError, match="no score in"):
        chorales.tracks(str(tmp_path), SAMPLE_RATE, 0, 0)
    with pytest.raises(ValueError, match="seed is -1"):
        chorales.tracks("", SAMPLE_RATE, -1, 0)
    with pytest.raises(ValueError, match="num_chorales is 0"):
        chorales.tracks("", SAMPLE_RATE, 0, 0, num_chorales=0)


def test_notes_for_the_report_change_with_the_scores(tmp_path):
    tiny_music_xml.write(tmp_path / "one.musicxml")
    before = chorales.notes(str(tmp_path))
    assert chorales.notes(str(tmp_path)) == before
    tiny_music_xml.write(tmp_path / "two.musicxml")
    assert chorales.notes(str(tmp_path)) != before

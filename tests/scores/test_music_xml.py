"""Scores in MusicXML: notes, bars, damaged files."""

import re
import zipfile

import fuzzing
import numpy as np
import pytest
import tiny_music_xml

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import music_xml
from musicgen_jax.scores.score import Score


def write_measures(path, lengths, meter="4/4"):
    """One part of the given measures in quarters, each filled with one note."""
    music21 = tiny_music_xml.needs_music21()
    part = music21.stream.Part()
    place = 0.0
    for index, length in enumerate(lengths):
        measure = music21.stream.Measure(number=index)
        if index == 0:
            measure.append(music21.meter.TimeSignature(meter))
        measure.append(music21.note.Note(60, quarterLength=length))
        part.insert(place, measure)
        place += length
    music21.stream.Score([part]).write("musicxml", path, makeNotation=False)


def test_bars_begin_where_measures_do(tmp_path):
    write_measures(tmp_path / "whole.musicxml", [4, 4, 4])
    write_measures(tmp_path / "upbeat.musicxml", [1, 4, 4])
    write_measures(tmp_path / "repeat.musicxml", [1, 4, 3, 1, 4])  # the fourth is the rest of the third
    write_measures(tmp_path / "three.musicxml", [3, 3], meter="3/4")
    bars = {path.stem: music_xml.read(path).score.bars.tolist() for path in tmp_path.glob("*.musicxml")}
    assert bars == {"whole": [0, 4, 8], "upbeat": [-3, 1, 5], "repeat": [-3, 1, 5, 9], "three": [0, 3]}


def test_a_quarter_is_a_second(tmp_path):
    tiny_music_xml.write(tmp_path / "a.musicxml")
    written = music_xml.read(tmp_path / "a.musicxml")
    assert written.name == "a" and written.parts == tiny_music_xml.PARTS
    assert written.score.num_parts == 4 and written.score.seconds == 4.0
    np.testing.assert_array_equal(written.score.quarters, np.arange(5))
    np.testing.assert_array_equal(written.score.of_part(3)[:, :3], [[48, 0, 1], [49, 1, 1], [50, 2, 2]])


def test_what_is_written_is_read(tmp_path):
    """Sixteenths, triplets, rests and a note over a bar line; in any tempo."""
    tiny_music_xml.needs_music21()
    rows = [(72, 0, 0.25), (74, 0.25, 0.25), (76, 1, 1 / 3), (77, 4 / 3, 1 / 3), (79, 3, 2), (81, 6.5, 1.5)]
    notes = np.array([[*row, 80, part] for part in range(2) for row in rows], np.float32)
    score = Score(notes, np.arange(9.0), np.array([0.0, 4.0]))
    for tempo in (1.0, 0.7):
        music_xml.write(tmp_path / "a.musicxml", score.stretched(tempo))
        np.testing.assert_allclose(music_xml.read(tmp_path / "a.musicxml").score.notes, score.notes, atol=1e-5)
    assert music_xml.read(tmp_path / "a.musicxml").score.bars.tolist() == [0, 4]


def test_a_performance_without_a_meter_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"no quarters.*as MIDI"):
        music_xml.write(tmp_path / "a.musicxml", Score([[60, 0, 1, 80, 0]]))
    assert list(tmp_path.iterdir()) == []


def test_archives_are_bounded(tmp_path):
    tiny_music_xml.write(tmp_path / "a.musicxml")
    score = (tmp_path / "a.musicxml").read_bytes()
    container = b'<container><rootfiles><rootfile full-path="a.xml"/></rootfiles></container>'
    for name, entries in {
        "good": {"META-INF/container.xml": container, "a.xml": score},
        "bomb": {"META-INF/container.xml": container, "a.xml": score + b" " * music_xml.MAX_BYTES},
        "crowd": {f"{index}.xml": b"" for index in range(music_xml.MAX_ENTRIES + 1)},
    }.items():
        with zipfile.ZipFile(tmp_path / f"{name}.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
    good = music_xml.read(tmp_path / "good.mxl")
    np.testing.assert_array_equal(good.score.notes, music_xml.read(tmp_path / "a.musicxml").score.notes)
    assert music_xml.read_or_explain(tmp_path / "bomb.mxl").startswith("too large: 335")
    assert music_xml.read_or_explain(tmp_path / "crowd.mxl").startswith("too large: an archive of 1001 files")
    (tmp_path / "cut.mxl").write_bytes((tmp_path / "good.mxl").read_bytes()[:200])
    assert "\n" not in music_xml.read_or_explain(tmp_path / "cut.mxl")


STRANGE_VALUES = (
    b"",
    b"-1",
    b"0",
    b"0.5",
    b"1e9",
    b"nan",
    b"inf",
    b"9999999999999999999",
    b"1/0",
    b"x",
    b"\xf0\x9f\x8e\xb5",
)


def with_strange_values(content: bytes, seed: int, count: int):
    """Well-formed copies of a score in which the text of one to three elements is another."""
    rng = np.random.default_rng(seed)
    texts = [match.span(1) for match in re.finditer(rb">([^<>]+)</", content)]
    for _ in range(count):
        damaged = content
        for index in sorted(rng.choice(len(texts), int(rng.integers(1, 4)), replace=False), reverse=True):
            start, stop = texts[index]
            damaged = damaged[:start] + STRANGE_VALUES[int(rng.integers(len(STRANGE_VALUES)))] + damaged[stop:]
        yield damaged


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["bytes", "archive", "values"])
def test_damaged_scores(tmp_path, damage, capsys):
    tiny_music_xml.write(tmp_path / "whole.musicxml", fermata=True)
    content = (tmp_path / "whole.musicxml").read_bytes()
    damaged = fuzzing.mutations(content, seed=0, count=200)
    if damage == "archive":
        with zipfile.ZipFile(tmp_path / "whole.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("whole.xml", content)
        damaged = fuzzing.mutations((tmp_path / "whole.mxl").read_bytes(), seed=1, count=200)
    elif damage == "values":
        damaged = with_strange_values(content, seed=2, count=200)

    def read(content: bytes) -> None:
        path = tmp_path / ("damaged.mxl" if damage == "archive" else "damaged.musicxml")
        path.write_bytes(content)
        result = music_xml.read_or_explain(path)
        if isinstance(result, str):
            assert "\n" not in result
            raise UserError(result)
        assert np.isfinite(result.score.notes).all()

    figures = fuzzing.survey(read, damaged)
    with capsys.disabled():
        print(f"\nscores, damaged {damage}: {figures}")
    assert figures["refused"] and figures["read"] + figures["refused"] == 200

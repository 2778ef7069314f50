"""Small scores in MusicXML, written by music21."""

import pathlib

import pytest

LOW = {"Soprano": 72, "Alto": 67, "Tenor": 60, "Bass": 48}
PARTS = tuple(LOW)


def needs_music21():
    return pytest.importorskip("music21", reason="music21 is not installed: pip install 'musicgen_jax[demo]'")


def write(path: pathlib.Path, parts=PARTS, transpose=0, chord_in=None, fermata=False):
    """Four quarters a part, the last two tied."""
    music21 = needs_music21()
    score = music21.stream.Score()
    for name in parts:
        part = music21.stream.Part(id=name)
        part.partName = name
        for index in range(4):
            note = music21.note.Note(LOW.get(name, 60) + min(index, 2) + transpose, quarterLength=1)
            if index >= 2:
                note.tie = music21.tie.Tie("start" if index == 2 else "stop")
            if name == chord_in and index == 1:
                note = music21.chord.Chord([60, 64, 67], quarterLength=1)
            if fermata and index == 1:
                note.expressions.append(music21.expressions.Fermata())
            part.append(note)
        score.insert(0, part)
    score.write("musicxml", path)

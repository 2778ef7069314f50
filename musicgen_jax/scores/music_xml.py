"""MusicXML <-> Score, by music21. Imports no JAX: worker processes read scores with it."""

import dataclasses
import pathlib
import re
import warnings
import zipfile
from fractions import Fraction

import numpy as np

from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import DURATION, ONSET, PITCH, Score

SUFFIXES = (".mxl", ".musicxml", ".xml")
MAX_BYTES = 1 << 25  # of a score, unpacked: a symphony has some megabytes
MAX_ENTRIES = 1000  # of an archive: pictures and parts
MIN_PITCH, MAX_PITCH = 12, 127  # MIDI: from 16 Hz, the lowest tone of an organ, to 12.5 kHz
MAX_NOTE_QUARTERS = 64  # sixteen bars of common time
MAX_QUARTERS = 20_000  # over three hours
PLACES = 24  # of a quarter, where written notes begin and end
VELOCITY = 80  # of every note: mezzo forte


@dataclasses.dataclass(frozen=True)
class Written:
    """A score as it stands on paper, every part monophonic.

    Attributes:
      name: the file's name without its suffix.
      parts: names of the parts, from the top.
      score: a quarter lasts one second and every note has the same velocity: how it is performed is not written.
    """

    name: str
    parts: tuple[str, ...]
    score: Score


def read(path: pathlib.Path) -> Written:
    """Reads one MusicXML file. Ties are merged, repeats are played once, grace notes (no duration of their own) go.

    Raises:
      UserError: it is no file, too large, cannot be parsed, has several notes at once in a part, or notes that nobody
        sings.
    """
    _require_size(path)
    try:
        return _parsed(path)
    except UserError:
        raise
    except Exception as error:  # music21 raises whatever its parsers come across
        text = " ".join(str(error).split())[:200]
        raise UserError(f"music21 cannot parse it: {type(error).__name__}: {text}") from error


def _parsed(path: pathlib.Path) -> Written:
    from music21 import converter

    with warnings.catch_warnings(action="ignore"):  # they say on stderr what the exception says
        # Past music21's cache of parsed files: pickling a score takes longer than parsing it.
        parsed = converter.parse(path, forceSource=True, storePickle=False)
    parts = tuple(getattr(parsed, "parts", ()))
    names, rows, fermatas, syllables = [], [np.zeros((0, 5), np.float32)], [], []
    for index, part in enumerate(parts):
        names.append(" ".join((part.partName or f"part {index + 1}").split()))
        voice = _voice(part, names[-1], fermatas)
        _require_singable(voice, names[-1])
        syllables = syllables or _syllables(part)
        rows.append(np.concatenate([voice, np.tile(np.float32([VELOCITY, index]), (len(voice), 1))], axis=1))
    score = Score(np.concatenate(rows))
    quarters = np.arange(max(1, np.ceil(score.seconds)) + 1)
    bars = _bars(parts[0]) if parts else None
    score = Score(score.notes, quarters, bars, _union(fermatas), tuple(syllables))
    return Written(files.describe_path(path.stem), tuple(names), score)


def write(path: files.Path, score: Score) -> None:
    """Writes a score as MusicXML: a part for each of its monophonic voices (`Score.voices`), bars of common time.

    Onsets and ends go to the nearest of 24 places in a quarter, which has sixteenths, triplets and their halves; every
    note lasts one of them at least. A syllable stands below the first voice that begins a note with it. Velocities and
    fermatas are not written.

    Raises:
      UserError: the score has no quarters, so that nobody knows how long its notes are on paper; or music21 is not
        installed.
    """
    if score.quarters is None:
        raise UserError("the score has no quarters: a performance without a meter is written as MIDI")
    try:
        from music21 import stream
        from music21.musicxml import m21ToXml
    except ImportError as error:
        raise UserError("MusicXML needs music21, which is not installed: pip install 'musicgen_jax[demo]'") from error
    written = stream.Score()
    syllables = {round(float(score.quarter_at(second)) * PLACES): text for second, text in score.syllables}
    for voice in score.voices():
        part = stream.Part()
        places = score.quarter_at(np.stack([voice[:, ONSET], voice[:, ONSET] + voice[:, DURATION]]).astype(np.float64))
        starts, ends = np.round(places * PLACES).astype(int)
        for pitch, start, end in zip(voice[:, PITCH], starts, np.maximum(ends, starts + 1), strict=True):
            part.insert(start / PLACES, _note(float(pitch), int(end - start), syllables.pop(int(start), "")))
        written.insert(0, part)
    with warnings.catch_warnings(action="ignore"), files.replaced(path) as file:
        content = m21ToXml.GeneralObjectExporter().parse(written)
        file.write(content)


def _note(pitch: float, places: int, syllable: str):
    """A music21 note of so many places, with its syllable below it, or none."""
    from music21 import note

    made = note.Note(round(pitch), quarterLength=Fraction(places, PLACES))
    if syllable:
        made.lyrics.append(note.Lyric(syllable.strip(), syllabic="single" if syllable.endswith(" ") else "begin"))
    return made


def _require_size(path: pathlib.Path) -> None:
    """Raises UserError where the file, or what its archive unpacks to, is larger than any score."""
    size = files.require_file(path, "score")
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise UserError(f"damaged archive: {error}") from error
        if len(entries) > MAX_ENTRIES:
            raise UserError(f"too large: an archive of {len(entries)} files; a score has at most {MAX_ENTRIES}")
        size = max(size, sum(entry.file_size for entry in entries))
    if size > MAX_BYTES:
        raise UserError(f"too large: {size} bytes of MusicXML; at most {MAX_BYTES} are read")


def _require_singable(voice: np.ndarray, name: str) -> None:
    """Raises UserError where a note [N, 3] is out of the synthesizer's range or longer than any breath."""
    for pitch, onset, duration in voice:
        if not MIN_PITCH <= pitch <= MAX_PITCH:
            raise UserError(
                f"pitch out of range: MIDI {pitch:g} in {name} at quarter {onset:g}; from {MIN_PITCH} to {MAX_PITCH} "
                "are played"
            )
        if not (0 <= duration <= MAX_NOTE_QUARTERS and 0 <= onset <= MAX_QUARTERS):
            raise UserError(
                f"duration out of range: a note of {duration:g} quarters in {name} at quarter {onset:g}; notes of at "
                f"most {MAX_NOTE_QUARTERS} within {MAX_QUARTERS} are played"
            )


def read_or_explain(path: pathlib.Path) -> Written | str:
    """`read`, with the reason in place of an exception: what travels between processes."""
    try:
        return read(path)
    except UserError as error:
        return str(error).removeprefix(f"{files.describe_path(path)}: ")
    except OSError as error:
        return f"unreadable: {error.strerror or error}"


def _voice(part, name: str, fermatas: list[tuple[float, float]]) -> np.ndarray:
    """Notes [N, 3] of a music21 part; adds the time under its fermatas to `fermatas`."""
    rows: list[list[float]] = []
    for element in part.flatten().notes:
        if element.duration.isGrace:
            continue
        onset, duration = float(element.offset), float(element.duration.quarterLength)
        if any("Fermata" in expression.classes for expression in element.expressions):
            fermatas.append((onset, onset + duration))
        end = rows[-1][1] + rows[-1][2] if rows else 0.0
        if len(element.pitches) != 1 or onset < end - 1e-4:
            raise UserError(f"several notes at once in one part: {name}, at quarter {onset:g}")
        pitch = float(element.pitches[0].ps)
        tied = element.tie is not None and element.tie.type in ("stop", "continue")
        if tied and rows and rows[-1][0] == pitch and abs(end - onset) < 1e-4:
            rows[-1][2] += duration
        else:
            rows.append([pitch, onset, duration])
    return np.array(rows, np.float32).reshape(-1, 3)


def _syllables(part) -> list[tuple[float, str]]:
    """The first verse that is written below the notes of a music21 part: (quarter, syllable), see `Score.syllables`."""
    found = []
    for element in part.flatten().notes:
        lyric = next((one for one in element.lyrics if one.number == 1 and (one.text or "").strip()), None)
        if lyric is not None and not element.duration.isGrace:
            text = re.sub(r"^\s*\d+\.\s*", "", lyric.text).strip()
            ends = lyric.syllabic in ("single", "end", "composite", None)
            found.append((float(element.offset), f"{text} " if ends else text))
    return found


def _bars(part) -> np.ndarray | None:
    """Where the bars of a music21 part begin, in quarters, float64 [K]; None where it is not divided into measures.

    An upbeat is the end of a bar that begins before the score does, and a bar that a repeat divides is one.
    """
    bars: list[float] = []
    length = full = 4.0  # quarters, as the time signatures say: of a bar from here on, and of the one at bars[-1]
    for measure in part.getElementsByClass("Measure"):
        if measure.timeSignature is not None:
            length = float(measure.timeSignature.barDuration.quarterLength)
        start = float(measure.offset)
        if not bars:
            start -= max(0.0, length - float(measure.duration.quarterLength))
        elif start < bars[-1] + full - 1e-4:
            continue
        bars.append(start)
        full = length
    return np.array(bars) if bars else None


def _union(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged

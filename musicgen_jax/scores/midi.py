"""Standard MIDI files <-> Score, by symusic. Ticks become seconds through the file's tempo map, in float64."""

import struct

import numpy as np

from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import performance_events, sustain
from musicgen_jax.scores.score import ONSET, PART, PITCH, VELOCITY, Score

SUFFIXES = (".mid", ".midi")
MAX_BYTES = 1 << 23  # of a file: an evening of opera has some hundred kB
MAX_SECONDS = 24 * 3600
MAX_QUARTERS = 1 << 20  # a day in a very fast tempo
MAX_NOTES = 1 << 19
MAX_TRACKS = 1024  # a symphony has some dozens
# Bytes that look like changes of program. symusic makes a track of some kB for each program of each channel of each
# track, before anything can be said about it; real files have one such byte in a thousand at most.
MAX_PROGRAMS = 1 << 14
MAX_SIGNATURES = 1 << 16  # changes of meter
MAX_SYLLABLES = 1 << 16  # lyric events
MAX_AT_ONCE = 1024  # notes that sound together: an orchestra has a hundred
DEFAULT_TEMPO = 500_000  # microseconds a quarter where a file has no tempo: 120 quarters a minute
MAX_TEMPO = (1 << 24) - 1  # microseconds a quarter; three bytes
TICKS_PER_QUARTER = 960
MICROSECONDS = 1e6
COPY_AGAIN = "export or copy the file again"


def read(path: files.Path, apply_sustain: bool = False, may_be_empty: bool = False) -> Score:
    """Reads a MIDI file.

    Every track, or every channel of it that has notes, is a part, in the order of the file. Drums (channel 10) are left
    out: their keys are instruments, not pitches. A note that never ends is left out; where a key is struck again
    before it was let go, the first note ends first.

    Lyric events are syllables, whichever track they are in. Quarters are those of the tempo map. Bars are those of
    the time signatures, None where the file has none; a first bar that is shorter than the second is an upbeat, so
    its bar begins before the score does.

    Args:
      path: of the file.
      apply_sustain: notes go on while the pedal is down, as `sustain.extended` says.
      may_be_empty: a file without a note is a score without one, and no error.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is no MIDI file, damaged, of a kind that has no common time (format 2, SMPTE), too large, too long,
        too dense, or without a note.
    """
    files.require_file(path, "MIDI file")
    with open(path, "rb") as file:
        return parse(file.read(MAX_BYTES + 1), files.describe_path(path), apply_sustain, may_be_empty)


def parse(content: bytes, name: str, apply_sustain: bool = False, may_be_empty: bool = False) -> Score:
    """`read` of the bytes of a file; messages begin with `name`."""
    try:
        return _parsed(content, apply_sustain, may_be_empty)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def read_or_explain(path: files.Path, apply_sustain: bool = False) -> Score | str:
    """`read`, with the reason in place of an exception: what travels between processes."""
    try:
        return read(path, apply_sustain)
    except UserError as error:
        return str(error).removeprefix(f"{files.describe_path(path)}: ")
    except OSError as error:
        return f"unreadable: {error.strerror or error}"


def _parsed(content: bytes, apply_sustain: bool, may_be_empty: bool) -> Score:
    import symusic  # here: the commands answer --help without it

    _check_chunks(content)
    try:
        song = symusic.Score.from_midi(content)
    except RuntimeError as error:
        reason = " ".join(str(error).removeprefix("MiniMidi: ").split())[:120]
        raise UserError(f"damaged MIDI ({reason}): {COPY_AGAIN}") from error
    if len(song.tracks) > MAX_TRACKS:
        raise UserError(f"too many tracks: {len(song.tracks)}, channels counted; at most {MAX_TRACKS} are read")
    tracks = [track for track in song.tracks if not track.is_drum and len(track.notes)]
    if not tracks and may_be_empty:
        return Score([])
    if not tracks:
        drums = any(len(track.notes) for track in song.tracks)
        raise UserError("no notes but drums in it" if drums else "no notes in it")
    parts = [_ticks(track, part) for part, track in enumerate(tracks)]
    if apply_sustain:
        parts = _sustained(parts, tracks)
    notes = np.concatenate(parts)
    end = int(notes[:, 1].max())
    seconds = _TempoMap(song)
    _require_bounded(notes, end, song.tpq, float(seconds.at(np.float64(end))))
    # The difference of what is rounded, so that onset + duration is the end again.
    onsets, ends = _rounded(seconds.at(notes[:, 0])), _rounded(seconds.at(notes[:, 1]))
    rows = np.stack([notes[:, 2], onsets, ends - onsets, notes[:, 3], notes[:, 4]], axis=1)
    num_quarters = max(1, -(-end // song.tpq))
    quarters = seconds.at(np.arange(num_quarters + 1, dtype=np.float64) * song.tpq)
    if not (np.diff(quarters) > 0).all():
        raise UserError(f"damaged MIDI (a tempo of 0 microseconds a quarter): {COPY_AGAIN}")
    return Score(rows, quarters, _bars(song, num_quarters), syllables=_syllables(song, seconds))


def _syllables(song, seconds: "_TempoMap") -> tuple[tuple[float, str], ...]:
    """The lyric events of all tracks, in order; those whose text is no text are left out."""
    found = []
    for track in song.tracks:
        if len(track.lyrics) > MAX_SYLLABLES - len(found):
            raise UserError(f"too many lyric events: at most {MAX_SYLLABLES} are read")
        for event in track.lyrics:
            try:
                text = event.text
            except UnicodeDecodeError:
                continue
            found += [(float(seconds.at(np.float64(event.time))), text)] if text.strip() and event.time >= 0 else []
    return tuple(sorted(found, key=lambda syllable: syllable[0]))


def _rounded(seconds: np.ndarray) -> np.ndarray:
    """To float32, but never over the border between two steps of performance events: after half an hour float32 has
    some tenths of a millisecond, and events should be those of the exact times."""
    nearest = seconds.astype(np.float32)
    crossed = performance_events.steps(nearest) != performance_events.steps(seconds)
    back = np.copysign(np.inf, seconds - nearest).astype(np.float32)
    return np.where(crossed, np.nextafter(nearest, back), nearest)


def _check_chunks(content: bytes) -> None:
    """Raises UserError unless the file's chunks are those of a whole MIDI file whose tracks share one musical time."""
    if len(content) > MAX_BYTES:
        raise UserError(f"too large: at most {MAX_BYTES} bytes of MIDI are read")
    if content[:4] != b"MThd":
        raise UserError(f"no MIDI file: it begins with {content[:4]!r}, not with b'MThd'")
    if len(content) < 14:
        raise UserError(f"truncated: {len(content)} bytes, and the header alone has 14: {COPY_AGAIN}")
    length, kind, count, division = struct.unpack(">IHHH", content[4:14])
    if kind not in (0, 1):
        raise UserError(f"MIDI of format {kind}: only formats 0 and 1 have tracks that play together; save it as 1")
    if division & 0x8000:
        raise UserError("its time base is SMPTE frames, which have no tempo: save it with ticks a quarter")
    if not division:
        raise UserError(f"damaged MIDI (0 ticks a quarter): {COPY_AGAIN}")
    if count > MAX_TRACKS:
        raise UserError(f"too many tracks: {count}; at most {MAX_TRACKS} are read")
    if ((np.frombuffer(content, np.uint8) & 0xF0) == 0xC0).sum() > MAX_PROGRAMS:
        raise UserError(f"too many changes of program: more than {MAX_PROGRAMS}")
    place, found = 8 + length, 0
    while place + 8 <= len(content) and found < count + 1:
        mark, length = struct.unpack(">4sI", content[place : place + 8])
        place += 8 + length
        found += mark == b"MTrk"
        if mark == b"MTrk" and place > len(content) and found <= count:
            raise UserError(f"truncated: track {found} ends {place - len(content)} bytes after the file: {COPY_AGAIN}")
    if found != count:
        shown = f"more than {count}" if found > count else found
        raise UserError(f"damaged MIDI (tracks announced: {count}, found: {shown}): {COPY_AGAIN}")


def _ticks(track, part: int) -> np.ndarray:
    """Notes of a symusic track: float64 [N, 5], onset and end in ticks, pitch, velocity, part.

    Sorted by onset, then pitch, then end.
    """
    columns = track.notes.numpy()
    if columns["time"].min() < 0 or columns["duration"].min() < 0:
        raise UserError("too long: a note lies beyond tick 2147483647")
    # symusic's order is that of the ends. One number a note, its place in that order included (a file of MAX_BYTES has
    # fewer than 2^24 notes), is sorted ten times faster than three columns are.
    keys = (columns["time"].astype(np.int64) << 31) + (columns["pitch"].astype(np.int64) << 24)
    order = np.sort(keys + np.arange(len(keys))) & (1 << 24) - 1
    onsets, durations, pitches, velocities = (
        columns[name][order].astype(np.float64) for name in ("time", "duration", "pitch", "velocity")
    )
    return np.column_stack([onsets, onsets + durations, pitches, velocities, np.full(len(onsets), part)])


def _sustained(parts: list[np.ndarray], tracks: list) -> list[np.ndarray]:
    """Notes in ticks, as those of `_ticks`, under the pedals of their tracks."""
    pedals = []
    for track in tracks:
        controls = track.controls.numpy()
        chosen = controls["number"] == sustain.CONTROL
        pedals.append((controls["time"][chosen].astype(np.float64), controls["value"][chosen]))
    last = max(*(notes[:, 1].max() for notes in parts), *(times.max(initial=0) for times, _ in pedals))
    result = []
    for notes, (times, values) in zip(parts, pedals, strict=True):
        ends, remain = sustain.extended(*notes[:, :3].T, times, values, last)
        result.append(np.column_stack([notes[:, 0], ends, notes[:, 2:]])[remain])
    return result


def _require_bounded(notes: np.ndarray, end: int, ticks_per_quarter: int, seconds: float) -> None:
    """Raises UserError where notes [N, 5] in ticks are more than any music has."""
    if len(notes) > MAX_NOTES:
        raise UserError(f"too many notes: {len(notes)}; at most {MAX_NOTES} are read")
    if seconds > MAX_SECONDS or end / ticks_per_quarter > MAX_QUARTERS:
        quarters = end / ticks_per_quarter
        raise UserError(
            f"too long: {quarters:.0f} quarters, {seconds:.0f} s; at most {MAX_QUARTERS} quarters and {MAX_SECONDS} s "
            "are read"
        )
    onsets = np.sort(notes[:, 0])
    longest = (notes[:, 1] - notes[:, 0]).max()
    if (onsets[MAX_AT_ONCE:] - onsets[:-MAX_AT_ONCE] > longest).all():
        return  # so many notes never begin within the length of one
    ends = np.sort(notes[:, 1])
    at_once = int((np.arange(1, len(onsets) + 1) - np.searchsorted(ends, onsets, side="right")).max())
    if at_once > MAX_AT_ONCE:
        raise UserError(f"too dense: {at_once} notes at once; at most {MAX_AT_ONCE} are read")


class _TempoMap:
    """Seconds of ticks: piecewise linear, a piece for each tempo of a symusic score."""

    def __init__(self, song) -> None:
        columns = song.tempos.numpy()
        order = np.argsort(columns["time"], kind="stable")  # where two stand at one tick the later counts
        self._ticks = np.concatenate([[0.0], columns["time"][order]])
        tempos = np.concatenate([[DEFAULT_TEMPO], columns["mspq"][order]])
        self._slopes = tempos / (MICROSECONDS * song.tpq)
        self._seconds = np.concatenate([[0.0], np.cumsum(np.diff(self._ticks) * self._slopes[:-1])])

    def at(self, ticks: np.ndarray) -> np.ndarray:
        """Seconds, float64, of ticks, float64, of the same shape."""
        piece = np.searchsorted(self._ticks, ticks, side="right") - 1
        return self._seconds[piece] + (ticks - self._ticks[piece]) * self._slopes[piece]


def _bars(song, num_quarters: int) -> np.ndarray | None:
    """Where bars begin, in quarters, float64 [K]; None where the file has no time signature."""
    columns = song.time_signatures.numpy()
    if len(columns["time"]) == 0:
        return None
    if len(columns["time"]) > MAX_SIGNATURES:
        raise UserError(f"too many time signatures: {len(columns['time'])}; at most {MAX_SIGNATURES} are read")
    starts = columns["time"] / song.tpq
    lengths = 4.0 * columns["numerator"] / np.maximum(columns["denominator"].astype(np.float64), 1)
    if (columns["denominator"] == 0).any() or (lengths < 1 / 16).any():
        raise UserError(f"damaged MIDI (an impossible time signature): {COPY_AGAIN}")
    bars = [np.zeros(0)]
    ends = np.minimum(np.append(starts[1:], num_quarters), num_quarters)
    for start, end, length in zip(starts, ends, lengths, strict=True):
        bars.append(np.arange(start, end - 1e-6, length))
    bars = np.unique(np.concatenate(bars))
    if len(bars) > 2 and bars[1] - bars[0] < bars[2] - bars[1]:
        bars[0] = bars[1] - (bars[2] - bars[1])
    return bars


def write(path: files.Path, score: Score) -> None:
    """Writes a MIDI file, whole or not at all: `to_bytes`."""
    content = to_bytes(score)
    with files.replaced(path) as file:
        file.write(content)


def to_bytes(score: Score) -> bytes:
    """A MIDI file of format 1; equal scores give equal bytes.

    A track for each part, up to the last that has notes, syllables in the first. Tempo and time signatures are
    those of the quarters and bars of the score, 120 quarters a minute where it has none. Tick 0 is second 0: what
    sounds already is cut there. Pitches and velocities are rounded, times go to the nearest of 960 ticks a quarter.

    Raises:
      UserError: it is too long, or a quarter lasts longer than MIDI can say (16.7 s).
    """
    import symusic

    if score.seconds > MAX_SECONDS:
        raise UserError(f"the score is {score.seconds:.0f} s long; at most {MAX_SECONDS} s are written")
    score = score.clipped(np.inf)
    anchors, first = _anchors(score)
    song = symusic.Score(TICKS_PER_QUARTER)
    tempos = _tempos(anchors)
    for index in np.flatnonzero(np.diff(tempos, prepend=0)):
        song.tempos.append(symusic.Tempo(int(index) * TICKS_PER_QUARTER, mspq=int(tempos[index])))
    for tick, numerator, denominator in _signatures(score.bars, first):
        song.time_signatures.append(symusic.TimeSignature(tick, numerator, denominator))
    seconds = np.concatenate([[0.0], np.cumsum(tempos)]) / MICROSECONDS
    meter = Score([], seconds)  # as it will be read
    for part in range(score.num_parts):
        notes, ends = score.of_part(part), score.ends[score.notes[:, PART] == part]
        times = np.stack([notes[:, ONSET], ends]).astype(np.float64)
        starts, ends = np.round(meter.quarter_at(times) * TICKS_PER_QUARTER).astype(np.int32)
        track = symusic.Track(f"part {part + 1}", 0, False)
        track.notes = symusic.Note.from_numpy(
            starts,
            np.maximum(ends - starts, 1),  # a note of no length would be lost
            np.round(notes[:, PITCH]).astype(np.int8),
            np.round(notes[:, VELOCITY]).astype(np.int8),
            "tick",
        )
        if part == 0:
            track.lyrics.extend(_lyric_events(score.syllables, meter))
        song.tracks.append(track)
    return song.dumps_midi()


def _lyric_events(syllables: tuple[tuple[float, str], ...], meter: Score) -> list:
    import symusic

    ticks = (round(float(meter.quarter_at(second)) * TICKS_PER_QUARTER) for second, _ in syllables)
    return [symusic.TextMeta(tick, text) for tick, (_, text) in zip(ticks, syllables, strict=True)]


def _anchors(score: Score) -> tuple[np.ndarray, float]:
    """Seconds of the quarters of the file, float64 [M], from 0 on; and the position of the first in the score's own.

    Where second 0 lies within a quarter of the score, what remains of it fills the file's first one.
    """
    if score.quarters is None:
        return np.arange(max(2, np.ceil(score.seconds * 2) + 1)) / 2, 0.0
    first = float(score.quarter_at(0.0))
    if abs(first - round(first)) < 1e-6:
        first = float(round(first))
    last = max(np.ceil(score.quarter_at(score.seconds)), np.floor(first) + 1)
    inner = score.second_at(np.arange(np.floor(first) + 1, last + 1))
    return np.concatenate([[0.0], inner]), float(np.floor(first))


def _tempos(anchors: np.ndarray) -> np.ndarray:
    """Microseconds of each quarter, int64 [M - 1], of their times: rounding errors do not add up."""
    microseconds = np.diff(np.round(anchors * MICROSECONDS).astype(np.int64))
    steady = np.round(np.diff(anchors) * MICROSECONDS).astype(np.int64)
    # A steady tempo stays one number: it is off by less than a microsecond a quarter.
    if len(set(steady.tolist())) == 1:
        microseconds = steady
    if microseconds.max() > MAX_TEMPO or microseconds.min() < 1:
        raise UserError(
            f"a quarter of the score lasts {microseconds.max() / MICROSECONDS:.1f} s; MIDI has tempos up to "
            f"{MAX_TEMPO / MICROSECONDS:.1f} s a quarter"
        )
    return microseconds


def _signatures(bars: np.ndarray | None, first: float) -> list[tuple[int, int, int]]:
    """Tick, numerator and denominator of each time signature; positions are counted from quarter `first`."""
    if bars is None or not len(bars):
        return []
    found: list[tuple[int, int, int]] = []
    starts = np.maximum(bars - first, 0)
    lengths = np.diff(starts)
    last = bars[-1] - bars[-2] if len(bars) > 1 else 4.0
    for start, length in zip(starts, np.append(lengths, last), strict=True):
        denominator = next((d for d in (4, 8, 16, 32) if (length * d / 4).is_integer()), None)
        signature = (round(length * denominator / 4), denominator) if denominator and 0 < length < 64 else None
        if signature and (not found or found[-1][1:] != signature):
            found.append((round(start * TICKS_PER_QUARTER), *signature))
    return found

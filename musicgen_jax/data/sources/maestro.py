"""Source `maestro`: the MAESTRO dataset, v3.0.0 and the versions before it, as unpacked: performances on pianos that
wrote down what was played.

    maestro-v3.0.0.csv        a row a performance: composer, title, official split, year, MIDI file, recording
    2018/NAME.wav             the recording, 44.1 or 48 kHz, stereo
    2018/NAME.midi            what was played, within 3 ms of it, pedals included

Where there are no recordings at all, as in the archive of MIDI files alone, the data set has scores alone; where some
are missing, these are rejected. With `render` the synthesizer plays the scores instead, with `soundfont` FluidSynth.
"""

import csv
import functools
import hashlib
import io
import os
import pathlib
from typing import NamedTuple

from musicgen_jax.data import audio_check, manifest, rendering, track, workers
from musicgen_jax.data import soundfont as soundfonts
from musicgen_jax.data.sources import folder, sidecars
from musicgen_jax.runtime import console, files, progress_report
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi

OPTIONS = ("render", "soundfont")
KIND = "aligned"  # of a score that was written down by the instrument as it was recorded
COLUMNS = ("canonical_composer", "canonical_title", "split", "year", "midi_filename", "audio_filename")
MAX_CSV_BYTES = 1 << 26
MIN_SECONDS = 1.0
LICENCE = {
    "licence": "CC-BY-NC-SA-4.0",
    "licence_url": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "attribution": "Hawthorne et al., Enabling Factorized Piano Music Modeling and Generation with the MAESTRO "
    "Dataset, ICLR 2019",
}


class Row(NamedTuple):
    """A performance: columns of the table, and the paths of its files, relative to the folder."""

    composer: str
    title: str
    split: str
    year: str
    midi: str
    audio: str


def tracks(
    source: str, sample_rate: int, seed: int, num_workers: int, render: str = "", soundfont: str = ""
) -> tuple[list[track.Track], list[track.Rejection]]:
    """The performances that the table lists, in its order; recordings are not read yet, MIDI files where there are no
    recordings to take.

    Args:
      source: the folder with the table.
      sample_rate: Hz, of what is rendered.
      seed: unused.
      num_workers: processes that read MIDI files, 0 for none; the result does not depend on it.
      render: "" takes the recordings; else the scores are played, see `rendering.timbres_of`.
      soundfont: in its place, a soundfont with which FluidSynth plays them.

    Returns:
      Tracks; and what was rejected: damaged rows, missing recordings, and of scores alone unreadable ones.

    Raises:
      UserError: no such folder, no table in it, or one without the columns; no such timbre or soundfont, or both.
    """
    del seed
    finish = soundfonts.player(render, soundfont, sample_rate)
    plays = bool(render or soundfont)
    table = _table(source)
    rows, rejected = read_rows(table)
    folder_of = table.parent
    recorded = [row for row in rows if (folder_of / row.audio).is_file()]
    if recorded and not plays:
        there = set(recorded)
        rejected += [_missing(row) for row in rows if row not in there]
        return [_recording(row, folder_of) for row in recorded], rejected
    if not plays:
        console.say(f"note: {source} has no recordings: the data set has scores alone (render or soundfont plays them)")
    scored, unfit = _scores(rows, folder_of, num_workers, sample_rate if render else 0)
    return finish(scored), rejected + unfit


def checked(item: track.Track, facts: audio_check.AudioFacts) -> track.Track:
    """A performance whose recording has been read, with its score."""
    del facts
    return sidecars.with_score(item, KIND)


def notes(source: str) -> dict[str, object]:
    """Facts for the report: the licence, and a hash of the table and of the sizes of the files that it names.

    Raises as `tracks`.
    """
    table = _table(source)
    rows, _ = read_rows(table)
    paths = [str(table), *(str(table.parent / name) for row in rows for name in (row.midi, row.audio))]
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    return LICENCE | {"table": table.name, "table_hash": digest, "listing_hash": folder.listing_hash(paths, source)}


def read_rows(table: pathlib.Path) -> tuple[list[Row], list[track.Rejection]]:
    """The rows of the table in order, and a rejection for each that is damaged.

    Raises:
      UserError: it lacks a column, or is no table.
    """
    remedy = "take the table from the archive again"
    if table.stat().st_size > MAX_CSV_BYTES:
        raise UserError(
            f"{table} has {table.stat().st_size} bytes; a table of MAESTRO has less than a million: {remedy}"
        )
    rows, rejected, seen = [], [], set()
    text = table.read_bytes().decode("utf-8-sig", errors="replace")
    with files.reading(table, remedy):
        lines = csv.reader(io.StringIO(text, newline=""))  # names may have U+2028, which ends no row
        header = next(lines, [])
        if absent := [name for name in COLUMNS if name not in header]:
            raise UserError(f"{table} has no column {', '.join(absent)}: {remedy}")
        places = [header.index(name) for name in COLUMNS]
        for values in lines:
            row = Row(*(values[place].strip() for place in places)) if len(values) == len(header) else None
            reason = f"{len(values)} columns of {len(header)}" if row is None else _objection(row, seen)
            if reason:
                name = files.describe_path(row.midi) if row else table.name
                rejected.append(track.Rejection(name, f"damaged row: line {lines.line_num}: {reason}"))
            else:
                seen.add(row.midi)
                rows.append(row)
    return rows, rejected


def _objection(row: Row, seen: set[str]) -> str:
    """What is wrong with a row, or ""."""
    if row.split not in manifest.SPLITS:
        return f"its split is {row.split!r}; it must be one of {', '.join(manifest.SPLITS)}"
    for name in (row.midi, row.audio):
        path = pathlib.PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
            return f"{name!r} is no file in the folder"
    if os.path.splitext(row.midi)[0] != os.path.splitext(row.audio)[0]:
        return f"{row.midi!r} and {row.audio!r} must have one name"
    return "listed before" if row.midi in seen else ""


def _table(source: str) -> pathlib.Path:
    if not source:
        raise UserError("`source` is empty; the dataset maestro needs the folder of the unpacked archive: `source`=DIR")
    if not os.path.isdir(source):
        raise UserError(f"`source`={source} is no folder; give that of the unpacked archive, maestro-v3.0.0")
    found = sorted(pathlib.Path(source).glob("maestro-v*.csv")) or sorted(pathlib.Path(source).glob("*/maestro-v*.csv"))
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{source} must hold one table maestro-v*.csv, and holds {there}: pass the unpacked archive")
    return found[0]


def _labels(row: Row) -> dict[str, str]:
    return {name: value for name, value in (("artist", row.composer), ("year", row.year)) if value}


def _group(row: Row) -> str:
    """The composition, of which several performances may be there."""
    return hashlib.sha256(f"{row.composer}\0{row.title}".encode()).hexdigest()


def _recording(row: Row, folder_of: pathlib.Path) -> track.Track:
    scored = (folder_of / row.midi).is_file()
    item = track.of_file(
        str(folder_of / row.audio),
        row.audio,
        _labels(row),
        group=_group(row),
        split=row.split,
        score_kind=KIND if scored else "",
    )
    return item if scored else item.warned(f"score missing: {files.describe_path(row.midi)}")


def _missing(row: Row) -> track.Rejection:
    remedy = "unpack the archive with the recordings, or play the scores: --render=synthesizer, --soundfont=FILE.sf2"
    return track.Rejection(files.describe_path(row.audio), f"recording missing: {remedy}")


def _scores(
    rows: list[Row], folder_of: pathlib.Path, num_workers: int, sample_rate: int
) -> tuple[list[track.Track], list[track.Rejection]]:
    """Tracks of the scores alone, which stay in their files; with a sample rate, of what can be played at it."""
    kept, rejected = [], []
    paths = [str(folder_of / row.midi) for row in rows]
    cores = console.describe_cores(max(num_workers, 1))
    read = functools.partial(read_facts, sample_rate=sample_rate)
    with progress_report.Progress("check files", len(rows), "files", devices=cores) as progress:
        for row, path, found in zip(rows, paths, workers.ordered_map(read, paths, num_workers), strict=True):
            progress.update(1)
            if isinstance(found, workers.Lost | str):
                reason = f"lost: {found.reason}" if isinstance(found, workers.Lost) else found
                rejected.append(track.Rejection(files.describe_path(row.midi), reason))
                continue
            kept.append(_score(row, path, *found))
    return kept, rejected


def _score(row: Row, path: str, seconds: float, digest: str) -> track.Track:
    return track.Track(
        track_id=row.midi,
        path=row.midi,
        group=_group(row),
        hash=digest,
        labels=_labels(row),
        duration=seconds,
        sample_rate=0,
        channels=0,
        score_from=functools.partial(midi.read, path, apply_sustain=True),
        score_kind="exact",
        split=row.split,
    )


def read_facts(path: str, sample_rate: int = 0) -> tuple[float, str] | str:
    """(length in seconds, digest) of the score in a MIDI file; or why it cannot be used."""
    if not os.path.isfile(path):
        return "missing: unpack the archive again"
    score = midi.read_or_explain(path, apply_sustain=True)
    if isinstance(score, str):
        return score
    if score.seconds < MIN_SECONDS:
        return f"shorter than {MIN_SECONDS:g} s"
    reason = rendering.objection(score, sample_rate) if sample_rate else ""
    return reason or (score.seconds, hashlib.sha256(score.notes.tobytes()).hexdigest())

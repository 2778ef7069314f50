"""From a source's tracks to a dataset on disk: shards, manifest.jsonl and report.json."""

import dataclasses
import functools
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.data import audio_io, licences, lyrics, manifest, output_folder, reports, shards, track, workers
from musicgen_jax.runtime import console, files, progress_report, records
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import excerpts, transcription
from musicgen_jax.scores.score import COLUMNS, Score

REPORT_NAME = "report.json"
DATASET_NAME, SCORES_NAME = "musicgen_audio", "musicgen_scores"
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1000, 192000
TRANSCRIBED = "transcribed"  # the kind of a score that a network has heard
START_SECONDS = 300.0  # for a process to compile what renders a score, on a machine that has other things to do


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the content of a dataset; kept in report.json.

    Attributes:
      dataset: name of the source module.
      source: absolute path of its folder, or "".
      sample_rate: Hz.
      seed: of the split, and of what the source generates.
      transcriber: digest of the network that transcribes recordings without a score; "" where none does.
      options: what else was said to this source alone, by the names in its `OPTIONS`.
    """

    dataset: str
    source: str
    sample_rate: int
    seed: int
    transcriber: str = ""
    options: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without what is younger than some reports and off."""
        younger = ("transcriber", "options")
        return {name: value for name, value in dataclasses.asdict(self).items() if value or name not in younger}

    def validate(self) -> None:
        """Raises UserError where the sample rate is out of range."""
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise UserError(
                f"`sample_rate`={self.sample_rate}; it must be from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, "
                "22050 for example"
            )


def prepare(settings: Settings, source: ModuleType, out: str, num_workers: int, network: str = "") -> dict[str, Any]:
    """Prepares a dataset, or finds it complete already.

    Args:
      settings: what to prepare.
      source: module with tracks(source, sample_rate, seed, num_workers, **options) -> (list of Track, list of
        Rejection). It may have `OPTIONS`, the names of the options that its `tracks` takes as texts; and notes(source)
        -> dict of facts for the report, cheap and equal as long as the source is: of these `licences` reads "licence",
        "licence_url" and "attribution".
      out: the directory to write; absent, empty, or holding this same dataset.
      num_workers: processes; the result is the same, byte for byte, whatever their number.
      network: file of the network whose digest is `settings.transcriber`.

    Returns:
      The report, as in report.json.

    Raises:
      UserError: the settings, the source or `out` are unfit; the message says which and why.
    """
    settings.validate()
    if foreign := sorted(set(settings.options) - set(getattr(source, "OPTIONS", ()))):
        raise UserError(f"`{foreign[0]}`={settings.options[foreign[0]]}: `dataset`={settings.dataset} does not take it")
    notes = source.notes(settings.source) if hasattr(source, "notes") else {}
    if report := finished(settings, notes, out):
        print(f"{files.describe_path(out)} is complete already, with the same settings; nothing to do")
        return report
    with output_folder.claim(out, "prepare_data") as folder:
        if report := finished(settings, notes, out):  # it was whole, but interrupted as it moved into its place
            return report
        try:
            return _prepare(settings, source, notes, folder, num_workers, network)
        except AllRejectedError as error:
            rows = list(map(manifest.rejected, error.rejections))
            manifest.write(folder, rows)
            files.write_json(folder / REPORT_NAME, reports.make(settings, notes, rows))
            raise UserError(f"{error}; {pathlib.Path(out) / manifest.FILE_NAME} has the reason of each") from error


def _prepare(
    settings: Settings,
    source: ModuleType,
    notes: dict[str, object],
    folder: pathlib.Path,
    num_workers: int,
    network: str,
) -> dict[str, Any]:
    if _holds_rejections_only(folder):
        for name in (REPORT_NAME, manifest.FILE_NAME):
            (folder / name).unlink(missing_ok=True)
    files.output_folder(folder)
    where = (settings.source, settings.sample_rate, settings.seed, num_workers)
    tracks, rejections = source.tracks(*where, **settings.options)
    rejections = list(rejections)
    _require_some(tracks, rejections, settings)
    splits = manifest.split_tracks(tracks, settings.seed)
    labels = sorted({name for item in tracks for name in item.labels})
    metadata = {"sample_rate": settings.sample_rate, "dataset": settings.dataset}
    licence = licences.facts(notes, [item.licence for item in tracks])
    metadata |= {"licence": licence} if licence else {}
    audible = tracks[0].blocks is not None
    planned = {item.score_kind for item in tracks if item.score is not None or item.score_from is not None}
    kinds = sorted(planned | ({TRANSCRIBED} if network and audible else set()))
    metadata |= {"scores": {"columns": list(COLUMNS), "kinds": kinds}} if kinds else {}
    sung = sorted({item.lyrics_kind for item in tracks if item.lyrics is not None})
    metadata |= {"lyrics": {"kinds": sung}} if sung else {}
    scored, worded = bool(kinds), bool(sung)
    features = shards.audio_features(labels, scored, worded) if audible else shards.score_features(labels)
    name = DATASET_NAME if audible else SCORES_NAME
    with shards.ShardWriter(folder, name, features, manifest.SPLITS, metadata) as writer:
        if audible:
            rows = _write_tracks(writer, tracks, splits, labels, rejections, settings, num_workers, network)
        else:
            rows = _write_scores(writer, tracks, splits, labels, rejections, settings, num_workers)
        _require_some(rows, rejections, settings)
        rows += map(manifest.rejected, rejections)
        report = reports.make(settings, notes, rows, manifest.divided_groups(tracks))
        manifest.write(writer.path, rows)
        files.write_json(writer.path / REPORT_NAME, report)
    return report


def _holds_rejections_only(folder: pathlib.Path) -> bool:
    """Whether a run ended here with all files rejected: they may have been mended since."""
    path = folder / REPORT_NAME
    if shards.is_complete(folder) or not path.is_file():
        return False
    report = files.read_json(path)
    return "settings" in report and report.get("records") == {}


def finished(settings: Settings, notes: dict[str, object], out: str) -> dict[str, Any] | None:
    """The report of the complete dataset in `out`, None where there is none.

    Raises:
      UserError: it was made with other settings, or its source has changed since.
    """
    path = pathlib.Path(out) / REPORT_NAME
    if not (path.is_file() and shards.is_complete(out)):
        return None
    report = files.read_json(path)
    wanted = settings.to_dict()
    there = records.check(dict[str, Any], report.get("settings"), f"{path}: settings")
    different = [
        f"{name} {there.get(name)!r}, now {wanted.get(name)!r}"
        for name in wanted | there
        if there.get(name) != wanted.get(name)
    ]
    remedy = "remove it or choose another `out`"
    if different:
        raise UserError(f"{out} holds a dataset made with other settings ({'; '.join(different)}); {remedy}")
    if report.get("notes") != json.loads(json.dumps(notes)):
        raise UserError(f"{out} was made before its source {settings.source} changed; {remedy}")
    return report


def _write_tracks(
    writer: shards.ShardWriter,
    tracks: list[track.Track],
    splits: dict[str, str],
    labels: list[str],
    rejections: list[track.Rejection],
    settings: Settings,
    num_workers: int,
    network: str,
) -> list[manifest.Row]:
    """Writes every track's segments and returns the rows; a track that fails now is added to `rejections`."""
    rows = []
    progress = progress_report.Progress(
        "write shards",
        sum(item.duration for item in tracks),
        "audio-s",
        devices=console.describe_cores(max(num_workers, 1)),
    )
    # Tracks pass through files: a worker's result stays small, and a track's length is known before its first record.
    with tempfile.TemporaryDirectory(dir=writer.path) as folder, progress:
        spool = functools.partial(_spool, folder, network, settings.sample_rate)
        spooled = workers.ordered_map(spool, enumerate(tracks), num_workers, _patience)
        for index, (item, outcome) in enumerate(zip(tracks, spooled, strict=True)):
            lost = isinstance(outcome, workers.Lost)
            num_samples, reason, score = (0, f"failed on second reading: {outcome.reason}", None) if lost else outcome
            if score is not None:
                item = dataclasses.replace(item, score=score, score_kind=item.score_kind or TRANSCRIBED)
            path = _spool_path(folder, index)
            if reason:
                about = (item.hash, item.duration, item.sample_rate, item.channels)
                rejections.append(track.Rejection(item.path, reason, *about))
            else:
                split = splits[item.track_id]
                bounds = shards.segment_bounds(num_samples, settings.sample_rate)
                _write_segments(writer, split, item, path, bounds, _labels(item, labels), settings.sample_rate)
                rows.append(manifest.accepted(item, split, num_samples, len(bounds)))
            pathlib.Path(path).unlink(missing_ok=True)
            progress.update(item.duration)
    return rows


def _write_scores(
    writer: shards.ShardWriter,
    tracks: list[track.Track],
    splits: dict[str, str],
    labels: list[str],
    rejections: list[track.Rejection],
    settings: Settings,
    num_workers: int,
) -> list[manifest.Row]:
    """Writes the scores of tracks without audio, a record each, and returns the rows; as `_write_tracks`."""
    rows = []
    needed = num_workers if any(item.score_from is not None for item in tracks) else 0
    for item, outcome in zip(tracks, workers.ordered_map(_loaded, tracks, needed), strict=True):
        if not isinstance(outcome, track.Track):
            reason = outcome.reason if isinstance(outcome, workers.Lost) else outcome
            about = (item.hash, item.duration, item.sample_rate, item.channels)
            rejections.append(track.Rejection(item.path, f"failed on second reading: {reason}", *about))
            continue
        split = splits[item.track_id]
        writer.write(split, {"track_id": item.track_id, "notes": outcome.score.notes} | _labels(item, labels))
        rows.append(manifest.accepted(outcome, split, round(item.duration * settings.sample_rate), 1))
    return rows


def _loaded(item: track.Track) -> track.Track | str:
    """The track with its score, or why that cannot be read."""
    try:
        return item.loaded()
    except (UserError, OSError, MemoryError) as error:
        return str(error) or "out of memory"


def _labels(item: track.Track, names: list[str]) -> dict[str, dict[str, str]]:
    """A record's labels; nothing where the data set has none."""
    return {"labels": {name: item.labels.get(name, config.UNKNOWN_LABEL) for name in names}} if names else {}


def _patience(numbered: tuple[int, track.Track]) -> float:
    """Seconds within which a track must be decoded or rendered, for which the slowest machine needs a fifth of its
    duration, and transcribed, for which it needs as long as it is."""
    return START_SECONDS + 1.2 * numbered[1].duration


def _spool_path(folder: str, index: int) -> str:
    return os.path.join(folder, f"{index}.int16")


def _spool(
    folder: str, network: str, sample_rate: int, numbered: tuple[int, track.Track]
) -> tuple[int, str, Score | None]:
    """Decodes a track to a file of raw int16.

    Returns:
      The number of samples; why it failed or ""; and the score of a track that has it in its file still, or, of one
      without, the notes that a network has found, if any.
    """
    index, item = numbered
    path = _spool_path(folder, index)
    num_samples, reason, blocks = 0, "", iter(item.blocks())
    with files.blamed_on(path), open(path, "wb") as file:
        while True:
            try:
                block = next(blocks, None)
                samples = None if block is None else audio_io.to_int16(block)
            except (UserError, OSError, MemoryError) as error:
                reason = f"failed on second reading: {str(error) or 'out of memory'}"
                break
            if samples is None:
                break
            file.write(samples.tobytes())
            num_samples += len(samples)
    reason = reason if reason or num_samples else "empty: it gave no samples"
    if not reason and item.score_from is not None:
        item = _loaded(item)
        return (
            (0, f"failed on second reading: {item}", None) if isinstance(item, str) else (num_samples, "", item.score)
        )
    if reason or not network or item.score is not None:
        return num_samples, reason, None
    score = transcription.transcribe(transcription.load(network), _blocks_of(path, sample_rate), sample_rate)
    return num_samples, "", None if score.empty else score.clipped(num_samples / sample_rate)


def _blocks_of(path: str, size: int) -> Iterator[np.ndarray]:
    """A spooled track, float32, `size` samples at a time."""
    with open(path, "rb") as file:
        while content := file.read(2 * size):
            yield audio_io.from_int16(np.frombuffer(content, np.int16))


def _write_segments(
    writer: shards.ShardWriter,
    split: str,
    item: track.Track,
    path: str,
    bounds: list[tuple[int, int]],
    labels: dict[str, dict[str, str]],
    sample_rate: int,
) -> None:
    notes = np.zeros((0, len(COLUMNS)), np.float32) if item.score is None else item.score.notes
    with open(path, "rb") as file:
        for segment, (start, stop) in enumerate(bounds):
            record = {
                "audio": np.frombuffer(file.read(2 * (stop - start)), np.int16),
                "track_id": item.track_id,
                "segment": segment,
                "start": start,
                "track_samples": bounds[-1][1],
            } | labels
            if writer.has_scores:
                record["notes"] = excerpts.within(notes, start / sample_rate, stop / sample_rate)
            if writer.has_lyrics:
                seconds = start / sample_rate, stop / sample_rate if stop < bounds[-1][1] else np.inf
                record |= shards.lyric_fields((item.lyrics or lyrics.NONE).within(*seconds))
            writer.write(split, record)


class AllRejectedError(UserError):
    """Not one track of a source can be used; `rejections` has the source's files, each with the reason."""

    def __init__(self, message: str, rejections: list[track.Rejection]) -> None:
        super().__init__(message)
        self.rejections = rejections


def _require_some(accepted: list[Any], rejections: list[track.Rejection], settings: Settings) -> None:
    if not accepted:
        counts = "; ".join(
            f"{reason}: {count}" for reason, count in reports.categories(r.reason for r in rejections).items()
        )
        where = settings.source or settings.dataset
        message = f"all {len(rejections)} files of {where} were rejected ({counts}); mend or replace them"
        raise AllRejectedError(message, rejections)

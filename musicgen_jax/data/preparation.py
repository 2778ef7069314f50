"""From a source's tracks to a dataset on disk: shards, manifest.jsonl and report.json."""

import collections
import dataclasses
import functools
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from musicgen_jax import console, files, records
from musicgen_jax import progress as progress_lib
from musicgen_jax.data import audio_io, manifest, shards, track, workers
from musicgen_jax.errors import UserError

REPORT_NAME = "report.json"
DATASET_NAME = "musicgen_audio"
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1000, 192000


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the content of a dataset; kept in report.json.

    Attributes:
      dataset: name of the source module.
      source: absolute path of its folder, or "".
      sample_rate: Hz.
      seed: of the split, and of what the source generates.
    """

    dataset: str
    source: str
    sample_rate: int
    seed: int

    def validate(self) -> None:
        """Raises UserError where the sample rate is out of range."""
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise UserError(
                f"--sample_rate={self.sample_rate}; it must be from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, "
                "22050 for example"
            )


def prepare(settings: Settings, source: ModuleType, out: str, num_workers: int) -> dict[str, Any]:
    """Prepares a dataset, or finds it complete already.

    Args:
      settings: what to prepare.
      source: module with tracks(source, sample_rate, seed, num_workers) -> (list of Track, list of Rejection). It may
        have notes(source) -> dict of facts for the report ("licence", ...), cheap and equal as long as the source is.
      out: the directory to write; absent, empty, or holding this same dataset.
      num_workers: processes; the result is the same, byte for byte, whatever their number.

    Returns:
      The report, as in report.json.

    Raises:
      UserError: the settings, the source or `out` are unfit; the message says which and why.
    """
    settings.validate()
    notes = source.notes(settings.source) if hasattr(source, "notes") else {}
    if report := finished(settings, notes, out):
        print(f"{out} is complete already, with the same settings; nothing to do")
        return report
    shards.require_empty(out)
    tracks, rejections = source.tracks(settings.source, settings.sample_rate, settings.seed, num_workers)
    rejections = list(rejections)
    _require_some(tracks, rejections, settings)
    splits = manifest.split_groups(tracks, settings.seed)
    metadata = {"sample_rate": settings.sample_rate, "dataset": settings.dataset}
    with shards.ShardWriter(out, DATASET_NAME, shards.audio_features(), manifest.SPLITS, metadata) as writer:
        rows = _write_tracks(writer, tracks, splits, rejections, settings, num_workers)
        _require_some(rows, rejections, settings)
        rows += map(manifest.rejected, rejections)
        report = make_report(settings, notes, rows)
        manifest.write(writer.path, rows)
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (writer.path / REPORT_NAME).write_text(text, encoding="utf-8")
    return report


def finished(settings: Settings, notes: dict[str, object], out: str) -> dict[str, Any] | None:
    """The report of the complete dataset in `out`, None where there is none.

    Raises:
      UserError: it was made with other settings, or its source has changed since.
    """
    path = pathlib.Path(out) / REPORT_NAME
    if not path.is_file():
        return None
    report = files.read_json(path)
    wanted = dataclasses.asdict(settings)
    there = records.check(dict[str, Any], report.get("settings"), f"{path}: settings")
    different = [
        f"{name} {there.get(name)!r}, now {wanted[name]!r}" for name in wanted if there.get(name) != wanted[name]
    ]
    remedy = "remove it or choose another --out"
    if different:
        raise UserError(f"{out} holds a dataset made with other settings ({'; '.join(different)}); {remedy}")
    if report.get("notes") != json.loads(json.dumps(notes)):
        raise UserError(f"{out} was made before its source {settings.source} changed; {remedy}")
    return report


def make_report(settings: Settings, notes: dict[str, object], rows: list[manifest.Row]) -> dict[str, Any]:
    """Totals over the manifest's rows, the settings, and what a person should know ("messages")."""
    ok = [row for row in rows if row.status == "ok"]
    used = [split for split in manifest.SPLITS if any(row.split == split for row in ok)]
    genres = {split: collections.Counter(row.labels["genre"] for row in ok if row.split == split) for split in used}
    samples = {split: sum(row.num_samples for row in ok if row.split == split) for split in used}
    missing = [split for split in manifest.HELD_OUT if split not in used]
    messages = []
    if missing:
        messages.append(
            f"no track in {' and '.join(missing)}: there are {len(ok)} tracks, and holding some out takes at least "
            f"{manifest.MIN_GROUPS} that belong to different groups"
        )
    return {
        "settings": dataclasses.asdict(settings),
        "notes": notes,
        "files": dict(sorted(collections.Counter(row.status for row in rows).items())),
        "rejections": _categories(row.reason for row in rows),
        "warnings": _categories(warning for row in rows for warning in row.warning.split("; ")),
        "hours": {split: round(samples[split] / settings.sample_rate / 3600, 6) for split in used},
        "records": {split: sum(row.num_segments for row in ok if row.split == split) for split in used},
        "tracks": {split: dict(sorted(genres[split].items())) for split in used},
        "messages": messages,
    }


def _write_tracks(
    writer: shards.ShardWriter,
    tracks: list[track.Track],
    splits: dict[str, str],
    rejections: list[track.Rejection],
    settings: Settings,
    num_workers: int,
) -> list[manifest.Row]:
    """Writes every track's segments and returns the rows; a track that fails now is added to `rejections`."""
    rows = []
    progress = progress_lib.Progress(
        "write shards",
        sum(item.duration for item in tracks),
        "audio-s",
        devices=console.describe_cores(max(num_workers, 1)),
    )
    # Tracks pass through files: a worker's result stays small, and a track's length is known before its first record.
    with tempfile.TemporaryDirectory(dir=writer.path) as folder, progress:
        spooled = workers.ordered_map(functools.partial(_spool, folder), enumerate(tracks), num_workers)
        for item, (path, num_samples, reason) in zip(tracks, spooled, strict=True):
            if reason:
                about = (item.hash, item.duration, item.sample_rate, item.channels)
                rejections.append(track.Rejection(item.path, reason, *about))
            else:
                split = splits[item.group]
                bounds = shards.segment_bounds(num_samples, settings.sample_rate)
                _write_segments(writer, split, item, path, bounds)
                rows.append(manifest.accepted(item, split, num_samples, len(bounds)))
            os.remove(path)
            progress.update(item.duration)
    return rows


def _spool(folder: str, numbered: tuple[int, track.Track]) -> tuple[str, int, str]:
    """Decodes a track to a file of raw int16; returns its path, the number of samples, and why it failed or ""."""
    index, item = numbered
    path = os.path.join(folder, f"{index}.int16")
    num_samples, reason = 0, ""
    with open(path, "wb") as file:
        try:
            for block in item.blocks():
                samples = audio_io.to_int16(block)
                file.write(samples.tobytes())
                num_samples += len(samples)
        except (ValueError, FileNotFoundError, PermissionError) as error:
            reason = f"failed on second reading: {error}"
    return path, num_samples, reason if reason or num_samples else "empty: it gave no samples"


def _write_segments(
    writer: shards.ShardWriter, split: str, item: track.Track, path: str, bounds: list[tuple[int, int]]
) -> None:
    with open(path, "rb") as file:
        for segment, (start, stop) in enumerate(bounds):
            record = {
                "audio": np.frombuffer(file.read(2 * (stop - start)), np.int16),
                "track_id": item.track_id,
                "segment": segment,
                "start": start,
                "track_samples": bounds[-1][1],
                "genre": item.labels["genre"],
                "artist": item.labels["artist"],
            }
            writer.write(split, record)


def _require_some(accepted: list[Any], rejections: list[track.Rejection], settings: Settings) -> None:
    if not accepted:
        counts = "; ".join(f"{reason}: {count}" for reason, count in _categories(r.reason for r in rejections).items())
        where = settings.source or settings.dataset
        raise UserError(f"all {len(rejections)} files of {where} were rejected ({counts}); mend or replace them")


def _categories(reasons: Iterable[str]) -> dict[str, int]:
    """Counts reasons by what stands before their first colon."""
    return dict(sorted(collections.Counter(reason.split(":")[0] for reason in reasons if reason).items()))

"""`prepare_data --check`: reads all of a source, writes no data, and says what is doubtful about it as a whole."""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from musicgen_jax.config import UNKNOWN_LABEL
from musicgen_jax.data import (
    audio_check,
    audio_fingerprint,
    kinship,
    licences,
    manifest,
    near_duplicates,
    reports,
    spool,
    track_check,
    workers,
)
from musicgen_jax.data.preparation import Settings
from musicgen_jax.data.track_check import TrackFacts
from musicgen_jax.data.track_records import Checked
from musicgen_jax.runtime import console, progress_report
from musicgen_jax.scores import melodic_shingles

VALUES_AT_MOST = 50  # of a label
# Edges of histograms; what lies beyond is counted in the first or last bin.
SECONDS = (0, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200)
LUFS = tuple(range(-60, 1, 3))
DBFS = tuple(range(-42, 4, 3))
SHARES = (0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
CLIPPED = (0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1)


def check(settings: Settings, source: ModuleType, num_workers: int) -> dict[str, Any]:
    """Reads every track of a source to its end.

    Args:
      settings: as for `preparation.prepare`, which would divide the tracks into the same splits.
      source: module, as there.
      num_workers: processes, 0 for none; the result does not depend on it.

    Returns:
      The report, as in check.json.

    Raises:
      UserError: settings or source are unfit.
    """
    settings = settings.completed(source)
    where = (settings.source, settings.sample_rate, settings.seed, num_workers)
    notes = source.notes(settings.source) if hasattr(source, "notes") else {}
    tracks, rejections = source.tracks(*where, **settings.options)
    found = list(_inspected(tracks, settings.sample_rate, getattr(source, "checked", None), num_workers))
    unique = getattr(source, "UNIQUE", False)
    ok = _split([one for one in found if not one.reason], settings.seed, unique)
    alike = audio_fingerprint.MIN_AGREEMENT if any(item.audible for item in tracks) else melodic_shingles.ALIKE
    exact, near = _clusters(ok, alike)
    rejected = [(one.path, one.reason) for one in found if one.reason] + [(r.path, r.reason) for r in rejections]
    licence = licences.facts(notes, [one.licence for one in ok])
    return {
        "settings": settings.to_dict(),
        "notes": notes,
        "files": {"ok": len(ok), "rejected": len(rejected)},
        "rejected": [{"path": path, "reason": reason} for path, reason in sorted(rejected)],
        "rejections": reports.categories(reason for _, reason in rejected),
        "warnings": reports.categories(warning for one in ok for warning in one.warning.split("; ")),
        "doubtful": [{"path": one.path, "warning": one.warning} for one in ok if one.warning],
        "hours": round(sum(one.duration for one in ok) / 3600, 6),
        "splits": _splits(ok),
        "duplicates": {"exact": _ids(exact), "near": _ids(near)},
        "leakage": _leakage(ok, exact, near),
        "durations": _histogram([one.duration for one in ok], SECONDS, "s"),
        **_sound(ok),
        "labels": _labels(ok),
        **({"licence": licence} if licence else {}),
    }


def summary(found: dict[str, Any]) -> list[str]:
    """What a person should know of a report, a sentence each."""
    duplicates = {kind: sum(len(group) - 1 for group in groups) for kind, groups in found["duplicates"].items()}
    lines = [f"{count} {kind} duplicates" for kind, count in duplicates.items() if count]
    leaks = collections.Counter(leak["kind"] for leak in found["leakage"])
    lines += [f"{count} leaks between splits: {kind}" for kind, count in leaks.items()]
    lines += [f"{name}: {count} tracks" for name, count in found["warnings"].items()]
    return lines + licences.messages(found.get("licence", {}))


def _inspected(tracks: Sequence, sample_rate: int, checked: Checked | None, num_workers: int) -> Iterable[TrackFacts]:
    inspect = functools.partial(track_check.inspect, sample_rate=sample_rate, checked=checked)
    cores = console.describe_cores(max(num_workers, 1))
    with progress_report.Progress("check tracks", len(tracks), "tracks", devices=cores) as progress:
        outcomes = workers.ordered_map(inspect, tracks, num_workers, spool.patience)
        for item, outcome in zip(tracks, outcomes, strict=True):
            yield track_check.lost(item, outcome.reason) if isinstance(outcome, workers.Lost) else outcome
            progress.update(1)


def _split(tracks: list[TrackFacts], seed: int, unique: bool) -> list[TrackFacts]:
    """The tracks with the splits that a preparation would give them; the first of exact duplicates stands for all."""
    if not unique:
        splits = manifest.split_tracks(tracks, seed)
        return [dataclasses.replace(one, split=splits[one.track_id]) for one in tracks]
    first_of: dict[str, TrackFacts] = {}
    for one in tracks:
        first_of.setdefault(one.audio.audio_hash, one)
    kept = list(first_of.values())  # a preparation rejects the others before it divides what is left
    groups = kinship.groups(list(map(_member, kept)))[0]
    kept = [dataclasses.replace(one, group=kept[group].group) for one, group in zip(kept, groups, strict=True)]
    splits = manifest.split_tracks(kept, seed)
    return [dataclasses.replace(one, split=splits[first_of[one.audio.audio_hash].track_id]) for one in tracks]


def _member(one: TrackFacts) -> kinship.Member:
    return kinship.Member(one.audio.artist, one.audio.album, one.path.rpartition("/")[0], one.sketch)


def _clusters(tracks: list[TrackFacts], alike: float) -> tuple[list[list[TrackFacts]], list[list[TrackFacts]]]:
    """Tracks of the same samples or notes; and those that are nearly the same, each group of the former one of them."""
    exact = near_duplicates.Clusters(len(tracks))
    exact.unite_equal([one.audio.audio_hash] for one in tracks)
    first = [tracks[root] for root in sorted(set(exact.roots()))]
    near = near_duplicates.Clusters(len(first))
    near.unite_alike([one.sketch for one in first], alike)
    return _several(tracks, exact.roots()), _several(first, near.roots())


def _several(tracks: list[TrackFacts], roots: list[int]) -> list[list[TrackFacts]]:
    """The groups of more than one track."""
    groups = collections.defaultdict(list)
    for one, root in zip(tracks, roots, strict=True):
        groups[root].append(one)
    return [group for group in groups.values() if len(group) > 1]


def _ids(groups: list[list[TrackFacts]]) -> list[list[str]]:
    return [[one.track_id for one in group] for group in groups]


def _leakage(
    tracks: list[TrackFacts], exact: list[list[TrackFacts]], near: list[list[TrackFacts]]
) -> list[dict[str, Any]]:
    """What lies in several splits: "exact" and "near" duplicates, and works of one "artist"."""
    artists = collections.defaultdict(list)
    for one in tracks:
        if (name := one.labels.get("artist", UNKNOWN_LABEL)) != UNKNOWN_LABEL:
            artists[name].append(one)
    found = []
    for kind, groups in (("exact", exact), ("near", near), ("artist", list(artists.values()))):
        for group in groups:
            splits = {split: [one.track_id for one in group if one.split == split] for split in manifest.SPLITS}
            splits = {split: ids for split, ids in splits.items() if ids}
            if len(splits) > 1:
                name = {"artist": group[0].labels["artist"]} if kind == "artist" else {}
                found.append({"kind": kind} | name | {"splits": splits})
    return found


def _splits(tracks: list[TrackFacts]) -> dict[str, dict[str, float]]:
    found = {}
    for split in manifest.SPLITS:
        inside = [one.duration for one in tracks if one.split == split]
        found[split] = {"tracks": len(inside), "hours": round(sum(inside) / 3600, 6)}
    return found


def _sound(tracks: list[TrackFacts]) -> dict[str, Any]:
    """Loudness, silence, clipping, rates and channels; nothing where there is no audio."""
    audible = [one for one in tracks if one.audio.channels]
    if not audible:
        return {}
    loud = [one.loudness for one in audible if one.loudness is not None]
    silent, clipped = ([getattr(one.audio, name) for one in audible] for name in ("silent", "clipped"))
    peaks = [20 * float(np.log10(max(one.audio.peak, 1e-9))) for one in audible]
    return {
        "loudness": {"unmeasured": len(audible) - len(loud)}
        | {f"percentile_{p}": round(float(np.percentile(loud, p)), 2) for p in (5, 50, 95) if loud}
        | _histogram(loud, LUFS, "LUFS"),
        "peaks": _histogram(peaks, DBFS, "dBFS"),
        "silence": _limited(silent, audio_check.MAX_SILENT) | _histogram(silent, SHARES, "share of the time"),
        "clipping": _limited(clipped, audio_check.MAX_CLIPPED) | _histogram(clipped, CLIPPED, "share of the samples"),
        "sample_rates": _counts(one.audio.sample_rate for one in audible),
        "channels": _counts(one.audio.channels for one in audible),
    }


def _limited(values: list[float], limit: float) -> dict[str, float]:
    return {"limit": limit, "tracks_above": sum(value > limit for value in values)}


def _histogram(values: list[float], edges: Sequence[float], unit: str) -> dict[str, Any]:
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return {"unit": unit, "edges": list(edges), "counts": counts.tolist()}


def _labels(tracks: list[TrackFacts]) -> dict[str, dict[str, int]]:
    """Label -> its most frequent values -> tracks; what there is more of is counted under "..."."""
    found = {}
    for name in sorted({name for one in tracks for name in one.labels}):
        counts = collections.Counter(one.labels.get(name, UNKNOWN_LABEL) for one in tracks)
        found[name] = dict(counts.most_common(VALUES_AT_MOST))
        if rest := sum(counts.values()) - sum(found[name].values()):
            found[name]["..."] = rest
    return found


def _counts(values: Iterable[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(collections.Counter(values).items())}

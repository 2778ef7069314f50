"""What report.json says of a prepared data set."""

import collections
from collections.abc import Iterable
from typing import Any

from musicgen_jax import config
from musicgen_jax.data import licences, manifest


def make(settings: Any, notes: dict[str, object], rows: list[manifest.Row], divided_groups: int = 0) -> dict[str, Any]:
    """Totals over the manifest's rows, the settings, and what a person should know ("messages").

    Args:
      settings: `preparation.Settings`.
      notes: of the source.
      rows: of the manifest.
      divided_groups: see `manifest.divided_groups`.
    """
    ok = [row for row in rows if row.status == "ok"]
    used = [split for split in manifest.SPLITS if any(row.split == split for row in ok)]
    genres = {split: collections.Counter(map(_genre, (row for row in ok if row.split == split))) for split in used}
    samples = {split: sum(row.num_samples for row in ok if row.split == split) for split in used}
    licence = licences.facts(notes, [row.licence for row in ok])
    return {
        "settings": settings.to_dict(),
        "notes": notes,
        "files": dict(sorted(collections.Counter(row.status for row in rows).items())),
        "rejections": categories(row.reason for row in rows),
        "warnings": categories(warning for row in rows for warning in row.warning.split("; ")),
        "seconds": {split: round(samples[split] / settings.sample_rate, 2) for split in used},
        "hours": {split: round(samples[split] / settings.sample_rate / 3600, 6) for split in used},
        "records": {split: sum(row.num_segments for row in ok if row.split == split) for split in used},
        "tracks": {split: dict(sorted(genres[split].items())) for split in used},
        "labels": _values(ok),
        **_scores_report(ok),
        **_lyrics_report(ok),
        **({"licence": licence} if licence else {}),
        "messages": [*_about_splits(len(ok), used, divided_groups), *licences.messages(licence)],
    }


def _genre(row: manifest.Row) -> str:
    return row.labels.get("genre", config.UNKNOWN_LABEL)


def _values(rows: list[manifest.Row]) -> dict[str, int]:
    """Label -> how many values it has in these tracks; unknown is none."""
    known = {pair for row in rows for pair in row.labels.items() if pair[1] != config.UNKNOWN_LABEL}
    return dict(sorted(collections.Counter(name for name, _ in known).items()))


def _about_splits(num_tracks: int, used: list[str], divided_groups: int) -> list[str]:
    messages = []
    if missing := [split for split in manifest.HELD_OUT if split not in used]:
        messages.append(
            f"no track in {' and '.join(missing)}: there are {num_tracks} tracks, and holding some out takes at least "
            f"{manifest.MIN_GROUPS} that belong to different groups"
        )
    if divided_groups:
        messages.append(
            f"the split of the source itself divides {divided_groups} groups of tracks that belong together: what is "
            "measured on them is not of unheard music"
        )
    return messages


def _scores_report(rows: list[manifest.Row]) -> dict[str, Any]:
    """ "scores": kind -> its tracks and notes, "" for tracks without; nothing where no track has one."""
    kinds = sorted({row.score.kind for row in rows})
    counts = {
        kind: {
            "tracks": sum(row.score.kind == kind for row in rows),
            "notes": sum(row.score.num_notes for row in rows if row.score.kind == kind),
        }
        for kind in kinds
    }
    return {"scores": counts} if any(kinds) else {}


def _lyrics_report(rows: list[manifest.Row]) -> dict[str, Any]:
    """ "lyrics": kind -> its tracks and characters, "" for tracks without; nothing where no track has some."""
    tracks: dict[str, int] = collections.Counter(row.lyrics.kind for row in rows)
    counts = {
        kind: {
            "tracks": tracks[kind],
            "characters": sum(row.lyrics.num_characters for row in rows if row.lyrics.kind == kind),
        }
        for kind in sorted(tracks)
    }
    return {"lyrics": counts} if any(counts) else {}


def categories(reasons: Iterable[str]) -> dict[str, int]:
    """How often each category occurs among reasons of the form "category: detail"; empty ones do not count."""
    return dict(sorted(collections.Counter(reason.split(":")[0] for reason in reasons if reason).items()))

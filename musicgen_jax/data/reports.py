"""What report.json says of a prepared data set."""

import collections
from collections.abc import Iterable
from typing import Any

from musicgen_jax import config
from musicgen_jax.data import captions, licences, manifest

FILE_NAME = "report.json"


def make(
    settings: Any,
    notes: dict[str, object],
    rows: Iterable[manifest.Row],
    divided_groups: int = 0,
    divided_kin: str = "",
) -> dict[str, Any]:
    """Totals over the manifest's rows, the settings, and what a person should know ("messages").

    Args:
      settings: `preparation.Settings`.
      notes: of the source.
      rows: of the manifest; gone through once.
      divided_groups: see `manifest.divided_groups`.
      divided_kin: see `kinship.groups`.
    """
    total = _Totals()
    for row in rows:
        total.add(row)
    used = [split for split in manifest.SPLITS if total.genres[split]]
    licence = licences.facts(notes, total.licences.elements())
    return {
        "settings": settings.to_dict(),
        "notes": notes,
        "files": dict(sorted(total.files.items())),
        "rejections": dict(sorted(total.rejections.items())),
        "warnings": dict(sorted(total.warnings.items())),
        "seconds": {split: round(total.samples[split] / settings.sample_rate, 2) for split in used},
        "hours": {split: round(total.samples[split] / settings.sample_rate / 3600, 6) for split in used},
        "records": {split: total.records[split] for split in used},
        "tracks": {split: dict(sorted(total.genres[split].items())) for split in used},
        "labels": dict(sorted(collections.Counter(name for name, _ in total.labels).items())),
        **_amounts("scores", "notes", total.scores, total.notes),
        **_amounts("lyrics", "characters", total.lyrics, total.characters),
        **_amounts("captions", "characters", total.captions, total.caption_characters),
        **({"licence": licence} if licence else {}),
        "messages": [*_about_splits(total.files["ok"], used, divided_groups, divided_kin), *licences.messages(licence)],
    }


class _Totals:
    """What the rows of a manifest add up to."""

    def __init__(self) -> None:
        self.files, self.rejections, self.warnings, self.licences = (collections.Counter() for _ in range(4))
        self.samples, self.records = collections.Counter(), collections.Counter()
        self.scores, self.notes, self.lyrics, self.characters = (collections.Counter() for _ in range(4))
        self.captions, self.caption_characters = collections.Counter(), collections.Counter()
        self.genres: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        self.labels: set[tuple[str, str]] = set()  # names and values that are known

    def add(self, row: manifest.Row) -> None:
        self.files[row.status] += 1
        self.rejections.update(categories([row.reason]))
        self.warnings.update(categories(row.warning.split("; ")))
        if row.status == "ok":
            self.genres[row.split][row.labels.get("genre", config.UNKNOWN_LABEL)] += 1
            self.samples[row.split] += row.num_samples
            self.records[row.split] += row.num_segments
            self.labels |= {pair for pair in row.labels.items() if pair[1] != config.UNKNOWN_LABEL}
            self.licences[row.licence] += 1
            self.scores[row.score.kind] += 1
            self.notes[row.score.kind] += row.score.num_notes
            self.lyrics[row.lyrics.kind] += 1
            self.characters[row.lyrics.kind] += row.lyrics.num_characters
            self.captions[row.caption.kind] += 1
            self.caption_characters[row.caption.kind] += len(captions.told(row.caption, {})[0])


def _about_splits(num_tracks: int, used: list[str], divided_groups: int, divided_kin: str) -> list[str]:
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
    if divided_kin:
        messages.append(
            f"{divided_kin} are in several splits: together they would be fewer than {manifest.MIN_GROUPS} groups, of "
            "which none could be held out; versions of one recording stay together all the same"
        )
    return messages


def _amounts(name: str, unit: str, tracks: collections.Counter, amounts: collections.Counter) -> dict[str, Any]:
    """{name: kind -> its tracks and how much of `unit`, "" for tracks without}; nothing where no track has one."""
    counts = {kind: {"tracks": tracks[kind], unit: amounts[kind]} for kind in sorted(tracks)}
    return {name: counts} if any(tracks) else {}


def categories(reasons: Iterable[str]) -> dict[str, int]:
    """How often each category occurs among reasons of the form "category: detail"; empty ones do not count."""
    return dict(sorted(collections.Counter(reason.split(":")[0] for reason in reasons if reason).items()))

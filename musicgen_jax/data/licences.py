"""Under which licences the tracks of a data set were published, and what these ask of those who use it."""

import collections
import re
from collections.abc import Iterable, Mapping
from typing import Any

# A clause of a Creative Commons licence -> how names abbreviate it and spell it out (letters alone), and what it says.
CLAUSES = {
    "non_commercial": ("NC", "NONCOMMERCIAL", "forbids commercial use"),
    "share_alike": ("SA", "SHAREALIKE", "asks that adaptations are published under the same licence"),
    "no_derivatives": ("ND", "NODERIV", "forbids to publish adaptations"),
}
# Fact of a source's notes -> its key in what is told of the licence.
TOLD = {"licence_url": "url", "attribution": "attribution", "licence_note": "note"}


def has_clause(licence: str, clause: str) -> bool:
    """Whether a licence has one of `CLAUSES`, by its name: "CC-BY-NC-4.0", "Attribution Non-Commercial 3.0"."""
    short, spelled, _ = CLAUSES[clause]
    words = re.split(r"[^A-Z]+", licence.upper())
    return short in words or spelled in "".join(words)


def facts(notes: Mapping[str, Any], licences: Iterable[str]) -> dict[str, Any]:
    """What a data set's metadata.json and report.json say under "licence"; {} where nobody knows anything.

    Args:
      notes: of the source: "licence" of tracks that say nothing themselves, "licence_url", "attribution" (whom a user
        must name), "licence_note".
      licences: of each track, "" where it does not say.

    Returns:
      "tracks" {licence: number of tracks}, "" where it is unknown; each of `CLAUSES` that some licences have -> these;
      and what the notes tell.
    """
    counts = collections.Counter(one or str(notes.get("licence", "")) for one in licences)
    told = {key: notes[name] for name, key in TOLD.items() if notes.get(name)}
    if not told and not any(counts):
        return {}
    clauses = {clause: sorted(name for name in counts if has_clause(name, clause)) for clause in CLAUSES}
    return {"tracks": dict(sorted(counts.items()))} | {key: names for key, names in clauses.items() if names} | told


def messages(found: Mapping[str, Any]) -> list[str]:
    """What a person must know of the licences in `facts`, a sentence each."""
    if not found:
        return []
    names = ", ".join(f"{name or 'unknown'} ({count} tracks)" for name, count in found["tracks"].items())
    lines = [f"licence: {names}" + (f", {found['url']}" if "url" in found else "")]
    lines += [f"{' and '.join(found[key])} {says}" for key, (*_, says) in CLAUSES.items() if key in found]
    lines += [f"attribution: {found['attribution']}"] if "attribution" in found else []
    return lines + ([found["note"]] if "note" in found else [])

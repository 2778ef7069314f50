"""What TFDS wants to know of a data set beside its records: a description, licence and citation, and a folder by name.

`tfds.builder_from_directory(OUT)` opens a data set where it lies. `tfds.data_source(NAME, data_dir=OUT)` and
`tfds.builder` look for OUT/NAME/VERSION: there the same description points to the shards above it.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

INFO, FEATURES = "dataset_info.json", "features.json"


def facts(features: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `tfds.core.DatasetInfo`: "description", and where they are known "license" and "citation".

    Args:
      features: of a record.
      metadata: of the data set; under "licence" as `licences.facts` has it.
    """
    licence = metadata.get("licence", {})
    names = [f"{name} ({count} tracks)" for name, count in licence.get("tracks", {}).items() if name]
    told = {
        "license": "; ".join([*names, *(licence[key] for key in ("url", "note") if key in licence)]),
        "citation": licence.get("attribution", ""),
    }
    return {"description": _description(features, metadata)} | {name: text for name, text in told.items() if text}


def _description(features: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    notes = " and the notes that sound in it" if "notes" in features else ""
    if "audio" in features:
        return (
            f"Recordings, mono, {metadata['sample_rate']} Hz: a record has about 10 s of a track as int16{notes}, with "
            "the track's name and labels. Written by musicgen_jax.prepare_data."
        )
    if "start" in features:
        return (
            f"Codes of recordings: a record has about 10 s of a track, a row of codes a frame in each stream{notes}, "
            "with the track's name and labels. Written by musicgen_jax.extract_codes."
        )
    return (
        "Scores: a record has the notes of a piece (pitch, onset and duration in seconds, velocity, part), with its "
        "name and labels. Written by musicgen_jax.prepare_data."
    )


def write(folder: str | os.PathLike[str]) -> None:
    """Adds NAME/VERSION to a whole data set, so that TFDS finds it by its name."""
    folder = pathlib.Path(folder)
    info = json.loads((folder / INFO).read_text(encoding="utf-8"))
    place = folder / info["name"] / info["version"]
    above = os.path.relpath(folder, place)
    for split in info["splits"]:
        split["filepathTemplate"] = f"{above}/{split['filepathTemplate']}"
    place.mkdir(parents=True, exist_ok=True)  # a run that was stopped may have begun it
    (place / INFO).write_text(json.dumps(info, indent=2), encoding="utf-8")
    (place / FEATURES).write_bytes((folder / FEATURES).read_bytes())

"""Which audio a dataset holds, and which audio codes were made of: by content, wherever the folders lie."""

import hashlib
import json
import pathlib
from typing import Any

from musicgen_jax.codes import code_shards
from musicgen_jax.data import manifest, shards


def of_audio(directory: str) -> str:
    """Hexadecimal digest of a prepared dataset: its sample rate and its tracks' ids, sources, labels, lengths, splits,
    scores, lyrics and captions.

    Raises:
      NotFoundError: no prepared dataset there.
    """
    rows = [row for row in manifest.read(directory) if row.status == "ok"]
    tracks = sorted(
        [row.track_id, row.hash, row.split, row.num_samples, sorted(row.labels.items())]
        + ([row.score.digest] if row.score.kind else [])
        + ([row.lyrics.digest] if row.lyrics.kind else [])
        + ([row.caption.text, sorted(row.caption.fields.items())] if row.caption.kind else [])
        for row in rows
    )
    return _digest([shards.read_metadata(directory)["sample_rate"], tracks])


def of_codes(directory: str) -> str:
    """Hexadecimal digest of code shards: the tokenizer and the audio that they were made with.

    Raises:
      NotFoundError: no codes there.
    """
    facts = code_shards.read_facts(directory)
    layout = facts.layout
    # As it was before there were layouts: folders remember the digest.
    told = {"vqvae": layout.fingerprint, "sample_rate": layout.sample_rate, "num_codes": layout.streams[0].num_codes}
    told |= {"hop_lengths": layout.hop_lengths, "audio": facts.audio, "manifest": facts.manifest}
    several = {one.name: one.num_codebooks for one in layout.streams if one.num_codebooks > 1}
    return _digest(told | ({"num_codebooks": several} if several else {}))


def other_audio(codes: str, data: str) -> str:
    """How the audio that `codes` were made of differs from that in the folder `data`; "" where it is the same.

    Folders of codes that are older than this digest hold one of the manifest's bytes; still older ones are known by
    their tracks' ids, splits and lengths.

    Args:
      codes: folder of extract_codes.
      data: folder of prepare_data.

    Raises:
      NotFoundError: one of them is not there.
    """
    facts = code_shards.read_facts(codes)
    if facts.audio:
        return _change("audio", facts.audio, of_audio(data))
    if facts.manifest:
        now = hashlib.sha256((pathlib.Path(data) / manifest.FILE_NAME).read_bytes()).hexdigest()[:16]
        return _change("manifest", facts.manifest, now)
    rows = [row for row in manifest.read(data) if row.status == "ok"]
    there = {entry.track_id: (entry.split, entry.num_samples) for entry in code_shards.read_index(codes)}
    now = {row.track_id: (row.split, facts.layout.padded(row.num_samples)) for row in rows}
    different = sorted(name for name in there | now if there.get(name) != now.get(name))
    return f"{len(different)} tracks, {different[0]!r} among them" if different else ""


def _change(name: str, there: Any, now: Any) -> str:
    return "" if there == now else f"{name} {there!r}, now {now!r}"


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

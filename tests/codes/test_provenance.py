"""Data sets known by what they hold, wherever they lie."""

import dataclasses
import hashlib
import json
import pathlib
import shutil

import pytest

from musicgen_jax.codes import code_shards, provenance
from musicgen_jax.data import manifest, shards


def rewritten(source: str, to: pathlib.Path, change) -> str:
    """A copy of the audio dataset `source` whose manifest has the rows that `change` makes of its own."""
    shutil.copytree(source, to)
    manifest.write(to, change(manifest.read(source)))
    return str(to)


def of_version(codes: str, to: pathlib.Path, **facts: str) -> str:
    """A copy of `codes` whose metadata has `facts` in the place of the digest of its audio, as older folders do."""
    shutil.copytree(codes, to)
    metadata = shards.read_metadata(codes)
    del metadata["audio"]
    (to / "metadata.json").write_text(json.dumps(metadata | facts))
    return str(to)


def test_audio_is_known_by_its_tracks(tiny_audio_dataset, tmp_path):
    want = provenance.of_audio(tiny_audio_dataset)
    assert len(want) == 16 and int(want, 16) >= 0
    same = rewritten(tiny_audio_dataset, tmp_path / "same", lambda rows: rows[::-1])
    assert provenance.of_audio(same) == want
    rejected = manifest.Row("noise.wav", "", "", 0.0, 0, 0, "rejected", reason="empty")
    assert provenance.of_audio(rewritten(tiny_audio_dataset, tmp_path / "more", lambda rows: [*rows, rejected])) == want
    for number, changes in enumerate(
        ({"hash": "f00d"}, {"num_samples": 5}, {"split": "test"}, {"track_id": "x"}, {"labels": {"genre": "polka"}})
    ):
        other = rewritten(
            tiny_audio_dataset,
            tmp_path / str(number),
            lambda rows, changes=changes: [dataclasses.replace(rows[0], **changes), *rows[1:]],
        )
        assert provenance.of_audio(other) != want, changes


def test_codes_know_the_audio_that_they_were_made_of(tiny_codes, tiny_audio_dataset, tmp_path):
    moved = shutil.copytree(tiny_audio_dataset, tmp_path / "moved")
    digest = hashlib.sha256((moved / manifest.FILE_NAME).read_bytes()).hexdigest()[:16]
    with_manifest = of_version(tiny_codes, tmp_path / "older", manifest=digest)
    with_tracks = of_version(tiny_codes, tmp_path / "oldest")
    for codes in (tiny_codes, with_manifest, with_tracks):
        assert provenance.other_audio(codes, str(moved)) == ""

    def shortened(rows: list[manifest.Row]) -> list[manifest.Row]:
        return [dataclasses.replace(rows[0], num_samples=rows[0].num_samples // 2), *rows[1:]]

    other = rewritten(tiny_audio_dataset, tmp_path / "other", shortened)
    now = provenance.of_audio(other)
    assert provenance.other_audio(tiny_codes, other) == f"audio '{provenance.of_audio(moved)}', now '{now}'"
    assert provenance.other_audio(with_manifest, other).startswith(f"manifest '{digest}', now '")
    assert provenance.other_audio(with_tracks, other) == f"1 tracks, {manifest.read(other)[0].track_id!r} among them"


def test_codes_are_known_by_tokenizer_and_audio(tiny_codes, tmp_path):
    moved = shutil.copytree(tiny_codes, tmp_path / "moved")
    metadata = shards.read_metadata(moved)
    (moved / "metadata.json").write_text(json.dumps(metadata | {"data": "elsewhere"}))
    assert provenance.of_codes(moved) == provenance.of_codes(tiny_codes)
    other = metadata["layout"] | {"fingerprint": "f00d"}
    (moved / "metadata.json").write_text(json.dumps(metadata | {"layout": other}))
    assert provenance.of_codes(moved) != provenance.of_codes(tiny_codes)


def test_folders_that_are_not_there(tiny_codes, tiny_audio_dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such dataset directory"):
        provenance.other_audio(str(tmp_path / "none"), tiny_audio_dataset)
    with pytest.raises(FileNotFoundError, match=r"no manifest\.jsonl .*: pass a folder that prepare_data wrote"):
        provenance.of_audio(tiny_codes)
    assert code_shards.read_index(tiny_codes)

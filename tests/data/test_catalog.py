"""Data sets as TFDS's own readers find them, in a process that has no TensorFlow."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny_shards

from musicgen_jax.data import catalog, shards

LICENCE = {
    "tracks": {"CC-BY-NC-4.0": 2, "": 1},
    "non_commercial": ["CC-BY-NC-4.0"],
    "url": "a page",
    "attribution": "Somebody (2026)",
}
READ = """
import json, sys
import numpy as np
import tensorflow_datasets as tfds
folder, name = sys.argv[1:]
direct = tfds.builder_from_directory(folder)
by_name = tfds.data_source(name, data_dir=folder)
same = all(
    a.get("labels") == b.get("labels") and all(np.array_equal(a[key], b[key]) for key in a if key != "labels")
    for split, source in by_name.items() for a, b in zip(source, direct.as_data_source(split), strict=True)
)
info = tfds.builder(name, data_dir=folder).info
print(json.dumps({
    "sizes": {split: len(source) for split, source in by_name.items()},
    "same": same,
    "declared": {split: one.num_examples for split, one in direct.info.splits.items()},
    "bytes": {split: one.num_bytes for split, one in direct.info.splits.items()},
    "description": info.description, "citation": info.citation,
    "license": info.as_proto.redistribution_info.license,
    "features": sorted(info.features), "name": info.full_name, "tensorflow": "tensorflow" in sys.modules,
}))
"""


def opened(folder, name: str) -> dict:
    done = subprocess.run([sys.executable, "-c", READ, str(folder), name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["same"] and found["sizes"] == found["declared"] and not found["tensorflow"]
    return found


def test_recordings(tmp_path):
    rng = np.random.default_rng(0)
    metadata = {"sample_rate": 8000, "licence": LICENCE}
    features = shards.audio_features(["genre"], scores=True)
    with tiny_shards.ShardWriter(tmp_path / "out", "musicgen_audio", features, ("train", "test"), metadata) as writer:
        for index in range(5):
            facts = {"segment": index, "start": 0, "track_samples": 40, "track_id": f"t{index}"}
            audio, notes = rng.integers(-9, 9, 40, dtype=np.int16), rng.random((index, 5), np.float32)
            record = facts | {"audio": audio, "notes": notes, "labels": {"genre": "é"}}
            writer.write("train" if index else "test", record)
    found = opened(tmp_path / "out", "musicgen_audio")
    assert found["sizes"] == {"train": 4, "test": 1}
    assert found["bytes"]["train"] > found["bytes"]["test"] > 80
    assert "8000 Hz" in found["description"] and "notes" in found["description"]
    assert found["citation"] == "Somebody (2026)" and found["license"] == "CC-BY-NC-4.0 (2 tracks); a page"
    assert found["name"] == "musicgen_audio/1.0.0" and "audio" in found["features"]


def test_scores(tmp_path):
    with tiny_shards.ShardWriter(
        tmp_path / "out", "musicgen_scores", shards.score_features(["genre"]), ("train",), {"sample_rate": 8000}
    ) as writer:
        writer.write("train", {"track_id": "a", "labels": {"genre": "x"}, "notes": np.ones((2, 5), np.float32)})
    found = opened(tmp_path / "out", "musicgen_scores")
    assert found["sizes"] == {"train": 1} and found["description"].startswith("Scores")
    assert not found["license"]


def test_codes(tiny_codes):
    found = opened(tiny_codes, "musicgen_codes")
    assert found["description"].startswith("Codes")
    assert {"top", "middle", "bottom"} <= set(found["features"])


@pytest.mark.parametrize(
    ("licence", "expected"),
    [({}, {}), ({"tracks": {"CC0-1.0": 3}}, {"license": "CC0-1.0 (3 tracks)"}), ({"tracks": {"": 3}}, {})],
)
def test_what_is_not_known_is_not_said(licence, expected):
    found = catalog.facts({"audio": None}, {"sample_rate": 1, "licence": licence})
    assert {name: text for name, text in found.items() if name != "description"} == expected

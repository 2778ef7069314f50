"""Code shards: tracks in segments, of which a window reads those it lies in; older folders; what contradicts itself."""

import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tiny_layouts
import tiny_shards

from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards, provenance
from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.data import shards
from musicgen_jax.runtime.errors import UserError

CODEC = Layout(400, 1, (Stream("codes", 4, 3, 11),), "beef")


@pytest.fixture(scope="module")
def older(tiny_codes, tmp_path_factory) -> str:
    """`tiny_codes` as it was written before there were layouts."""
    out, layout = tmp_path_factory.mktemp("older") / "codes", code_shards.read_facts(tiny_codes).layout
    metadata = {"vqvae": layout.fingerprint, "sample_rate": 4000, "num_codes": 16, "hop_lengths": layout.hop_lengths}
    metadata["audio"] = code_shards.read_facts(tiny_codes).audio
    features, splits = _of_older(layout), shards.split_names(tiny_codes)
    with tiny_shards.ShardWriter(out, code_shards.DATASET_NAME, features, splits, metadata) as writer:
        for split in splits:
            tracks = code_shards.Tracks(tiny_codes, split)
            for index, entry in enumerate(tracks.entries):
                codes = tracks.read(index, layout.names, 0, entry.num_samples)
                texts = {"track_id": entry.track_id, "lyrics": "", **entry.labels}
                writer.write(split, {name: array[:, 0] for name, array in codes.items()} | texts)
        rows = [vars(entry) for entry in code_shards.read_index(tiny_codes)]
        rows = [row | row["labels"] | {"top_codes": row["num_samples"] // 128} for row in rows]
        younger = ("num_samples", "score", "lyrics", "caption", "labels")
        lines = [json.dumps({name: value for name, value in row.items() if name not in younger}) for row in rows]
        (writer.path / code_shards.INDEX_NAME).write_text("".join(f"{line}\n" for line in lines))
        codebooks = code_shards.read_codebooks(tiny_codes)
        code_shards.write_codebooks(writer.path, {name: entries[0] for name, entries in codebooks.items()})
    return str(out)


def _of_older(layout: Layout) -> tfds.features.FeaturesDict:
    labels = {name: tfds.features.Text() for name in ("genre", "artist")}
    return tfds.features.FeaturesDict(dict(code_shards.features(layout, whole_tracks=True)) | labels)


def test_older_folders_are_read_alike(tiny_codes, older):
    facts, want = code_shards.read_facts(older), code_shards.read_facts(tiny_codes)
    assert (facts.layout, facts.audio, facts.segment_samples) == (want.layout, want.audio, 0)
    assert provenance.of_codes(older) == provenance.of_codes(tiny_codes)
    assert code_shards.read_index(older) == code_shards.read_index(tiny_codes)
    for name, entries in code_shards.read_codebooks(tiny_codes).items():
        np.testing.assert_array_equal(code_shards.read_codebooks(older)[name], entries)
    model = code_dataset.resolve(config.PriorConfig(tier="bottom", context=64), tiny_codes)
    assert code_dataset.resolve(config.PriorConfig(tier="bottom", context=64), older) == model
    windows, same = (code_dataset.Windows(folder, "train", model) for folder in (tiny_codes, older))
    for slot in windows.slots[::7]:
        place, other = (one.place(slot, np.random.default_rng(slot)) for one in (windows, same))
        assert place == other
        example = same.window(*place)
        for name, array in windows.window(*place).items():
            np.testing.assert_array_equal(example[name], array)


def test_a_window_reads_the_records_that_it_lies_in(tiny_codes):
    tracks = code_shards.Tracks(tiny_codes, "train")
    size, read = code_shards.segment_samples(tracks.layout), []
    longest = int(np.argmax([entry.num_samples for entry in tracks.entries]))
    whole = tracks.read(longest, ("middle", "bottom"), 0, 2**40)
    num_samples = tracks.entries[longest].num_samples
    assert num_samples > 2 * size and len(whole["bottom"]) == num_samples // 8
    records = tracks._records
    tracks._records = type("Spy", (), {"__getitem__": lambda self, index: read.append(index) or records[index]})()
    for start, stop, number in ((0, 32, 1), (size - 64, size, 1), (size - 64, size + 64, 2), (32, 2 * size + 32, 3)):
        read.clear()
        part = tracks.read(longest, ("middle", "bottom"), start, stop)
        assert len(read) == number
        for name, hop in (("middle", 32), ("bottom", 8)):
            np.testing.assert_array_equal(part[name], whole[name][start // hop : stop // hop])
    assert tracks.read(longest, ("top",), num_samples, num_samples + 128)["top"].shape == (0, 1)
    pickle.dumps(code_shards.Tracks(tiny_codes, "train"))


def write(folder: pathlib.Path, lengths: tuple[int, ...]) -> list[np.ndarray]:
    """Codes of three codebooks, tracks of so many frames; returns them."""
    rng, entries, tracks = np.random.default_rng(0), [], []
    features = code_shards.features(CODEC, ("genre", "artist"))
    metadata = code_shards.metadata(CODEC, "", "")
    with tiny_shards.ShardWriter(folder, code_shards.DATASET_NAME, features, ["train"], metadata) as writer:
        for index, length in enumerate(lengths):
            texts = {"track_id": f"track{index}", "labels": {"genre": "organ", "artist": "nobody"}}
            tracks.append(rng.integers(0, 11, (length, 3)).astype(np.int16))
            for segment in code_shards.segments(CODEC, {"codes": tracks[-1]}):
                writer.write("train", segment | texts)
            entries.append(code_shards.TrackEntry(**texts, split="train", num_samples=4 * length))
        code_shards.write_index(writer.path, entries)
    return tracks


def test_several_codebooks(tmp_path):
    lengths = (1, 999, 1000, 1001, 2500)  # a segment has 1000 frames
    tracks = write(tmp_path / "codes", lengths)
    found = code_shards.Tracks(str(tmp_path / "codes"), "train").all_codes("codes")
    for codes, want in zip(found, tracks, strict=True):
        np.testing.assert_array_equal(codes, want)
    model = code_dataset.resolve(config.PriorConfig(tier="codes", context=64), str(tmp_path / "codes"))
    assert (model.num_codebooks, model.num_codes, model.upsampling, model.codes_per_second) == (3, 11, 0, 100.0)
    example = code_dataset.Windows(str(tmp_path / "codes"), "train", model).window(4, 970)
    np.testing.assert_array_equal(example["codes"], tracks[4][970 : 970 + 64])
    with pytest.raises(UserError, match="'top' is no stream of this tokenizer; it has codes"):
        code_dataset.resolve(config.PriorConfig(tier="top"), str(tmp_path / "codes"))


def test_records_of_another_track_are_noticed(tmp_path):
    """The index has as many records and codes a track as the shards, but the tracks lie in another order."""
    write(tmp_path / "codes", (1500, 1500))
    index = tmp_path / "codes" / "tracks.jsonl"
    index.write_text("\n".join(reversed(index.read_text().splitlines())) + "\n")
    tracks = code_shards.Tracks(str(tmp_path / "codes"), "train")
    with pytest.raises(UserError, match=r"record 2 is of track1 from .* 0 on, and tracks\.jsonl promises track0"):
        tracks.read(1, ("codes",), 0, 400)


def test_records_of_another_stretch_are_noticed(tmp_path, monkeypatch):
    segments = code_shards.segments
    monkeypatch.setattr(code_shards, "segments", lambda *given: reversed(list(segments(*given))))
    write(tmp_path / "codes", (2000,))
    tracks = code_shards.Tracks(str(tmp_path / "codes"), "train")
    with pytest.raises(UserError, match=r"record 1 is of track0 from sample 0 on, .* promises track0 from sample 4000"):
        tracks.read(0, ("codes",), 4000, 4400)


def test_any_name_and_tag_survives_in_the_index(tmp_path):
    strange = "a\nb\r\x85\u2028\u2029\x0b\x1e'\"\\ü\x00"
    entries = [code_shards.TrackEntry(strange, "train", {strange: strange}, 3 * 128)] * 2
    code_shards.write_index(tmp_path, entries)
    assert code_shards.read_index(str(tmp_path), tiny_layouts.of_vqvae()) == entries


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("metadata.json", {"segment_samples": 100}, "segment_samples is 100 and must be a multiple of 128"),
        (
            "metadata.json",
            {"segment_samples": 256},
            r"names 8 tracks of train, which are \d+ records, and the shards hold",
        ),
        ("metadata.json", {"layout": {}}, r"metadata\.layout lacks sample_rate"),
        ("tracks.jsonl", {"num_samples": 100}, r"row 1\.num_samples is 100 and must be a multiple of 128"),
        ("tracks.jsonl", {"num_samples": 128}, r"tracks\.jsonl promises 1 codes of track\d\d from sample 0 on"),
    ],
)
def test_what_contradicts_itself(tiny_codes, tmp_path, file, change, message):
    folder = pathlib.Path(shutil.copytree(tiny_codes, tmp_path / "codes"))
    first, *rest = (folder / file).read_text().splitlines() if file == "tracks.jsonl" else [(folder / file).read_text()]
    (folder / file).write_text("\n".join([json.dumps(json.loads(first) | change), *rest]) + "\n")
    with pytest.raises(UserError, match=message):
        split = code_shards.read_index(str(folder))[0].split if file == "tracks.jsonl" else "train"
        code_shards.Tracks(str(folder), split).read(0, ("top",), 0, 128)

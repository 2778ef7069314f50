"""Windows of codes: complete, aligned with the tier above, masked at the end, labelled."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.data import code_dataset, labels, shards
from musicgen_jax.sharding import mesh as mesh_lib

CONTEXT = 64


def resolved(directory: str, tier: str, context: int = CONTEXT) -> config.PriorConfig:
    return code_dataset.resolve(config.PriorConfig(tier=tier, context=context), directory)


def one_device() -> jax.sharding.Mesh:
    return mesh_lib.make_mesh(config.MeshConfig(data=1), jax.devices()[:1])


@pytest.mark.parametrize("tier", config.TIERS)
def test_resolve_reads_what_the_codes_know(tiny_codes, tiny_tokenizer, tier):
    model = resolved(tiny_codes, tier)
    hop = tiny_tokenizer.config.hop_lengths[tier]
    assert (model.num_codes, model.codes_per_second) == (16, 4000 / hop)
    assert model.upsampling == (0 if tier == "top" else 4) and model.vqvae == tiny_tokenizer.fingerprint
    assert model.genres == ("unknown", "flute", "organ")
    assert model.artists == ("unknown", "artist0", "artist1", "artist2")
    train = [entry.top_codes for entry in code_dataset.read_index(tiny_codes) if entry.split == "train"]
    assert model.track_seconds == pytest.approx(np.mean(train) * 128 / 4000)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("tier", config.TIERS)
def test_consecutive_windows_hold_every_code_once(tiny_codes, tier, split):
    windows = code_dataset.Windows(tiny_codes, split, resolved(tiny_codes, tier))
    sequences = code_dataset.code_sequences(tiny_codes, split, tier)
    above = config.TIER_ABOVE[tier] and code_dataset.code_sequences(tiny_codes, split, config.TIER_ABOVE[tier])
    for track, places in itertools.groupby(windows.consecutive(), key=lambda place: place[0]):
        examples = [windows.window(*place) for place in places]
        got = np.concatenate([example["codes"][example["mask"]] for example in examples])
        np.testing.assert_array_equal(got, sequences[track])
        assert all(not example["codes"][~example["mask"]].any() for example in examples)
        assert [int(example["start"]) for example in examples] == list(range(0, len(got), CONTEXT))
        assert {int(example["length"]) for example in examples} == {len(sequences[track])}
        if above:
            coarse = np.concatenate([example["above"] for example in examples])
            np.testing.assert_array_equal(coarse[: len(above[track])], above[track])
            assert not coarse[len(above[track]) :].any() and coarse.size == CONTEXT // 4 * len(examples)
        else:
            assert all("above" not in example for example in examples)
    assert track == len(sequences) - 1 == len(windows.entries) - 1


def test_a_window_is_aligned_with_the_tier_above(tiny_codes):
    windows = code_dataset.Windows(tiny_codes, "train", resolved(tiny_codes, "bottom"))
    example = windows.window(2, 20)
    middle, bottom = (code_dataset.code_sequences(tiny_codes, "train", tier)[2] for tier in ("middle", "bottom"))
    np.testing.assert_array_equal(example["above"], middle[5 : 5 + 16])
    np.testing.assert_array_equal(example["codes"], bottom[20 : 20 + CONTEXT])
    assert {value.dtype for name, value in example.items() if name != "mask"} == {np.dtype(np.int32)}
    assert example["mask"].all() and example["mask"].dtype == bool


def test_labels_of_a_window(tiny_codes):
    model = resolved(tiny_codes, "top")
    windows = code_dataset.Windows(tiny_codes, "train", model)
    for track, entry in enumerate(windows.entries):
        example = windows.window(track, 0)
        assert model.genres[example["genre"]] == entry.genre and model.artists[example["artist"]] == entry.artist
        assert windows.records[track]["track_id"].decode() == entry.track_id
    unseen = dataclasses.replace(model, genres=("unknown", "organ"))
    flute = next(i for i, entry in enumerate(windows.entries) if entry.genre == "flute")
    assert code_dataset.Windows(tiny_codes, "train", unseen).window(flute, 0)["genre"] == 0
    with pytest.raises(ValueError, match=r"--genre=polka: unknown genre; .*flute, organ"):
        labels.require_known("genre", "polka", model.genres)


@pytest.mark.parametrize("tier", ["top", "bottom"])
def test_random_windows(tiny_codes, tier):
    model = resolved(tiny_codes, tier)
    windows = code_dataset.Windows(tiny_codes, "train", model)
    transform = code_dataset.RandomWindow(windows)
    longest = int(np.argmax([entry.top_codes for entry in windows.entries]))
    starts = [int(transform.random_map(longest, np.random.default_rng(seed))["start"]) for seed in range(300)]
    last = windows.num_codes(longest) - CONTEXT
    assert min(starts) < 0.1 * last and 0.9 * last < max(starts) <= last
    assert all(start % max(model.upsampling, 1) == 0 for start in starts)
    shortest = int(np.argmin([entry.top_codes for entry in windows.entries]))
    if tier == "top":  # 47 codes: the whole track, and a mask
        example = transform.random_map(shortest, np.random.default_rng(0))
        assert example["start"] == 0 and example["mask"].sum() == 47
    counts = np.bincount(windows.slots)
    assert counts.tolist() == [-(-windows.num_codes(i) // CONTEXT) for i in range(len(windows.entries))]


def test_batches_resume_and_validate(tiny_codes):
    model, data = resolved(tiny_codes, "middle"), config.DataConfig(path=tiny_codes, batch_size=4)
    batches_from = code_dataset.training_batches(tiny_codes, model, data, one_device())
    batches = list(itertools.islice(batches_from(0), 4))
    assert {name: value.shape for name, value in batches[0].items()} == {
        "codes": (4, CONTEXT), "mask": (4, CONTEXT), "above": (4, CONTEXT // 4),
        "genre": (4,), "artist": (4,), "start": (4,), "length": (4,),
    }  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, next(batches_from(3)), batches[3])
    validation = code_dataset.validation_batches(tiny_codes, model, data, 2, one_device())
    first, second = list(validation()), list(validation())
    assert len(first) == 2
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert len({int(start) for batch in first for start in batch["start"]}) > 4, "windows are not spread out"


def test_bad_input(tiny_codes, tiny_audio_dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such dataset directory"):
        resolved(str(tmp_path / "absent"), "top")
    with pytest.raises(FileNotFoundError, match=r"no tracks\.jsonl .* pass the --out of extract_codes"):
        resolved(tiny_audio_dataset, "top")
    with pytest.raises(ValueError, match=r"model\.context=66: must be a multiple of the 4 codes"):
        resolved(tiny_codes, "middle", context=66)
    with pytest.raises(ValueError, match="no records in split 'dev'"):
        code_dataset.Windows(tiny_codes, "dev", resolved(tiny_codes, "top"))
    assert set(shards.split_names(tiny_codes)) == {"train", "validation", "test"}


def test_any_name_and_tag_survives_in_the_index(tmp_path):
    strange = "a\nb\r\x85\u2028\u2029\x0b\x1e'\"\\ü\x00"
    entries = [code_dataset.TrackEntry(strange, "train", strange, strange, 3)] * 2
    code_dataset.write_index(tmp_path, entries)
    assert code_dataset.read_index(tmp_path) == entries

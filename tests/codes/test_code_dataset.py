"""Windows of codes: complete, aligned with the tier above, masked at the end, labelled."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import scipy.stats
from tiny_layouts import ABOVE, TIERS

from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards, places
from musicgen_jax.data import labels, shards
from musicgen_jax.sampling.windows import plan
from musicgen_jax.sharding import meshes

CONTEXT = 64


def resolved(directory: str, tier: str, context: int = CONTEXT) -> config.PriorConfig:
    return code_dataset.resolve(config.PriorConfig(tier=tier, context=context), directory)


def one_device() -> jax.sharding.Mesh:
    return meshes.make_mesh(config.MeshConfig(data=1), jax.devices()[:1])


@pytest.mark.parametrize("tier", TIERS)
def test_resolve_reads_what_the_codes_know(tiny_codes, tiny_tokenizer, tier):
    model = resolved(tiny_codes, tier)
    hop = tiny_tokenizer.layout.stream(tier).hop_length
    assert (model.num_codes, model.codes_per_second) == (16, 4000 / hop)
    assert model.upsampling == (0 if tier == "top" else 4) and model.vqvae == tiny_tokenizer.fingerprint
    assert model.vocabularies["genre"] == ("unknown", "flute", "organ")
    assert model.vocabularies["artist"] == ("unknown", "artist0", "artist1", "artist2")
    train = [entry.num_samples for entry in code_shards.read_index(tiny_codes) if entry.split == "train"]
    assert model.track_seconds == pytest.approx(np.mean(train) / 4000)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("tier", TIERS)
def test_consecutive_windows_hold_every_code_once(tiny_codes, tier, split):
    windows = code_dataset.Windows(tiny_codes, split, resolved(tiny_codes, tier))
    sequences = code_shards.Tracks(tiny_codes, split).all_codes(tier)
    above = ABOVE[tier] and code_shards.Tracks(tiny_codes, split).all_codes(ABOVE[tier])
    for track, its in itertools.groupby(windows.consecutive(), key=lambda place: place[0]):
        examples = [windows.window(*place) for place in its]
        got = np.concatenate([example["codes"][example["mask"]] for example in examples])
        np.testing.assert_array_equal(got, sequences[track])
        assert all(not example["codes"][~example["mask"]].any() for example in examples)
        assert [int(example["start"]) for example in examples] == list(range(0, len(got), CONTEXT))
        assert {int(example["length"]) for example in examples} == {len(sequences[track])}
        if above:
            coarse = np.concatenate([example["above"] for example in examples])
            np.testing.assert_array_equal(coarse[: len(above[track])], above[track])
            assert not coarse[len(above[track]) :].any() and len(coarse) == CONTEXT // 4 * len(examples)
        else:
            assert all("above" not in example for example in examples)
    assert track == len(sequences) - 1 == len(windows.entries) - 1


def test_a_window_is_aligned_with_the_tier_above(tiny_codes):
    windows = code_dataset.Windows(tiny_codes, "train", resolved(tiny_codes, "bottom"))
    example = windows.window(2, 20)
    middle, bottom = (code_shards.Tracks(tiny_codes, "train").all_codes(tier)[2] for tier in ("middle", "bottom"))
    np.testing.assert_array_equal(example["above"], middle[5 : 5 + 16])
    np.testing.assert_array_equal(example["codes"], bottom[20 : 20 + CONTEXT])
    assert {value.dtype for name, value in example.items() if name != "mask"} == {np.dtype(np.int32)}
    assert example["mask"].all() and example["mask"].dtype == bool


def test_labels_of_a_window(tiny_codes):
    model = resolved(tiny_codes, "top")
    windows = code_dataset.Windows(tiny_codes, "train", model)
    for track, entry in enumerate(windows.entries):
        example = windows.window(track, 0)
        assert [
            model.vocabularies[name][index] for name, index in zip(model.labels, example["labels"], strict=True)
        ] == [entry.labels["genre"], entry.labels["artist"]]
        assert entry.split == "train"
    unseen = dataclasses.replace(model, vocabularies=model.vocabularies | {"genre": ("unknown", "organ")})
    flute = next(i for i, entry in enumerate(windows.entries) if entry.labels["genre"] == "flute")
    assert code_dataset.Windows(tiny_codes, "train", unseen).window(flute, 0)["labels"][0] == 0
    with pytest.raises(ValueError, match=r"genre=polka: unknown genre; .*flute, organ"):
        labels.require_known("genre", "polka", model.vocabularies["genre"])


@pytest.mark.parametrize(("tier", "context"), [("top", CONTEXT), ("bottom", CONTEXT), ("bottom", 512)])
def test_random_windows_have_every_place_in_its_share(tiny_codes, tier, context):
    windows = code_dataset.Windows(tiny_codes, "train", resolved(tiny_codes, tier, context))
    rng = np.random.default_rng(0)
    places = [windows.place(slot, rng) for slot in windows.slots for _ in range(20_000 // len(windows.slots) + 1)]
    tracks, starts = np.array(places).T
    lengths = np.array([windows.num_frames(track) for track in range(len(windows.entries))])
    weights = np.maximum(lengths, context)
    counts = np.bincount(tracks, minlength=len(lengths))
    assert len(windows.slots) == -(-weights.sum() // context)
    # Slots divide the split evenly: the counts scatter even less than those of independent draws.
    assert scipy.stats.chisquare(counts, len(places) * weights / weights.sum()).pvalue > 0.01
    step = max(windows.model.upsampling, 1)
    for track, length in enumerate(lengths):
        of_track = starts[tracks == track]
        possible = max(length - context, 0) // step + 1
        assert not (of_track % step).any() and of_track.max() <= max(length - context, 0)
        firsts = windows.first_window_share(track)
        expected = np.full(possible, (1 - firsts) / possible)
        expected[0] += firsts
        groups = np.arange(possible) * 10 // possible
        groups[1:] += 1  # code 0 is a group of its own
        observed = np.bincount(groups, np.bincount(of_track // step, minlength=possible))
        wanted = np.bincount(groups, expected * counts[track])
        used = wanted > 0
        assert possible == 1 or scipy.stats.chisquare(observed[used], wanted[used]).pvalue > 0.001


def test_windows_begin_at_code_0_as_often_as_sampling_begins_there():
    for hops, share in ((0, 1), (1, 1 / 2), (2, 1 / 3), (5, 1 / 6), (7, 1 / 8), (1000, 1 / 8)):
        assert places.Places([64 + 32 * hops], 64, 1).first_window_share(0) == share
        of_sampling = plan(64 + 32 * hops, 64, 0.5)
        assert share == max(1 / len(of_sampling), 1 / 8)


def test_a_short_track_is_a_whole_window_with_a_mask(tiny_codes):
    windows = code_dataset.Windows(tiny_codes, "train", resolved(tiny_codes, "top"))
    shortest = int(np.argmin([entry.num_samples for entry in windows.entries]))
    example = windows.window(shortest, 0)
    assert example["start"] == 0 and example["mask"].sum() == 47


def test_batches_resume_and_validate(tiny_codes):
    run = config.PriorTraining(
        model=resolved(tiny_codes, "middle"),
        data=config.DataConfig(path=tiny_codes, batch_size=4),
        training=config.TrainingConfig(eval_batches=2),
    )
    batches_from = code_dataset.training_batches(run, one_device())
    batches = list(itertools.islice(batches_from(0), 4))
    assert {name: value.shape for name, value in batches[0].items()} == {
        "codes": (4, CONTEXT, 1), "mask": (4, CONTEXT), "above": (4, CONTEXT // 4, 1),
        "labels": (4, 2), "start": (4,), "length": (4,),
    }  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, next(batches_from(3)), batches[3])
    validation = code_dataset.validation_batches(run, one_device())
    first, second = list(validation()), list(validation())
    assert len(first) == 2
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert len({int(start) for batch in first for start in batch["start"]}) > 4, "windows are not spread out"


def test_bad_input(tiny_codes, tiny_audio_dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such dataset directory"):
        resolved(str(tmp_path / "absent"), "top")
    with pytest.raises(FileNotFoundError, match=r"no tracks\.jsonl .* pass a folder that extract_codes wrote"):
        resolved(tiny_audio_dataset, "top")
    with pytest.raises(ValueError, match=r"model\.context=66: must be a multiple of the 4 codes"):
        resolved(tiny_codes, "middle", context=66)
    with pytest.raises(ValueError, match="no records in split 'dev'"):
        code_dataset.Windows(tiny_codes, "dev", resolved(tiny_codes, "top"))
    assert set(shards.split_names(tiny_codes)) == {"train", "validation", "test"}

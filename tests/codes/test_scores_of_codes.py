"""Scores from the tracks to the windows that a model is told them in: whole, once each, at the right time."""

import dataclasses
import itertools
import pathlib
import shutil
import types

import conftest
import fuzzing
import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards, provenance
from musicgen_jax.conditions import score as score_condition
from musicgen_jax.data import audio_dataset, manifest, preparation, shards, track
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import excerpts
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers import extraction

LENGTHS = (90_000, 12_000, 50_000, 60_000, 45_000)  # samples at 4000 Hz; the second has no score


def score_of(seconds: float, seed: int) -> Score:
    """Four parts, a pitch each, long and short notes and one over the border of two segments; a meter."""
    rng, rows = np.random.default_rng(seed), [[50, 9.7, 0.6, 60, 0]]
    for part, pitch in enumerate((70, 65, 60, 55)):
        bounds = np.sort(rng.uniform(0, seconds, int(4 * seconds) + 1))
        rows += [[pitch, on, off - on, rng.integers(1, 128), part] for on, off in itertools.pairwise(bounds)]
    return Score(rows, np.arange(0, seconds + 0.6, 0.6), np.arange(0, seconds / 0.6, 4), [[2.4, 3.6]])


def scored_tracks() -> list[track.Track]:
    return [
        dataclasses.replace(item, score=score_of(item.duration, index), score_kind="exact") if index != 1 else item
        for index, item in enumerate(conftest.tone_tracks(LENGTHS))
    ]


@pytest.fixture(scope="module")
def scored(tmp_path_factory, tiny_tokenizer) -> tuple[str, str, dict]:
    """(audio with scores, its codes, the report)."""
    folder = tmp_path_factory.mktemp("scored")
    source = types.SimpleNamespace(tracks=lambda *_: (scored_tracks(), []))
    settings = preparation.Settings("chorales", "", conftest.SAMPLE_RATE, seed=3)
    report = preparation.prepare(settings, source, str(folder / "audio"), num_workers=0)
    extraction.extract(tiny_tokenizer, str(folder / "audio"), str(folder / "codes"), window_seconds=4.0)
    return str(folder / "audio"), str(folder / "codes"), report


def facts_of(entries: list) -> dict:
    return {entry.track_id: entry.score for entry in entries}


def test_a_data_set_says_which_scores_it_has(scored):
    audio, codes, report = scored
    scores = {item.track_id: item.score for item in scored_tracks()}
    notes = sum(len(one.notes) for one in scores.values() if one)
    assert report["scores"] == {"": {"tracks": 1, "notes": 0}, "exact": {"tracks": 4, "notes": notes}}
    assert shards.read_metadata(codes)["scores"] == shards.read_metadata(audio)["scores"]
    assert shards.read_metadata(audio)["scores"]["kinds"] == ["exact"]
    rows = facts_of(manifest.read(audio))
    assert facts_of(code_shards.read_index(codes)) == rows
    for name, score in scores.items():
        assert (rows[name].kind, rows[name].num_notes) == (("exact", len(score.notes)) if score else ("", 0))
        again = rows[name].score(score.notes if score else np.zeros((0, 5)))
        for field in ("notes", "quarters", "bars", "fermatas") if score else ():
            np.testing.assert_array_equal(getattr(again, field), getattr(score, field))
        assert bool(again) == bool(score)
    lines = files.read_json_lines(f"{audio}/{manifest.FILE_NAME}")
    assert sum("score" in line for line in lines) == 4


def test_tracks_have_all_their_notes(scored):
    audio, codes, _ = scored
    scores, seen = {item.track_id: item.score for item in scored_tracks()}, set()
    for split in shards.split_names(audio):
        for facts, blocks in audio_dataset.read_tracks(audio, split):
            list(blocks)
            wanted = scores[facts["track_id"]]
            np.testing.assert_array_equal(facts["notes"], wanted.notes if wanted else np.zeros((0, 5)))
            seen.add(facts["track_id"])
        tracks = code_shards.Tracks(codes, split)
        for index, entry in enumerate(tracks.entries):
            wanted = scores[entry.track_id]
            found = tracks.read(index, ("top",), 0, entry.num_samples, notes_until=2**40)["notes"]
            np.testing.assert_array_equal(found, wanted.notes if wanted else np.zeros((0, 5)))
    assert seen == set(scores)
    record = tfds.builder_from_directory(audio).as_data_source("train")[0]
    assert record["notes"].shape[1] == 5 and record["notes"].dtype == np.float32


def model_of(codes: str, tier: str = "middle", **changes) -> config.PriorConfig:
    settings = {"tier": tier, "context": 64, "score": True, "score_dropout": 0.2, "score_ahead": 0.5} | changes
    return code_dataset.resolve(config.PriorConfig(**settings), codes)


@pytest.mark.parametrize("tier", ["top", "bottom"])
def test_a_window_is_told_what_the_whole_is(scored, tier):
    _, codes, _ = scored
    model = model_of(codes, tier)
    windows, rate = code_dataset.Windows(codes, "train", model), model.codes_per_second
    longest = int(np.argmax([entry.num_samples for entry in windows.entries]))
    assert windows.entries[longest].score.kind == "exact" and windows.num_frames(longest) > 2 * 64
    notes = windows.tracks.read(longest, (), 0, 0, notes_until=2**40)["notes"]
    whole = jax.jit(score_condition.planes, static_argnums=(1, 2, 3))(
        notes[None], windows.num_frames(longest) + 64, rate, 0.5
    )
    of_window = jax.jit(lambda notes: score_condition.planes(notes, 64, rate, 0.5))
    # Of the long track those beside the border of two records, and the last.
    border, heard = 40_000 // windows.hop_length, []
    for start in (0, border - 32 - border % 4, border - border % 4, windows.num_frames(longest) // 4 * 4 - 32):
        example = windows.window(longest, start)
        assert example["notes"].shape == (model.score_notes, 5) and example["scored"] == np.bool_(True)
        found = np.asarray(of_window(example["notes"][None]))
        np.testing.assert_allclose(found[0], whole[0, start : start + 64], atol=2e-3)
        heard.append(found.any())
    assert any(heard)


def test_notes_of_a_window_fit_and_have_its_times(scored):
    _, codes, _ = scored
    model = model_of(codes)
    for split in shards.split_names(codes):
        windows = code_dataset.Windows(codes, split, model)
        for place in windows.consecutive():
            example = windows.window(*place)
            count, begin = int((example["notes"][:, 2] > 0).sum()), place[1] * 32 / 4000
            wanted = windows.tracks.read(place[0], (), 0, 0, notes_until=2**40)["notes"]
            wanted = excerpts.within(wanted, begin, begin + 64 * 32 / 4000 + 0.5)
            np.testing.assert_allclose(example["notes"][:count], wanted - [0, begin, 0, 0, 0], atol=1e-5)
            assert example["scored"] == bool(windows.entries[place[0]].score.kind)
    run = config.PriorTraining(model=model, data=config.DataConfig(path=codes, batch_size=2))
    batches = code_dataset.training_batches(run, one_device())
    batch = next(batches(0))
    assert batch["notes"].shape == (2, model.score_notes, 5) and batch["scored"].dtype == bool


def one_device() -> jax.sharding.Mesh:
    return jax.make_mesh((1, 1, 1, 1), ("replica", "data", "fsdp", "tensor"), devices=jax.devices()[:1])


def test_what_cannot_be_learned_is_told_before(scored, tiny_codes):
    with pytest.raises(UserError, match=r"no scores of its training tracks: prepare the data with scores"):
        model_of(tiny_codes)
    entries = code_shards.read_index(scored[1])
    if all(entry.score.kind for entry in entries if entry.split == "train"):
        pytest.fail("the track without a score is not in the training split: choose another seed")
    with pytest.raises(UserError, match=r"score_dropout=0: 1 of \d training tracks of .* have no score"):
        model_of(scored[1], score_dropout=0.0)
    assert model_of(scored[1], context=128).score_notes > 8


def test_other_scores_are_other_audio(scored, tmp_path):
    audio, codes, _ = scored
    assert provenance.other_audio(codes, audio) == ""
    changed = shutil.copytree(audio, tmp_path / "audio")
    rows = [
        dataclasses.replace(row, score=dataclasses.replace(row.score, digest="f00d")) for row in manifest.read(audio)
    ]
    manifest.write(changed, rows)
    assert provenance.other_audio(codes, str(changed)).startswith("audio ")


def test_an_index_that_contradicts_its_notes_is_told(scored, tmp_path):
    folder = shutil.copytree(scored[1], tmp_path / "codes")
    entries = code_shards.read_index(scored[1])

    def with_crowds(crowds: tuple[int, ...]) -> None:
        changed = [dataclasses.replace(one, score=dataclasses.replace(one.score, crowds=crowds)) for one in entries]
        code_shards.write_index(
            folder, [one if one.score.kind else old for one, old in zip(changed, entries, strict=True)]
        )

    with_crowds((2**40,))
    with pytest.raises(UserError, match=r"row \d\.score: no stretch of a track has more notes than the track"):
        model_of(str(folder))
    with_crowds((1,))
    windows = code_dataset.Windows(str(folder), "train", model_of(str(folder), context=128))
    longest = int(np.argmax([entry.num_samples for entry in windows.entries]))
    with pytest.raises(UserError, match=r"a window has \d+ notes, the index promises 16 at most"):
        windows.window(longest, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audio", "codes"])
def test_damaged_indexes(scored, tmp_path, name):
    """One line each: no traceback, no memory beyond reason."""
    folder = shutil.copytree(scored[name == "codes"], tmp_path / name)
    path = folder / (manifest.FILE_NAME if name == "audio" else code_shards.INDEX_NAME)

    def read(_: pathlib.Path) -> None:
        rows = manifest.read(folder) if name == "audio" else code_shards.read_index(str(folder))
        for row in rows:
            row.score.score(np.zeros((0, 5), np.float32))
        if name == "codes":
            windows = code_dataset.Windows(str(folder), "train", model_of(str(folder)))
            for track in range(len(windows.entries)):
                windows.window(track, 0)

    fuzzing.survey_file(path, read, fuzzing.json_mutations(path.read_text(), 11, 150, lines=True))

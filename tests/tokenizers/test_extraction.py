"""From an audio dataset to a code dataset: aligned, labelled, in bounded memory, whole or not at all."""

import dataclasses
import pathlib
import pickle
import shutil
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from conftest import TRACK_SAMPLES, prepare_tones, tone_tracks
from tiny_layouts import TIERS

from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards
from musicgen_jax.data import audio_dataset, preparation, shard_files, shards
from musicgen_jax.tokenizers import extraction
from musicgen_jax.tokenizers.vqvae import vqvae_tokenizer

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def test_tracks_have_aligned_streams_and_labels(tiny_codes, tiny_audio_dataset):
    entries, seen = code_shards.read_index(tiny_codes), []
    assert shards.split_names(tiny_codes) == shards.split_names(tiny_audio_dataset)
    for split in shards.split_names(tiny_codes):
        tracks = code_shards.Tracks(tiny_codes, split)
        assert tracks.entries == [entry for entry in entries if entry.split == split]
        facts = [facts for facts, _ in audio_dataset.read_tracks(tiny_audio_dataset, split)]
        for i, (entry, fact) in enumerate(zip(tracks.entries, facts, strict=True)):
            assert all(fact[name] == getattr(entry, name) for name in ("track_id", "labels"))
            top = -(-fact["track_samples"] // 128)
            codes = tracks.read(i, TIERS, 0, entry.num_samples)
            assert [codes[tier].shape for tier in TIERS] == [(top, 1), (4 * top, 1), (16 * top, 1)]
            assert all(codes[tier].dtype == np.int16 for tier in TIERS) and entry.num_samples == 128 * top
            seen.append(entry.track_id)
    assert sorted(seen) == [f"track{i:02d}" for i in range(len(TRACK_SAMPLES))]


def test_the_codes_are_those_of_the_tokenizer(tiny_codes, tiny_audio_dataset, tiny_tokenizer):
    _, blocks = next(audio_dataset.read_tracks(tiny_audio_dataset, "validation"))
    want = tiny_tokenizer.encode(blocks, window_seconds=4.0)
    for tier in TIERS:
        np.testing.assert_array_equal(code_shards.Tracks(tiny_codes, "validation").all_codes(tier)[0], want[tier])


def test_any_name_and_tag_goes_all_the_way_to_training_windows(tiny_tokenizer, tmp_path):
    strange = "a\nb\r\x85\u2028\u2029\x0b'\"\\ü東\\xff"
    tracks = [
        dataclasses.replace(
            item, track_id=f"{index}{strange}", path=strange, labels={"artist": strange, "genre": strange}
        )
        for index, item in enumerate(tone_tracks((6000, 8000, 9000)))
    ]
    source = types.SimpleNamespace(tracks=lambda *_: (tracks, []))
    preparation.prepare(preparation.Settings("recordings", "", 4000, 0), source, str(tmp_path / "audio"), 0)
    extraction.extract(tiny_tokenizer, str(tmp_path / "audio"), str(tmp_path / "codes"), 4.0)
    entries = code_shards.read_index(str(tmp_path / "codes"))
    assert {entry.track_id for entry in entries} == {item.track_id for item in tracks}
    model = code_dataset.resolve(config.PriorConfig(tier="top", context=16), str(tmp_path / "codes"))
    assert set(model.vocabularies.values()) == {(config.UNKNOWN_LABEL, strange)}
    assert model.labels == ("genre", "artist")
    windows = code_dataset.Windows(str(tmp_path / "codes"), "train", model)
    assert windows.window(0, 0)["labels"].tolist() == [1, 1]


def test_again_does_nothing(tiny_codes, tiny_audio_dataset, tiny_tokenizer, capsys):
    before = {path: path.stat().st_mtime_ns for path in pathlib.Path(tiny_codes).iterdir()}
    extraction.extract(tiny_tokenizer, tiny_audio_dataset, tiny_codes, 4.0)
    assert "complete already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in pathlib.Path(tiny_codes).iterdir()}


def test_again_does_nothing_wherever_the_folders_lie(
    tiny_codes, tiny_audio_dataset, tiny_tokenizer, tmp_path, monkeypatch, capsys
):
    shutil.copytree(tiny_codes, tmp_path / "renamed codes")
    shutil.copytree(tiny_audio_dataset, tmp_path / "renamed audio")
    monkeypatch.chdir(tmp_path)
    extraction.extract(tiny_tokenizer, "renamed audio", "renamed codes", 4.0)
    assert "complete already" in capsys.readouterr().out


def test_other_tokenizer_data_or_rate_is_an_error(tiny_codes, tiny_audio_dataset, tiny_tokenizer, tmp_path):
    params, buffers = jax.tree.map(np.array, tiny_tokenizer._weights)
    buffers["top"]["quantizer"]["entries"] += 1.0
    other = vqvae_tokenizer.VQVAETokenizer(tiny_tokenizer.config, params, buffers)
    changed = f"tokenizer {tiny_tokenizer.fingerprint}, now {other.fingerprint}"
    with pytest.raises(ValueError, match=rf"holds other codes \({changed}\); remove it"):
        extraction.extract(other, tiny_audio_dataset, tiny_codes, 4.0)
    data = prepare_tones(tmp_path / "audio", (8000, 9000))
    with pytest.raises(ValueError, match=r"holds other codes \(audio .*; remove it or choose another out"):
        extraction.extract(tiny_tokenizer, data, tiny_codes, 4.0)
    with pytest.raises(ValueError, match="holds other things"):
        extraction.extract(tiny_tokenizer, tiny_audio_dataset, data, 4.0)
    with pytest.raises(FileNotFoundError, match="no such dataset directory"):
        extraction.extract(tiny_tokenizer, str(tmp_path / "absent"), str(tmp_path / "out"), 4.0)
    other.layout = dataclasses.replace(other.layout, sample_rate=8000)
    with pytest.raises(ValueError, match="4000 Hz but the model wants 8000 Hz"):
        extraction.extract(other, tiny_audio_dataset, str(tmp_path / "out"), 4.0)


def test_data_prepared_anew_in_the_same_place_is_noticed(tiny_tokenizer, tmp_path):
    data, out = prepare_tones(tmp_path / "audio", (8000, 9000)), str(tmp_path / "codes")
    extraction.extract(tiny_tokenizer, data, out, 4.0)
    pathlib.Path(data).rename(tmp_path / "old")
    prepare_tones(tmp_path / "audio", (8000, 9000, 10000))
    with pytest.raises(ValueError, match=r"holds other codes \(audio "):
        extraction.extract(tiny_tokenizer, data, out, 4.0)


def contents(folder) -> dict[str, bytes]:
    whole = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in whole}


@pytest.fixture
def small_files(monkeypatch):
    """Two records a file, so that most begin or end within a track."""
    monkeypatch.setattr(shard_files, "RECORDS_PER_SHARD", 2)


@pytest.mark.long
def test_after_an_error_no_reader_sees_codes_and_the_next_run_is_whole(
    tiny_tokenizer, tiny_audio_dataset, tiny_codes, tmp_path, monkeypatch
):
    out = tmp_path / "codes"
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(shard_files, "describe", raising(RuntimeError))
        extraction.extract(tiny_tokenizer, tiny_audio_dataset, str(out), 4.0)
    assert all(path.name.startswith(".") for path in out.iterdir()) and not shards.is_complete(out)
    extraction.extract(tiny_tokenizer, tiny_audio_dataset, str(out), 4.0)
    assert contents(out) == contents(tiny_codes)


def raising(error: type[BaseException]):
    def fail(*_):
        raise error

    return fail


@pytest.mark.long
def test_files_may_begin_and_end_within_a_track(tiny_tokenizer, tiny_audio_dataset, tiny_codes, tmp_path, small_files):
    extraction.extract(tiny_tokenizer, tiny_audio_dataset, str(tmp_path / "codes"), 4.0, batch_size=3)
    assert len(list((tmp_path / "codes").glob("*train*"))) > 4
    for split in shards.split_names(tiny_codes):
        found, want = shards.open_split(tmp_path / "codes", split), shards.open_split(tiny_codes, split)
        assert len(found) == len(want)
        for index in range(len(want)):
            for name, value in want[index].items():
                np.testing.assert_array_equal(found[index][name], value, err_msg=f"{split} {index} {name}")


@pytest.mark.long
def test_stopped_it_goes_on_and_writes_no_file_twice(
    tiny_tokenizer, tiny_audio_dataset, tmp_path, monkeypatch, small_files, capsys
):
    extraction.extract(tiny_tokenizer, tiny_audio_dataset, str(tmp_path / "whole"), 4.0)
    written, write = [], shard_files.write_records

    def count(path, *arguments):
        if len(written) == 3 and armed:
            raise KeyboardInterrupt
        written.append(path)
        return write(path, *arguments)

    monkeypatch.setattr(shard_files, "write_records", count)
    armed = True
    with pytest.raises(KeyboardInterrupt):
        extraction.extract(tiny_tokenizer, tiny_audio_dataset, str(tmp_path / "codes"), 4.0)
    assert all(path.name.startswith(".") for path in (tmp_path / "codes").iterdir())
    assert "the same command goes on from there" in capsys.readouterr().err
    armed = False
    extraction.extract(tiny_tokenizer, tiny_audio_dataset, str(tmp_path / "codes"), 4.0, batch_size=2)
    assert contents(tmp_path / "codes") == contents(tmp_path / "whole")
    assert len(written) == len(list((tmp_path / "codes").glob("*.array_record-*"))) > 5


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_has_a_window(tiny_tokenizer, tiny_audio_dataset, tmp_path, batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size}: must be 1 or more"):
        extraction.extract(tiny_tokenizer, tiny_audio_dataset, str(tmp_path / "codes"), 4.0, batch_size)


PEAK = """
import pickle, sys
from musicgen_jax.runtime import allocator
from musicgen_jax.tokenizers import extraction
from musicgen_jax.tokenizers.vqvae import vqvae_tokenizer
tokenizer_parts, data, out = sys.argv[1:]
allocator.return_memory()  # as the command does
extraction.extract(vqvae_tokenizer.VQVAETokenizer(*pickle.load(open(tokenizer_parts, "rb"))), data, out, 4.0)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_peak_memory_does_not_grow_with_length(tiny_tokenizer, tmp_path):
    weights = jax.tree.map(np.asarray, tiny_tokenizer._weights)
    (tmp_path / "tokenizer").write_bytes(pickle.dumps((tiny_tokenizer.config, *weights)))
    peaks = []
    for minutes in (10, 40):
        data = prepare_tones(tmp_path / f"audio{minutes}", (minutes * 60 * 4000,))
        for turn in ("compiles", "counts"):  # compiling takes more memory than all the rest
            command = [sys.executable, "-c", PEAK, tmp_path / "tokenizer", data, tmp_path / f"codes{minutes}_{turn}"]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, text=True)
        peaks.append(int(done.stdout.split()[-1]) * 1024)
    # The codes of half an hour, 1.2 million int16, take 2.4 MB; TFDS makes about seven copies on their way into the one
    # record. The audio of half an hour, 29 MB as float32, must never be in memory besides.
    assert peaks[1] - peaks[0] < 30e6, peaks

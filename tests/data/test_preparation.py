"""A whole preparation: its files, its determinism, its memory, and what an interruption leaves."""

import errno
import functools
import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile

from musicgen_jax.data import (
    audio_io,
    manifest,
    preparation,
    shard_files,
    shards,
    spool,
    track,
    track_records,
    workers,
)
from musicgen_jax.data.sources import recordings
from musicgen_jax.runtime.errors import UserError

RATE = 16000
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def make_folder(folder: pathlib.Path, num_files: int = 7) -> pathlib.Path:
    for index in range(num_files):
        audio = np.random.default_rng(index).standard_normal(int((1.5 + 4 * index) * RATE)) * 0.1
        (folder / f"genre{index % 2}").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"genre{index % 2}" / f"{index}.wav", audio, RATE)
    (folder / "broken.mp3").write_text("no music " * 100)
    (folder / "cover.jpg").touch()
    return folder


def settings_for(source: pathlib.Path, seed: int = 0) -> preparation.Settings:
    return preparation.Settings("recordings", str(source), 8000, seed)


def prepare(source: pathlib.Path, out: pathlib.Path, num_workers: int = 0, seed: int = 0) -> dict:
    return preparation.prepare(settings_for(source, seed), recordings, str(out), num_workers)


def test_everything_is_there(tmp_path):
    source = make_folder(tmp_path / "in")
    report = prepare(source, tmp_path / "out")
    rows = {row.path: row for row in manifest.read(tmp_path / "out")}
    assert len(rows) == 8 and rows["broken.mp3"].status == "rejected"
    audio = {name: [] for name in rows}
    for split in manifest.SPLITS:
        for record in shards.open_split(tmp_path / "out", split):
            name = record["track_id"].decode()
            assert rows[name].split == split and shards.labels_of(record)["genre"] == name.split("/")[0]
            assert record["start"] == sum(map(len, audio[name])) and record["segment"] == len(audio[name])
            assert record["track_samples"] == rows[name].num_samples
            audio[name].append(record["audio"])
    for name, segments in audio.items():
        if rows[name].status == "ok":
            want = audio_io.to_int16(audio_io.read_audio(source / name, 8000))
            np.testing.assert_array_equal(np.concatenate(segments), want)
            assert rows[name].num_segments == len(segments) and rows[name].num_samples == len(want)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["files"] == {"ok": 7, "rejected": 1} and report["rejections"] == {"undecodable": 1}
    assert report["tracks"]["validation"] == report["tracks"]["test"] == {"genre0": 1, "genre1": 1}
    assert report["notes"]["ignored_files"] == {".jpg": 1}
    assert sum(report["hours"].values()) == pytest.approx(sum(1.5 + 4 * i for i in range(7)) / 3600, abs=1e-5)


@pytest.mark.long
def test_serial_and_parallel_write_the_same_bytes(tmp_path):
    source = make_folder(tmp_path / "in", num_files=4)
    prepare(source, tmp_path / "serial")
    prepare(source, tmp_path / "parallel", num_workers=2)
    found = contents(tmp_path / "serial")
    assert found == contents(tmp_path / "parallel") and len(found) >= 10


def test_again_does_nothing_and_other_settings_are_an_error(tmp_path, capsys):
    source = make_folder(tmp_path / "in", num_files=3)
    report = prepare(source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert prepare(source, tmp_path / "out") == report
    assert "complete already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match=r"other settings \(seed 0, now 1\)"):
        prepare(source, tmp_path / "out", seed=1)
    (source / "broken.mp3").unlink()
    with pytest.raises(ValueError, match=r"source .* changed"):
        prepare(source, tmp_path / "out")


def test_two_tracks_are_all_train_and_the_report_says_so(tmp_path):
    report = prepare(make_folder(tmp_path / "in", num_files=2), tmp_path / "out")
    assert list(report["tracks"]) == ["train"]
    assert "no track in validation and test: there are 2 tracks" in report["messages"][0]


def test_all_rejected_lists_the_reasons_and_keeps_them(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "c.mp3").write_text("no music " * 100)
    counts = r"all 3 files of .* \(0 bytes: 2; undecodable: 1\).*out/manifest\.jsonl has the reason of each"
    for _ in range(2):  # again: they could have been mended
        with pytest.raises(ValueError, match=counts):
            prepare(tmp_path / "in", tmp_path / "out")
        rows = manifest.read(tmp_path / "out")
        assert [(row.path, row.status) for row in rows] == [(name, "rejected") for name in ("a.wav", "b.wav", "c.mp3")]
        assert json.loads((tmp_path / "out" / "report.json").read_text())["rejections"] == {
            "0 bytes": 2,
            "undecodable": 1,
        }
    with pytest.raises(FileNotFoundError, match="holds no prepared dataset"):
        shards.open_split(tmp_path / "out", "train")
    make_folder(tmp_path / "in", num_files=2)
    assert prepare(tmp_path / "in", tmp_path / "out")["files"] == {"ok": 2, "rejected": 4}
    with pytest.raises(ValueError, match="sample_rate=0"):
        preparation.prepare(preparation.Settings("recordings", "", 0, 0), recordings, str(tmp_path / "out"), 0)


def test_a_folder_of_a_person_is_no_place(tmp_path):
    source = make_folder(tmp_path / "in", num_files=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text('{"records": {}}')
    with pytest.raises(ValueError, match="holds other things"):
        prepare(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]


def blocks_or_error(error):
    yield np.full(8000, 0.1, np.float32)
    if error:
        raise error


def bare_track(name: str, **facts) -> track.Track:
    rest = {"group": name, "hash": "", "labels": {}, "duration": 1.0, "sample_rate": 8000, "channels": 1}
    return track.Track(
        **rest | {"track_id": name, "path": name, "blocks": functools.partial(blocks_or_error, None)} | facts
    )


def source_of(*tracks: track.Track, **more) -> types.SimpleNamespace:
    return types.SimpleNamespace(tracks=lambda *_, **options: (list(tracks), []), **more)


def test_labels_have_any_names_and_a_track_needs_none_of_them(tmp_path):
    source = source_of(
        bare_track("a", labels={"pitch": "60", "start": "ü"}),
        bare_track("b", labels={"family": "reed"}),
        bare_track("c"),
    )
    report = preparation.prepare(settings_for(tmp_path), source, str(tmp_path / "out"), 0)
    assert report["labels"] == {"family": 1, "pitch": 1, "start": 1}
    assert shards.label_names(tmp_path / "out") == ("family", "pitch", "start")
    found = {
        record["track_id"].decode(): shards.labels_of(record)
        for split in shards.split_names(tmp_path / "out")
        for record in shards.open_split(tmp_path / "out", split)
    }
    unknown = dict.fromkeys(("family", "pitch", "start"), "unknown")
    assert found == {
        "a": {"family": "unknown", "pitch": "60", "start": "ü"},
        "b": unknown | {"family": "reed"},
        "c": unknown,
    }
    assert {row.track_id: row.labels for row in manifest.read(tmp_path / "out")}["b"] == {"family": "reed"}


def test_a_data_set_without_labels(tmp_path):
    preparation.prepare(settings_for(tmp_path), source_of(bare_track("a")), str(tmp_path / "out"), 0)
    (record,) = shards.open_split(tmp_path / "out", "train")
    assert "labels" not in record and shards.labels_of(record) == {} and shards.label_names(tmp_path / "out") == ()


def test_licences_are_told_everywhere(tmp_path):
    notes = {"licence": "CC-BY-NC-SA-4.0", "licence_url": "https://example.org/licence", "attribution": "the players"}
    source = source_of(bare_track("a"), bare_track("b", licence="CC-BY-4.0"), notes=lambda source: notes)
    report = preparation.prepare(settings_for(tmp_path), source, str(tmp_path / "out"), 0)
    assert report["licence"] == {
        "tracks": {"CC-BY-4.0": 1, "CC-BY-NC-SA-4.0": 1},
        "non_commercial": ["CC-BY-NC-SA-4.0"],
        "share_alike": ["CC-BY-NC-SA-4.0"],
        "url": "https://example.org/licence",
        "attribution": "the players",
    }
    assert shards.read_metadata(tmp_path / "out")["licence"] == report["licence"]
    assert {row.track_id: row.licence for row in manifest.read(tmp_path / "out")} == {"a": "", "b": "CC-BY-4.0"}
    assert "CC-BY-NC-SA-4.0 forbids commercial use" in report["messages"]


def test_options_of_another_source_are_refused(tmp_path):
    taken = {}
    source = types.SimpleNamespace(
        tracks=lambda *_, subset="all": taken.update(subset=subset) or ([bare_track("a")], []), OPTIONS=("subset",)
    )
    settings = preparation.Settings("recordings", str(tmp_path), 8000, 0, options={"subset": "small"})
    with pytest.raises(UserError, match="subset=small: dataset=recordings does not take it"):
        preparation.prepare(settings, recordings, str(tmp_path / "out"), 0)
    report = preparation.prepare(settings, source, str(tmp_path / "out"), 0)
    assert taken == {"subset": "small"} and report["settings"]["options"] == taken
    other = preparation.Settings("recordings", str(tmp_path), 8000, 0, options={"subset": "large"})
    with pytest.raises(UserError, match=r"options .*small.*, now .*large"):
        preparation.prepare(other, source, str(tmp_path / "out"), 0)


def fake_source(errors: list) -> types.SimpleNamespace:
    tracks = [
        track.Track(
            f"t{i}", f"t{i}.wav", f"t{i}", "", {"genre": "g", "artist": "a"}, 1.0, 8000, 1,
            functools.partial(blocks_or_error, error),
        )
        for i, error in enumerate(errors)
    ]  # fmt: skip
    return types.SimpleNamespace(notes=lambda source: {}, tracks=lambda *_: (tracks, []))


@pytest.mark.parametrize("error", [UserError("t1.wav: undecodable"), OSError(5, "Input/output error"), MemoryError()])
def test_a_track_that_fails_late_is_reported_and_the_run_goes_on(tmp_path, error):
    source = fake_source([None, error, None, None])
    report = preparation.prepare(settings_for(tmp_path), source, str(tmp_path / "out"), 0)
    assert report["files"] == {"ok": 3, "rejected": 1}
    assert report["rejections"] == {"failed on second reading": 1}


@pytest.fixture
def small_parts(monkeypatch):
    """A part a track, and three records a shard."""
    monkeypatch.setattr(spool, "MAX_TRACKS", 1)
    monkeypatch.setattr(shard_files, "RECORDS_PER_SHARD", 3)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


STEPS = {"make": track_records, "split_tracks": manifest, "write_records": shard_files, "describe": shard_files}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize(("step", "number"), [("make", 5), ("split_tracks", 1), ("write_records", 3), ("describe", 1)])
def test_stopped_anywhere_it_goes_on_and_does_nothing_twice(
    tmp_path, monkeypatch, small_parts, step, number, error, capsys
):
    source, out = make_folder(tmp_path / "in"), tmp_path / "out"
    prepare(source, tmp_path / "undisturbed")
    done: dict[str, int] = dict.fromkeys(STEPS, 0)
    armed = True

    def watched(name, function):
        def call(*arguments):
            if armed and (name, done[name] + 1) == (step, number):
                raise error
            result = function(*arguments)
            done[name] += 1
            return result

        return call

    for name, owner in STEPS.items():
        monkeypatch.setattr(owner, name, watched(name, getattr(owner, name)))
    with pytest.raises(type(error)):
        prepare(source, out)
    assert "stopped: what is done stays hidden in" in capsys.readouterr().err
    assert all(path.name.startswith(".") for path in out.iterdir()) and not shards.is_complete(out)
    armed = False
    prepare(source, out)
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert done == {
        "make": 8,
        "split_tracks": 1,
        "write_records": len(list(out.glob("*.array_record-*"))),
        "describe": 1,
    }
    assert done["write_records"] > 3


def test_with_another_seed_it_begins_anew(tmp_path, monkeypatch, small_parts):
    source = make_folder(tmp_path / "in", 3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shard_files, "describe", raise_interrupt)
        prepare(source, tmp_path / "out")
    prepare(source, tmp_path / "out", seed=5)
    prepare(source, tmp_path / "undisturbed", seed=5)
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def raise_interrupt(*_):
    raise KeyboardInterrupt


def test_a_part_that_became_whole_meanwhile_stays(tmp_path, monkeypatch):
    """As of two attempts at once, of which the slower one lost a track: what was planned by the first still holds."""
    parts, form = spool.Spool(tmp_path), track_records.Form(8000, ("artist", "genre"), True, False)
    tracks, _ = recordings.tracks(str(make_folder(tmp_path / "in", 2)), 8000, 0, 0)
    parts.put_tracks(tracks)

    def overtaken(function, items, *_):
        parts.make(form, 0)
        return [workers.Lost("too slow") for _ in items]

    monkeypatch.setattr(workers, "ordered_map", overtaken)
    parts.make_apart(form, 0)
    rows = list(parts.rows(0))
    assert [made.row.status for made, _ in rows] == ["rejected", "ok", "ok"]  # the first is broken.mp3
    runs = [spool.Run(0, offset, made.sizes) for made, offset in rows]
    assert [len(one) for one in parts.records(runs)] == [size for run in runs for size in run.sizes]
    assert len(list((tmp_path / "parts" / "0000").iterdir())) == 3


def test_a_process_begins_once_a_part(tmp_path):
    tracks, _ = recordings.tracks(str(make_folder(tmp_path / "in", 5)), 8000, 0, 0)
    (batch,) = spool.Spool(tmp_path).put_tracks(tracks)
    assert spool.START_SECONDS < batch.seconds < spool.START_SECONDS + 60


KILLED = """
import os, signal, sys
from musicgen_jax.data import audio_check, preparation, spool
from musicgen_jax.data.sources import recordings
spool.MAX_TRACKS = 1
blocks = audio_check.Inspection.blocks
def fatal(self, rate):
    return os.kill(os.getpid(), signal.SIGKILL) if self._path.endswith("6.wav") else blocks(self, rate)
audio_check.Inspection.blocks = fatal
preparation.prepare(preparation.Settings("recordings", sys.argv[1], 8000, 0), recordings, sys.argv[2], 0)
"""


@pytest.mark.long
def test_killed_then_started_again(tmp_path, monkeypatch):
    source, out = make_folder(tmp_path / "in"), tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, source, out], cwd=REPOSITORY, capture_output=True)
    assert killed.returncode == -9
    assert not shards.is_complete(out) and [path.name for path in tmp_path.iterdir()].count("out") == 1
    prepare(source, tmp_path / "undisturbed")
    monkeypatch.setattr(spool, "MAX_TRACKS", 1)
    read: list[str] = []
    make = track_records.make
    monkeypatch.setattr(
        track_records, "make", lambda form, item, *more: read.append(item.path) or make(form, item, *more)
    )
    prepare(source, out)
    assert read == ["genre0/6.wav", "genre1/1.wav", "genre1/3.wav", "genre1/5.wav"]
    assert contents(out) == contents(tmp_path / "undisturbed")


PEAK = """
import sys
from musicgen_jax.data import preparation
from musicgen_jax.data.sources import recordings
preparation.prepare(preparation.Settings("recordings", sys.argv[1], 16000, 0), recordings, sys.argv[2], 0)
# VmHWM, not ru_maxrss: that one starts at the size of the parent process.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
@pytest.mark.parametrize(("extension", "rate"), [("wav", 22050), ("mp3", 8000)])
def test_peak_memory_does_not_grow_with_length(tmp_path, extension, rate):
    minute = np.random.default_rng(0).standard_normal(60 * rate) * 0.1
    peaks = []
    for minutes in (1, 30):
        source = tmp_path / f"in{minutes}"
        source.mkdir()
        with soundfile.SoundFile(source / f"long.{extension}", "w", rate, 1) as file:
            for _ in range(minutes):
                file.write(minute)
        command = [sys.executable, "-c", PEAK, source, tmp_path / f"out{minutes}"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, text=True)
        peaks.append(int(done.stdout.split()[-1]) * 1024)
        os.remove(source / f"long.{extension}")
    # As float32 at the dataset's rate the long file alone takes 115 MB.
    assert peaks[1] - peaks[0] < 40e6, peaks

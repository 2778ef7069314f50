"""Source `nsynth`: notes with their labels and a score of one note, in the archives' own splits."""

import json
import pathlib

import fuzzing
import numpy as np
import pytest
import soundfile

from musicgen_jax.data import audio_dataset, manifest, preparation
from musicgen_jax.data.sources import nsynth
from musicgen_jax.runtime.errors import UserError

RATE = 16000
INSTRUMENTS = {
    "nsynth-train": "reed_acoustic_023",
    "nsynth-valid": "bass_synthetic_033",
    "nsynth-test": "flute_acoustic_002",
}


def entry(instrument: str, pitch: int, velocity: int = 100) -> dict[str, object]:
    """A note as examples.json has it, but for qualities."""
    family, source, _ = instrument.split("_")
    return {
        "note_str": f"{instrument}-{pitch:03d}-{velocity:03d}", "note": 201034, "instrument_str": instrument,
        "instrument": 417, "pitch": pitch, "velocity": velocity, "sample_rate": RATE, "qualities": [0] * 10,
        "qualities_str": ["dark"], "instrument_family": 7, "instrument_family_str": family, "instrument_source": 0,
        "instrument_source_str": source,
    }  # fmt: skip


def write(folder: pathlib.Path, pitches: tuple[int, ...] = (60, 72)) -> pathlib.Path:
    for name, instrument in INSTRUMENTS.items():
        notes = {one["note_str"]: one for one in (entry(instrument, pitch) for pitch in pitches)}
        (folder / name / "audio").mkdir(parents=True)
        (folder / name / "examples.json").write_text(json.dumps(notes))
        for note, facts in notes.items():
            seconds = np.arange(4 * RATE) / RATE
            tone = 0.3 * np.sin(2 * np.pi * 440 * 2 ** ((facts["pitch"] - 69) / 12) * seconds) * (seconds < 3.5)
            soundfile.write(folder / name / "audio" / f"{note}.wav", tone, RATE)
    return folder


def prepare(folder: pathlib.Path, out: pathlib.Path) -> tuple[dict, dict[str, manifest.Row]]:
    report = preparation.prepare(preparation.Settings("nsynth", str(folder), RATE, 0), nsynth, str(out), 0)
    return report, {row.path: row for row in manifest.read(out)}


def test_notes_with_labels_and_scores_in_the_official_splits(tmp_path):
    report, rows = prepare(write(tmp_path / "in"), tmp_path / "out")
    assert report["files"] == {"ok": 6} and report["seconds"] == dict.fromkeys(manifest.SPLITS, 8.0)
    row = rows["nsynth-valid/audio/bass_synthetic_033-072-100.wav"]
    assert row.split == "validation" and row.labels == {
        "instrument": "bass_synthetic_033", "family": "bass", "source": "synthetic", "pitch": "72", "velocity": "100"
    }  # fmt: skip
    assert report["labels"] == {"family": 3, "instrument": 3, "pitch": 2, "source": 2, "velocity": 1}
    assert report["licence"]["tracks"] == {"CC-BY-4.0": 6} and "non_commercial" not in report["licence"]
    for facts, blocks in audio_dataset.read_tracks(str(tmp_path / "out"), "test"):
        assert len(np.concatenate(list(blocks))) == 4 * RATE
        np.testing.assert_array_equal(facts["notes"], [[float(facts["labels"]["pitch"]), 0, 3, 100, 0]])


def test_one_archive_will_do_as_the_source_itself_too(tmp_path):
    source = write(tmp_path / "in") / "nsynth-test"
    report, _ = prepare(source, tmp_path / "out")
    assert list(report["records"]) == ["test"]
    facts = nsynth.notes(str(source))
    assert facts != nsynth.notes(str(tmp_path / "in"))
    soundfile.write(next((source / "audio").glob("*.wav")), np.zeros(3 * RATE), RATE)
    assert nsynth.notes(str(source)) != facts


def test_what_is_damaged_or_missing_is_listed(tmp_path):
    source = write(tmp_path / "in") / "nsynth-train"
    index = json.loads((source / "examples.json").read_text())
    good = next(iter(index.values()))
    index |= {
        "absent": good | {"note_str": "absent"},
        "high": good | {"pitch": 300},
        "half": good | {"pitch": 60.5},
        "loud": good | {"velocity": 0},
        "nameless": {name: value for name, value in good.items() if name != "instrument_family_str"},
        "number": 3,
        "empty": {},
        "../secret": good,
        "\ud800": good,
        "torn": good | {"instrument_str": "\udcff"},
    }
    (source / "examples.json").write_text(json.dumps(index))
    soundfile.write(source / "audio" / "unlisted.wav", np.zeros(RATE), RATE)
    report, rows = prepare(source, tmp_path / "out")
    assert report["files"] == {"ok": 2, "rejected": 11}
    reasons = {pathlib.PurePosixPath(path).stem: row.reason for path, row in rows.items()}
    assert reasons["high"] == "damaged entry: pitch is '300' and must be a whole number from 0 to 127"
    assert "velocity is '0' and must be a whole number from 1 to 127" in reasons["loud"]
    assert "instrument_family_str is 'None' and must be a text" in reasons["nameless"]
    assert reasons["unlisted"].startswith("not in examples.json") and "no name of a file" in reasons["secret"]
    assert reasons["torn"] == r"damaged entry: instrument_str is '\udcff' and must be a text"
    assert reasons["'\\ud800'"] == r"damaged entry: '\ud800' is no name of a file"
    assert reasons["absent"] and reasons["number"] and reasons["empty"] and reasons["half"]


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"a": NaN', "[1, 2]", "\x00\x01", '"text"'])
def test_an_index_that_is_none_is_one_error(tmp_path, content):
    source = write(tmp_path / "in")
    (source / "nsynth-valid" / "examples.json").write_text(content)
    with pytest.raises(UserError, match=r"nsynth-valid/examples\.json (is damaged|must hold an object).*archive again"):
        nsynth.tracks(str(source), RATE, 0, 0)


def test_bad_input(tmp_path):
    with pytest.raises(UserError, match="source is empty; the dataset nsynth"):
        nsynth.tracks("", RATE, 0, 0)
    with pytest.raises(UserError, match="is no folder"):
        nsynth.tracks(str(tmp_path / "absent"), RATE, 0, 0)
    with pytest.raises(UserError, match="holds none of nsynth-train, nsynth-valid, nsynth-test"):
        nsynth.tracks(str(tmp_path), RATE, 0, 0)
    (tmp_path / "nsynth-test").mkdir()
    with pytest.raises(UserError, match=r"nsynth-test has no examples\.json; unpack"):
        nsynth.tracks(str(tmp_path), RATE, 0, 0)


@pytest.mark.slow
def test_two_hundred_damaged_indices(tmp_path):
    source = write(tmp_path / "in")
    path = source / "nsynth-train" / "examples.json"
    inputs = fuzzing.json_mutations(path.read_text(), 0, 200)
    fuzzing.survey_file(path, lambda _: nsynth.tracks(str(source), RATE, 0, 0), inputs)

"""A study's files: the same for the same clips, none of them telling what it is; what cannot be compared is refused."""

import pathlib
import shutil

import numpy as np
import pytest
import scipy.signal
import soundfile
import tiny_studies

from musicgen_jax.listening import headphones, levels, preparation, storage, study
from musicgen_jax.runtime.errors import NotFoundError, UserError

RATE = tiny_studies.SAMPLE_RATE


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    return tiny_studies.write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def mushra(folders, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("studies") / "mushra"
    preparation.prepare(tiny_studies.settings(folders, "mushra"), str(out), 3)
    return out


def read(folder: pathlib.Path, stimulus: study.Stimulus) -> np.ndarray:
    audio, rate = soundfile.read(folder / stimulus.file)
    assert rate == RATE
    return audio


def trials_of(found: study.Study, kind: str = study.TEST) -> list[study.Trial]:
    return [trial for trial in found.trials if trial.kind == kind]


def test_mushra(mushra):
    found = study.read(mushra)
    assert found.systems == ("good", "bad") and len(trials_of(found)) == 3 and not found.absent
    for trial in found.trials:
        systems = {one.system for one in trial.stimuli}
        known = {"good", "bad", "reference", "anchor35", "anchor70"}
        assert systems == (known if trial.kind != study.ATTENTION else known - {"good"} | {study.CHECK})
        assert [one.system for one in trial.given] == ["reference"]
    assert len(trials_of(found, study.PRACTICE)) == len(trials_of(found, study.ATTENTION)) == 1
    assert len(found.headphones) == 6 and len(list((mushra / "audio").iterdir())) == 5 * 6 + 6


def test_all_signals_of_an_item_are_equally_loud_or_filtered(mushra):
    trial = trials_of(study.read(mushra))[0]
    audio = {one.system: read(mushra, one) for one in trial.stimuli}
    for name in ("good", "bad", "reference"):
        assert levels.lufs(audio[name][:, None], RATE) == pytest.approx(levels.TARGET_LUFS, abs=0.1)
    hertz, ratio = scipy.signal.csd(audio["reference"], audio["anchor35"], RATE, nperseg=4096)
    _, power = scipy.signal.welch(audio["reference"], RATE, nperseg=4096)
    tone = np.argmin(np.abs(hertz - 220))
    assert 20 * np.log10(abs(ratio[tone] / power[tone])) == pytest.approx(0, abs=0.1)


def test_no_file_tells_what_it_is(mushra):
    found = study.read(mushra)
    for trial in found.trials:
        contents = [(mushra / one.file).read_bytes() for one in (*trial.stimuli, *trial.given)]
        assert len({len(content) for content in contents}) == 1 and len({content[:44] for content in contents}) == 1
        assert len(set(contents)) == len(contents), "the hidden reference is no copy of the open one"
    text = " ".join(path.name for path in (mushra / "audio").iterdir())
    assert not any(name in text for name in ("good", "bad", "reference", "anchor", "tune"))
    open_one, hidden = trials_of(found)[0].given[0], trials_of(found)[0].stimuli[2]
    assert hidden.system == "reference"
    assert np.abs(read(mushra, open_one) - read(mushra, hidden)).max() <= 3 / 32768  # but for its dither


@pytest.mark.parametrize(
    ("design", "trials", "stimuli", "given"), [("mos", 6, 1, 0), ("ab", 3, 2, 0), ("abx", 3, 2, 2)]
)
def test_the_other_designs(folders, tmp_path, design, trials, stimuli, given):
    made = preparation.prepare(tiny_studies.settings(folders, design, headphones=False), str(tmp_path / "out"), 1)
    assert study.read(tmp_path / "out") == made and made.headphones == ()
    assert len(trials_of(made)) == trials
    assert all((len(one.stimuli), len(one.given)) == (stimuli, given) for one in made.trials)


def test_a_reference_is_one_more_system_elsewhere(folders, tmp_path):
    settings = tiny_studies.settings(folders, "abx", reference=folders["original"], headphones=False)
    made = preparation.prepare(settings, str(tmp_path / "out"), 0)
    pairs = {tuple(one.system for one in trial.stimuli) for trial in trials_of(made)}
    assert pairs == {("good", "bad"), ("good", "reference"), ("bad", "reference")}


def test_same_clips_same_bytes(folders, mushra, tmp_path):
    preparation.prepare(tiny_studies.settings(folders, "mushra"), str(tmp_path / "again"), 1)
    for path in mushra.rglob("*"):
        if path.is_file() and path.name != study.ANSWERS:
            assert (tmp_path / "again" / path.relative_to(mushra)).read_bytes() == path.read_bytes()


def test_a_finished_study_stays(folders, mushra):
    links = [one.token for one in storage.Database(mushra).listeners()]
    preparation.prepare(tiny_studies.settings(folders, "mushra"), str(mushra), 3)
    assert [one.token for one in storage.Database(mushra).listeners()] == links
    with pytest.raises(UserError, match="holds a study of other clips or settings"):
        preparation.prepare(tiny_studies.settings(folders, "mushra", seed=9), str(mushra), 3)


def test_half_a_study(mushra, tmp_path):
    with pytest.raises(NotFoundError, match=r"no study.json in .*: pass a folder that `?listen --design"):
        study.read(tmp_path)
    shutil.copytree(mushra, tmp_path / "half")
    lost = next((tmp_path / "half" / "audio").iterdir())
    lost.unlink()
    with pytest.raises(UserError, match=f"no whole study: audio/{lost.name} is missing"):
        study.read(tmp_path / "half")
    (tmp_path / "half" / "study.json").write_text((mushra / "study.json").read_text()[:500])
    with pytest.raises(UserError, match=r"study.json is damaged"):
        study.read(tmp_path / "half")


def test_a_study_that_names_files_elsewhere_is_damaged(mushra, tmp_path):
    shutil.copytree(mushra, tmp_path / "bad")
    path = tmp_path / "bad" / "study.json"
    path.write_text(path.read_text().replace('"audio/', '"../bad/../../', 1))
    with pytest.raises(UserError, match="does not lie in the folder"):
        study.read(tmp_path / "bad")


def changed(folders, tmp_path, name="good", **files):
    """Copies of the folders, with other clips in that of one system."""
    copies = {}
    for one, folder in folders.items():
        copies[one] = str(shutil.copytree(folder, tmp_path / one))
    for stem, (audio, rate) in files.items():
        soundfile.write(tmp_path / name / f"{stem}.wav", audio, rate, subtype="FLOAT")
    return copies


TONE = 0.1 * np.sin(np.arange(19200) / 5)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"other": (TONE, RATE)}, r"lacks 1 clips that .* has \(other\): clips are compared by equal file names"),
        ({"tune1": (TONE, 44100)}, "tune1.wav has 44100 Hz|44100: resample them to one rate"),
        ({"tune1": (np.stack([TONE, TONE], 1), RATE)}, "channels and .* mix all of them down"),
        ({"tune1": (0 * TONE, RATE)}, "tune1.wav is silent"),
        ({"tune1": (1e-6 * TONE, RATE)}, "tune1 of good is below -70 LUFS"),
        ({"tune1": (np.append(TONE, np.nan), RATE)}, "tune1.wav has samples that are NaN or infinite"),
        ({"tune1": (np.tile(TONE, 2), RATE)}, "tune1.wav has 2.40 s and .*1.20 s: cut them to one length"),
        ({"tune1": (TONE[:8000], RATE)}, "tune1.wav has 0.50 s: a clip needs at least 1 s"),
        ({"tune1": (np.tile(TONE, 11), RATE)}, "tune1.wav is longer than 12 s"),
    ],
)
def test_clips_that_do_not_fit(folders, tmp_path, files, message):
    settings = tiny_studies.settings(changed(folders, tmp_path, **files), "ab")
    with pytest.raises(UserError, match=message):
        preparation.prepare(settings, str(tmp_path / "out"), 1)
    assert not (tmp_path / "out").exists()


def test_a_clip_that_is_no_audio(folders, tmp_path):
    copies = changed(folders, tmp_path)
    (tmp_path / "bad" / "tune0.wav").write_text("text")
    with pytest.raises(UserError, match=r"tune0.wav"):
        preparation.prepare(tiny_studies.settings(copies, "ab"), str(tmp_path / "out"), 1)


def test_mushra_needs_something_to_be_near_to(folders, tmp_path):
    with pytest.raises(UserError, match=r"mushra without reference.*generated music has none"):
        preparation.prepare(tiny_studies.settings(folders, "mushra", reference=""), str(tmp_path / "out"), 1)
    copies = changed(folders, tmp_path)
    (tmp_path / "good" / "samples.json").write_text("{}")
    with pytest.raises(UserError, match=r"good: .* holds generated samples"):
        preparation.prepare(tiny_studies.settings(copies, "mushra"), str(tmp_path / "out"), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"systems": {"reference": "x"}}, "cannot be named reference"),
        ({"design": "ab", "systems": {"a": "x"}}, "compares two systems"),
        ({"design": "mushra", "systems": {str(i): "x" for i in range(10)}, "reference": "y"}, "at most 12 signals"),
        ({"design": "mos", "systems": {"a": "/nowhere"}}, "a: /nowhere is no folder"),
        ({"design": "mos", "systems": {"a": "gs://b/x"}}, "only paths on this machine"),
        ({"title": " "}, "must have text"),
        ({"max_seconds": float("nan")}, "must be at least 1"),
    ],
)
def test_settings_that_do_not_fit(folders, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        preparation.prepare(tiny_studies.settings(folders, "mos", **change), str(tmp_path / "out"), 1)


def test_the_names_of_systems():
    assert preparation.parse_systems(["A=x", " B = y/z=1 "]) == {"A": "x", "B": "y/z=1"}
    for texts in (["A"], ["A="], ["=x"], ["A/B=x"], ["A=x", "A=y"], []):
        with pytest.raises(UserError, match="systems"):
            preparation.parse_systems(texts)


def test_low_rates_have_no_mid_anchor(tmp_path):
    folders = tiny_studies.write_clips(tmp_path / "clips", items=1, sample_rate=11025, channels=2)
    made = preparation.prepare(tiny_studies.settings(folders, "mushra", headphones=False), str(tmp_path / "out"), 1)
    assert made.absent.keys() == {"anchor70"} and made.channels == 2
    assert {one.system for one in trials_of(made)[0].stimuli} == {"good", "bad", "reference", "anchor35"}
    assert soundfile.info(tmp_path / "out" / made.trials[0].stimuli[0].file).channels == 2


def test_beeps_cannot_be_missed():
    music = 0.05 * np.random.default_rng(0).standard_normal((RATE, 1))
    heard = preparation.interrupted(music, RATE)
    middle = heard[RATE // 2 - 4000 : RATE // 2 + 4000, 0]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * RATE / len(middle) == pytest.approx(preparation.BEEP_HERTZ, abs=10)
    assert np.array_equal(heard[:3000], music[:3000]) and np.array_equal(heard[-3000:], music[-3000:])


def test_loudspeakers_cancel_the_tone_in_antiphase():
    heard = headphones.tones(quieter=0, antiphase=2, sample_rate=RATE)
    tones = [heard[round(1.5 * place * RATE) :][:RATE] for place in range(3)]
    levels_alone = [np.sqrt(np.mean(tone[:, 0] ** 2)) for tone in tones]
    assert np.argmin(levels_alone) == 0 and levels_alone[2] == pytest.approx(levels_alone[1])
    assert np.argmin([np.mean(tone.sum(axis=1) ** 2) for tone in tones]) == 2

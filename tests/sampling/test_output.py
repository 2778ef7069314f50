import dataclasses
import errno
import json
import os
import wave

import numpy as np
import pytest
import tiny_priors

from musicgen_jax.audio import signal_checks
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import decode, hierarchy, output, requests

MODELS = {"vqvae": "runs/vqvae", "top": "runs/top", "middle": "", "bottom": ""}
REQUEST = requests.Request(seconds=0.5, num_samples=2, seed=3, genres=("organ",), batch_size=2)


@pytest.fixture(scope="module")
def priors(tiny_tokenizer):
    model = tiny_priors.model_config(
        num_layers=1, num_codes=16, vqvae=tiny_tokenizer.fingerprint, codes_per_second=4000 / 128
    )
    return {"top": tiny_priors.trained_prior(model)}


@pytest.fixture(scope="module")
def folder(tiny_tokenizer, priors, tmp_path_factory):
    out = tmp_path_factory.mktemp("samples") / "nested" / "out"
    output.sample_to_folder(tiny_tokenizer, priors, REQUEST, str(out), MODELS)
    return out


def test_files(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["000.wav", "001.wav", "codes.npz", "samples.json"]


def test_waveforms_are_16_bit_and_as_long_as_promised(folder):
    for name in ("000.wav", "001.wav"):
        with wave.open(str(folder / name)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (4000, 1, 2)
            assert file.getnframes() == 16 * 128  # 0.5 s are 15.6 codes of the top tier


def test_codes_are_those_of_the_samples(folder, tiny_tokenizer, priors):
    expected = hierarchy.sample_codes(tiny_tokenizer.layout, priors, REQUEST)["top"]
    with np.load(folder / "codes.npz") as codes:
        assert list(codes) == ["top"]
        np.testing.assert_array_equal(codes["top"], expected)
    _, waveforms = output.read(str(folder))
    decoded = tiny_tokenizer.decode(expected[1], "top")
    np.testing.assert_allclose(waveforms[1], np.clip(decoded, -1, 1), atol=1e-4)


def test_settings_and_seeds_are_kept(folder):
    info, waveforms = output.read(str(folder))
    assert info["request"] == json.loads(json.dumps(dataclasses.asdict(REQUEST)))
    assert info["request"]["settings"] == {"temperature": 1.0, "top_p": 0.9, "top_k": 0, "guidance": 1.0}
    assert info["models"] == MODELS
    assert (info["sample_rate"], info["decoded_tier"]) == (4000, "top")
    for index, (entry, audio) in enumerate(zip(info["samples"], waveforms, strict=True)):
        assert entry["flags"] == list(signal_checks.check(audio, 4000).flags)
        assert entry["signal"]["peak_db"] == pytest.approx(20 * np.log10(np.abs(audio).max()), abs=0.01)
        about = {"file": f"00{index}.wav", "seed": 3, "index": index, "genre": "organ"}
        assert about == {name: entry[name] for name in about}
    assert len(waveforms) == 2


def test_the_same_request_again_does_nothing(folder, tiny_tokenizer, priors, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    output.sample_to_folder(tiny_tokenizer, priors, REQUEST, str(folder), MODELS)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert "nothing to do" in capsys.readouterr().out


def test_another_request_is_refused(folder, tiny_tokenizer, priors):
    other = dataclasses.replace(REQUEST, seed=4)
    with pytest.raises(ValueError, match=r"another run \(request.seed: 3, now 4\); choose another out"):
        output.sample_to_folder(tiny_tokenizer, priors, other, str(folder), MODELS)


def test_a_prior_that_was_trained_on_is_refused(folder, tiny_tokenizer, priors):
    trained_on = {"top": tiny_priors.trained_prior(priors["top"].config, seed=1)}
    with pytest.raises(ValueError, match=r"another run \(prior_fingerprints.top: "):
        output.sample_to_folder(tiny_tokenizer, trained_on, REQUEST, str(folder), MODELS)


def test_a_bad_request_leaves_no_folder(tmp_path, tiny_tokenizer, priors):
    with pytest.raises(ValueError, match="seconds=0"):
        bad = dataclasses.replace(REQUEST, seconds=0)
        output.sample_to_folder(tiny_tokenizer, priors, bad, str(tmp_path / "out"), MODELS)
    assert not (tmp_path / "out").exists()


def tree(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["out"], r"out=.*out is no folder"),
        (
            ["out/000.wav", "out/partial/x"],
            r"out holds other things \(000\.wav, partial\): choose another out, a new or e",
        ),
        (["out/.hidden"], r"holds other things \(\.hidden\)"),
    ],
)
def test_what_is_a_persons_own_stays(tmp_path, tiny_tokenizer, priors, monkeypatch, names, message):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a person's own")
    before = tree(tmp_path)
    monkeypatch.setattr(hierarchy, "Hierarchy", lambda *_, **__: pytest.fail("sampled before it looked at out"))
    with pytest.raises(UserError, match=message):
        output.sample_to_folder(tiny_tokenizer, priors, REQUEST, str(tmp_path / "out"), MODELS)
    assert tree(tmp_path) == before


def test_a_link_to_an_empty_folder_of_a_new_disk(tmp_path, folder, tiny_tokenizer, priors):
    (tmp_path / "disk" / "lost+found").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    output.sample_to_folder(tiny_tokenizer, priors, REQUEST, str(tmp_path / "out"), MODELS)
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == [
        *("000.wav", "001.wav", "codes.npz", "lost+found", "samples.json")
    ]
    assert (tmp_path / "disk" / "001.wav").read_bytes() == (folder / "001.wav").read_bytes()


def test_a_full_disk_and_a_second_process(tmp_path, folder, tiny_tokenizer, priors, monkeypatch):
    """What is there is whole, nobody else writes there, and the same call goes on."""
    out = tmp_path / "out"

    def fill(_):
        if (out / "000.wav").exists():  # while 001.wav is written
            with pytest.raises(UserError, match="out is in use: sampling by process"):
                output.sample_to_folder(tiny_tokenizer, priors, REQUEST, str(out), MODELS)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(OSError, match=r"No space left on device: '.*001\.wav'"):
        output.sample_to_folder(tiny_tokenizer, priors, REQUEST, str(out), MODELS)
    assert sorted(path.name for path in out.iterdir()) == [".musicgen_jax.partial", "000.wav", "codes.npz"]
    monkeypatch.undo()
    monkeypatch.setattr(decode.SampleWindow, "__call__", lambda *_: pytest.fail("sampled again"))
    output.sample_to_folder(tiny_tokenizer, priors, REQUEST, str(out), MODELS)
    for name in ("000.wav", "001.wav", "samples.json"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    assert tree(out).keys() == tree(folder).keys()


def test_reading_a_folder_without_samples(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no samples\.json"):
        output.read(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": [{"file": "../000.wav"}]}, r"names '\.\./000\.wav', which is no file beside it"),
        ({"samples": [{"file": "/etc/passwd"}]}, "names '/etc/passwd', which is no file beside it"),
        ({"samples": [{"file": "009.wav"}]}, r"names '009\.wav', which is no file beside it"),
        ({"samples": [{}]}, r"samples\[0\]\.file is None and must be a string"),
        ({"samples": 3}, r"samples\.json: samples is 3"),
        ({"sample_rate": 1}, r"sample_rate is 1 and must be in \[2000, 768000\] Hz"),
        ({"sample_rate": None}, "sample_rate is None and must be a whole number"),
    ],
)
def test_a_damaged_description_is_named(folder, tmp_path, change, message):
    (tmp_path / "000.wav").write_bytes((folder / "000.wav").read_bytes())
    (tmp_path / "inner").mkdir()
    info = json.loads((folder / "samples.json").read_text())
    (tmp_path / "inner" / "samples.json").write_text(json.dumps(info | change))
    with pytest.raises(UserError, match=message):
        output.read(str(tmp_path / "inner"))

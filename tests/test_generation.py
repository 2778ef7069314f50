"""One call in Python, and the command that makes the same call: modes, streams, interruptions."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import command_line
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import tiny_workdirs
from conftest import tones

import musicgen_jax
from musicgen_jax import config, generation
from musicgen_jax.runtime import files
from musicgen_jax.sampling import hierarchy, journals, windows

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
RATE = 4000


@pytest.fixture(scope="module")
def models(tiny_tokenizer, tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("models")
    tiny_workdirs.write(root, tiny_tokenizer)
    return root


@pytest.fixture(scope="module")
def generator(models):
    return musicgen_jax.load(models)


@pytest.mark.long
def test_a_prior_that_was_trained_with_the_kernels_of_tpus(models, generator, tmp_path):
    shutil.copytree(models / "top", tmp_path / "top")
    path = tmp_path / "top" / "config.json"
    path.write_text(path.read_text().replace('"attention": "blocked"', '"attention": "pallas"'))
    assert "pallas" in path.read_text()
    other = musicgen_jax.load(models, top=tmp_path / "top")
    np.testing.assert_array_equal(other.generate(0.5, seed=3), generator.generate(0.5, seed=3))


@pytest.mark.long
def test_a_tier_by_diffusion(models, tiny_tokenizer, tmp_path):
    """Code after code at the top, all at once in the middle; what only one of the two takes is refused where unused."""
    tiny_workdirs.write_diffusion(tmp_path, tiny_tokenizer, "middle")
    mixed = musicgen_jax.load(models, middle=tmp_path / "middle")
    audio = mixed.generate(0.5, seed=3, steps=3)
    np.testing.assert_array_equal(mixed.generate(0.5, seed=3, steps=3), audio)
    assert np.abs(mixed.generate(0.5, seed=4, steps=3) - audio).max() > 1e-3
    for call, message in (
        ({"hop_fraction": {"middle": 0.25}}, "hop_fraction has a value for middle, but the tiers sampled are top"),
        ({"parallel_windows": True}, "parallel_windows needs a middle or bottom prior that samples code after code"),
        ({"steps": 13}, "steps=13: must be from 1 to the 12 codes"),
        ({"mode": "upsample", "prompt": audio, "cache_dtype": "int8"}, "cache_dtype=int8 changes nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            mixed.generate(**({"seconds": 0.5} | call))


def test_importing_the_package_imports_no_jax():
    code = "import sys, musicgen_jax; assert 'jax' not in sys.modules; musicgen_jax.load"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


@pytest.mark.long
def test_what_is_loaded(generator, models, tiny_tokenizer):
    assert generator.sample_rate == RATE and list(generator.priors) == ["top", "middle"]
    assert generator.tokenizer.fingerprint == tiny_tokenizer.fingerprint
    assert generator.genres == ("unknown", "oboe", "organ")
    top_only = musicgen_jax.load(vqvae=models / "vqvae", top=models / "top")
    assert list(top_only.priors) == ["top"]


def test_shapes(generator):
    audio = generator.generate(0.5, seed=1)
    assert audio.shape == (16 * 128,) and audio.dtype == np.float32  # 0.5 s are 15.6 codes of the top tier
    several = generator.generate(0.5, seed=1, num_samples=2)
    assert several.shape == (2, 16 * 128)
    np.testing.assert_array_equal(several[0], audio)
    assert np.any(generator.generate(0.5, seed=2) != audio)
    np.testing.assert_array_equal(generator.generate(0.5, seeds=[2, 1])[1], audio)
    assert np.any(generator.generate(0.5, seed=1, genre="organ") != audio)
    assert np.any(generator.generate(0.5, seed=1, temperature={"middle": 0.3}) != audio)


def test_the_audio_is_the_decoded_codes(generator):
    request, start, scores = generator.request(seconds=0.5, seed=3, genre="oboe", top_k=4)
    assert (request.genres, request.mode, start, scores) == (("oboe",), "ancestral", None, None)
    codes = hierarchy.sample_codes(generator.tokenizer.layout, generator.priors, request)
    expected = generator.tokenizer.decode(codes["middle"][0], "middle")
    np.testing.assert_array_equal(generator.generate(0.5, seed=3, genre="oboe", top_k=4), expected)


@pytest.mark.parametrize("options", [{}, {"num_samples": 2, "parallel_windows": True}])
def test_a_stream_joined_is_the_whole(generator, options):
    whole = generator.generate(3.0, seed=5, **options)
    blocks = list(generator.stream(3.0, seed=5, **options))
    assert len(blocks) > 3
    np.testing.assert_allclose(np.concatenate(blocks, axis=-1), whole, atol=1e-5)
    assert whole.std() > 1e-3


def test_the_first_block_comes_before_the_top_tier_is_complete(generator, monkeypatch):
    made = []
    monkeypatch.setattr(hierarchy.Hierarchy, "__init__", _remembering(hierarchy.Hierarchy.__init__, made))
    blocks = generator.stream(8.0, seed=5)
    assert len(made) == 1, "bad arguments must be told by the call, so it does its work at once"
    (sampler,) = made
    assert sampler.done("top") == 0
    first = next(blocks)
    assert 0 < len(first) < 8 * RATE
    assert 0 < sampler.done("top") < sampler.codes["top"].shape[1] / 2
    assert 0 < sampler.done("middle") < sampler.codes["middle"].shape[1] / 2


def _remembering(init, made):
    def wrapped(self, *args, **kwargs):
        made.append(self)
        init(self, *args, **kwargs)

    return wrapped


@pytest.mark.long
def test_continue_primed_and_upsample(generator, tiny_tokenizer):
    melody = tones(2, 8 * 128)
    codes = tiny_tokenizer.encode(iter([melody]))
    continued = generator.generate(0.8, prompt=melody, seed=1)
    # What lies further from the seam than the decoder sees is the prompt, through the tokenizer.
    heard = tiny_tokenizer.decode(codes["middle"], "middle")
    np.testing.assert_allclose(continued[: 4 * 128], heard[: 4 * 128], atol=1e-5)
    primed = generator.generate(0.8, prompt=melody, seed=1, mode="primed")
    assert primed.shape == continued.shape and np.abs(primed - continued)[: 4 * 128].max() > 1e-3
    upsampled = generator.generate(prompt=melody, mode="upsample")
    assert upsampled.shape == melody.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"prompt": tones(2, RATE), "seconds": 0.5}, "leaves nothing to sample"),
        ({"genre": "kazoo"}, "unknown genre; the prior was trained with unknown, oboe, organ"),
        ({"num_samples": 0}, "num_samples=0"),
        ({"steps": 0}, "steps=0 goes with sampler=diffusion"),
        ({"tempo": 120}, "tempo: no such option; .*there are seconds, num_samples, seed, seeds, mode, prompt"),
        ({"genres": ["oboe"]}, r"genres: no such option; did you mean genre\?; there are seconds, num_samples"),
        ({"num_samples": 40, "parallel_windows": True}, "batch_size=120 or more, or leave out parallel_windows"),
        ({"temperature": {"bottom": 1.0}}, "temperature has a value for bottom"),
        ({"seconds": "8"}, "seconds='8': must be a number"),
        ({"seed": 1.5}, r"seed=1\.5: must be a whole number"),
        ({"seeds": 1}, "seeds=1: must be a list of whole numbers"),
        ({"seeds": [1, -1]}, r"`?seeds`?=\(1, -1\): each must be from 0 to"),
        ({"seed": 10**30}, "seed=10+: must be from 0 to 4294967295"),
        ({"seconds": 10**400}, "seconds=inf: must be greater than 0, and at most 100000"),
        ({"temperature": "warm"}, "temperature='warm': must be a number, a pair"),
        ({"temprature": 1.0}, r"temprature: no such option; did you mean temperature\?; there are seconds"),
        (
            {"prompt": np.zeros((2, RATE)), "seconds": 2},
            r"holds 2 pieces: .*; one piece of two channels is \[S, 2\]",
        ),
    ],
)
def test_bad_calls(generator, call, message):
    for method in (generator.generate, generator.stream):
        with pytest.raises(ValueError, match=message):
            method(**call)


def test_arguments_of_numpy_and_jax(generator):
    expected = generator.generate(0.5, seed=3, num_samples=1, temperature=(0.5, 1.0), top_k=4, genre=["organ"])
    options = {"temperature": np.array([0.5, 1.0]), "top_k": {"top": np.int64(4), "middle": jnp.int32(4)}}
    options |= {"genre": np.array(["organ"]), "artist": None, "hop_fraction": jnp.float32(0.5)}
    found = generator.generate(jnp.array(0.5), seed=np.uint32(3), num_samples=np.array(1), **options)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.long
def test_paths_in_the_home_folder_and_what_is_no_path(models, generator, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(models.parent))
    assert musicgen_jax.load(f"~/{models.name}", middle="").tokenizer.fingerprint == generator.tokenizer.fingerprint
    monkeypatch.setattr(generator, "request", lambda **_: pytest.fail("looked at the request before the folder"))
    (tmp_path / "mine.wav").touch()
    for call, message in (
        (lambda: musicgen_jax.load(3), "directory=3: must be a path"),
        (lambda: musicgen_jax.load(models, top=["x"]), r"top=\['x'\]: must be a path"),
        (lambda: generator.write(3), "out=3: must be a path"),
        (lambda: generator.write(tmp_path), r"out=.* holds other things \(mine\.wav\): choose another out"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.long
def test_models_are_found_by_what_they_are(models, tmp_path):
    for name, other in (("vqvae", "codec"), ("top", "first"), ("middle", "middle")):
        (tmp_path / other).symlink_to(models / name)
    (tmp_path / "audio").mkdir()
    wanted = {"vqvae": "codec", "top": "first", "middle": "middle"}
    assert musicgen_jax.load(tmp_path).models == {name: str(tmp_path / folder) for name, folder in wanted.items()}
    (tmp_path / "second").symlink_to(models / "top")
    with pytest.raises(ValueError, match=r"holds several models of top \(first, second\): name the one that is meant"):
        musicgen_jax.load(tmp_path)
    assert musicgen_jax.load(tmp_path, top=tmp_path / "second").models["top"] == str(tmp_path / "second")
    (tmp_path / "top").symlink_to(models / "top")
    assert musicgen_jax.load(tmp_path, tokenizer=models / "vqvae").models["top"] == str(tmp_path / "top")


@pytest.mark.long
def test_bad_folders(models, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*nowhere; pass one that holds vqvae, top"):
        musicgen_jax.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"a tokenizer \(vqvae\) and a prior are needed"):
        musicgen_jax.load(tmp_path)
    with pytest.raises(ValueError, match=r"treble: no such model; a folder of models holds vqvae, top"):
        musicgen_jax.load(models, treble=models / "top")
    with pytest.raises(ValueError, match=r"holds a prior of the top tier where one of the bottom tier is wanted"):
        musicgen_jax.load(models, bottom=models / "top")


def command(models, out, *flags) -> list[str]:
    tiers = [f"--{name}={models / name}" for name in ("vqvae", "top", "middle")]
    return ["musicgen_jax.sample", *tiers, f"--out={out}", "--num_samples=2", *flags]


def run(*arguments) -> subprocess.CompletedProcess:
    return command_line.run(*command(*arguments))


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """What a person hears and reads of a folder; a zip file holds times, so its arrays instead of its bytes."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".wav", ".json")}
    with np.load(folder / "codes.npz") as codes:
        return found | {tier: codes[tier].tobytes() for tier in codes}


@pytest.mark.long
def test_the_command_is_the_call(models, generator, tmp_path):
    flags = (
        "--seconds=0.5",
        "--seed=4",
        "--temperature=top:0.9~1.1",
        "--top_k=middle:9",
        "--genre=oboe",
        "--genre=organ",
    )
    done = run(models, tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    options = {"temperature": {"top": (0.9, 1.1)}, "top_k": {"middle": 9}, "genre": ("oboe", "organ")}
    expected = generator.generate(0.5, seed=4, num_samples=2, **options)
    audio, rate = soundfile.read(tmp_path / "out" / "001.wav", dtype="float32")
    assert rate == RATE
    np.testing.assert_allclose(audio, np.clip(expected[1], -1, 1), atol=1e-4)
    info = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert info["request"]["settings"]["temperature"] == {"top": [0.9, 1.1]}
    assert [sample["genre"] for sample in info["samples"]] == ["oboe", "organ"]
    assert not (tmp_path / "out" / ".musicgen_jax.partial").exists()
    assert "sample top" in done.stderr and "sample middle" in done.stderr and "codes/s" in done.stderr


@pytest.mark.parametrize("moments", [(40,), (1, 80, 200)])
@pytest.mark.long
def test_killed_at_any_moment_it_goes_on_where_it_was(models, generator, tmp_path, moments):
    """SIGKILL when so many windows are on disk; then the same call to its end."""
    whole, out, seen = tmp_path / "whole", tmp_path / "out", 0
    call = {"seconds": 6.0, "seed": 9, "num_samples": 2, "batch_size": 1}
    generator.write(whole, **call)
    for wanted in moments:
        flags = [f"--{name}={value}" for name, value in call.items()]
        python = [sys.executable, "-m", *command(models, out, *flags)]
        process = subprocess.Popen(python, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
        while process.poll() is None and _windows(out) < wanted:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        assert _windows(out) >= max(seen, wanted), "what was finished stays"
        assert not (out / "samples.json").exists()
        seen = _windows(out)
    with pytest.raises(ValueError, match=r"beginning of another run \(request.seed: 9, now 8\)"):
        generator.write(out, **(call | {"seed": 8}))
    generator.write(out, **call)
    assert contents(out).keys() == contents(whole).keys()
    for name, content in contents(whole).items():
        assert contents(out)[name] == content, name
    assert not (out / ".musicgen_jax.partial").exists()


def _windows(out: pathlib.Path) -> int:
    return len(list((out / ".musicgen_jax.partial").glob("[!.]*.npz")))


def test_a_finished_window_is_not_sampled_again(generator, tmp_path, monkeypatch):
    """The journal's codes are used as they are: changed on disk, they come back changed."""

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(generator.tokenizer, "decode", stop)
    with pytest.raises(KeyboardInterrupt):
        generator.write(tmp_path, 0.5, seed=2)
    monkeypatch.undo()
    path = tmp_path / ".musicgen_jax.partial" / "top-000000000-00000.npz"
    codes = files.read_arrays(path)["codes"]
    codes[3] = (codes[3] + 1) % 16
    np.savez(path, codes=codes)
    generator.write(tmp_path, 0.5, seed=2)
    with np.load(tmp_path / "codes.npz") as stored:
        np.testing.assert_array_equal(stored["top"][0, :12], codes[:12])


@pytest.mark.long
def test_an_interrupted_run_goes_on_in_other_batches(generator, tmp_path, monkeypatch):
    """Too little memory for the batch of before is no reason to begin anew; nor is another path to the same models."""
    call = {"seconds": 3.0, "seed": 4, "num_samples": 3, "parallel_windows": True}
    generator.write(tmp_path / "whole", batch_size=12, **call)

    written, write = [], journals.Journal.write

    def write_sixty(*args):
        if len(written) == 60:  # in the midst of a batch
            raise KeyboardInterrupt
        written.append(args)
        write(*args)

    monkeypatch.setattr(journals.Journal, "write", write_sixty)
    with pytest.raises(KeyboardInterrupt):
        generator.write(tmp_path / "out", batch_size=12, **call)
    monkeypatch.undo()
    monkeypatch.setattr(generator, "models", {name: f"./{path}" for name, path in generator.models.items()})
    generator.write(tmp_path / "out", batch_size=10, **call)
    with np.load(tmp_path / "out" / "codes.npz") as found, np.load(tmp_path / "whole" / "codes.npz") as expected:
        for tier in expected:
            np.testing.assert_array_equal(found[tier], expected[tier])
    generator.write(tmp_path / "out", batch_size=9, **call)  # complete already


@pytest.mark.long
def test_a_minute_has_no_audible_seams(generator):
    """The steps from sample to sample where a window begins are as large as where any other code begins."""
    audio = generator.generate(60.0, seed=1)
    assert len(audio) == 1875 * 128
    steps = np.abs(np.diff(audio))
    for tier, hop, multiple in (("top", 128, 1), ("middle", 32, 4)):
        num_codes = len(audio) // hop
        plan = windows.plan(num_codes, generator.priors[tier].config.context, 0.5, multiple)
        seams = hop * np.array([window.kept_in_track.start for window in plan[1:]]) - 1
        others = np.setdiff1d(hop * np.arange(1, num_codes) - 1, seams)
        above = np.mean(steps[seams] > np.median(steps[others]))
        assert above < 0.5 + 4 * 0.5 / np.sqrt(len(seams)), (
            f"{tier}: {above:.0%} of {len(seams)} seams above the median"
        )
        assert steps[seams].max() <= steps.max()


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--temperature=warm"], "--temperature=warm: write a number, FROM~TO, or either by stream"),
        (["--prime=nowhere.wav"], "no such audio file: nowhere.wav"),
        (["--steps=0"], "--steps=0 goes with --sampler=diffusion"),
    ],
)
def test_bad_flags(models, tmp_path, flags, message):
    done = run(models, tmp_path / "out", *flags)
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0] and "Traceback" not in done.stderr


def test_the_composer_of_a_folder_is_found_unless_it_is_left_out(tmp_path):
    for name, run in (("vqvae", config.VQVAETraining()), ("writer", config.ComposerTraining())):
        (tmp_path / name).mkdir()
        config.write_json(tmp_path / name / "config.json", run)
    assert generation.find_composer(tmp_path) == str(tmp_path / "writer")
    assert generation.find_composer(tmp_path, score="") == ""
    (tmp_path / "writer" / "config.json").unlink()
    assert generation.find_composer(tmp_path) == ""

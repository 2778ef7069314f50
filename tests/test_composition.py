"""A composer's workdir -> scores: in Python, on the command line, and performed by priors."""

import json
import pathlib

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors
import tiny_scores
import tiny_workdirs

import musicgen_jax
from musicgen_jax import composition, config, kinds
from musicgen_jax.data import audio_io
from musicgen_jax.scores import midi


def write_composer(folder: pathlib.Path, tokens: str = "grid", **changes) -> pathlib.Path:
    """A workdir of a composer with random weights."""
    run = config.ComposerTraining(
        model=tiny_scores.model_config(tokens, **changes), data=config.DataConfig(path="scores")
    )
    shapes = jax.eval_shape(kinds.KINDS["composer"].functional(run).init, jax.random.key(0))
    rng = np.random.default_rng(1)
    weights = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.35, size=leaf.shape), leaf.dtype), shapes)
    tiny_workdirs.write_workdir(folder, run, weights)
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return write_composer(tmp_path_factory.mktemp("models") / "score")


@pytest.fixture(scope="module")
def composer(workdir):
    return composition.load(workdir)


def test_compose(composer):
    score = composer.compose(6.0, seed=3)
    again, other = (composer.compose(6.0, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(score.notes, again.notes)
    assert len(score.notes) > 10 and not np.array_equal(score.notes, other.notes)
    quarter = 16 / composer.model.config.codes_per_second
    assert score.seconds <= 6.0 + quarter / 4 and score.quarters[1] == pytest.approx(quarter)
    assert score.bars[0] == -2 and score.bars[1] == 1  # an upbeat of one of three quarters
    assert score.fermatas[-1, 1] == pytest.approx(6.0, abs=quarter / 4)
    assert set(score.notes[:, 4]) <= {0, 1, 2, 3}
    several = composer.compose(6.0, seed=3, num_samples=2, genre=["hymn", "dance"])
    assert len(several) == 2 and not np.array_equal(several[0].notes, several[1].notes)


def test_longer_than_a_window(composer):
    """64 tokens are 2.7 s; the beginning does not depend on the length but for what the piece is told of it."""
    score = composer.compose(8.0, seed=1, total_seconds=9.0)
    longer = composer.compose(9.0, seed=1, total_seconds=9.0)
    assert score.seconds > 6 and longer.seconds > 8


def test_a_prime_goes_on(composer, tmp_path):
    prime = tiny_scores.score(0).cut(0, 3).clipped(3)
    score = composer.compose(8.0, prompt=prime)
    begun = score.notes[score.notes[:, 1] < 2.4]
    np.testing.assert_allclose(begun[:, :2], prime.notes[prime.notes[:, 1] < 2.4][:, :2], atol=1e-5)
    assert score.seconds > 6
    midi.write(tmp_path / "melody.mid", prime)
    from_file = composer.compose(8.0, prompt=tmp_path / "melody.mid")
    np.testing.assert_array_equal(from_file.notes[:, 0], score.notes[:, 0])


@pytest.mark.parametrize("layer", ["relative", "lstm"])
def test_performances_last_as_long_as_asked(tmp_path, layer):
    composer = composition.load(write_composer(tmp_path / "score", "performance", layer=layer))
    for seed in range(2):
        score = composer.compose(5.0, seed=seed)
        assert score.seconds <= 5.0 and len(score.notes) > 3
    primed = composer.compose(8.0, prompt=tiny_scores.score(1).cut(0, 3).clipped(3))
    assert primed.notes[:8, 0].tolist() == tiny_scores.score(1).notes[:8, 0].tolist()


def test_write(composer, tmp_path, capsys):
    composer.write(tmp_path / "out", 3.0, num_samples=2, timbre="flute", seed=5)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"000.wav", "000.mid", "001.wav", "001.mid", "codes.npz", "samples.json"} <= names
    info = json.loads((tmp_path / "out/samples.json").read_text())
    assert info["timbre"] == "flute" and info["samples"][1]["score"] == "001.mid"
    audio = audio_io.read_audio(tmp_path / "out/000.wav", info["sample_rate"])
    assert len(audio) == 3 * info["sample_rate"] and np.abs(audio).max() > 0.01
    written, score = midi.read(tmp_path / "out/000.mid"), composer.compose(3.0, num_samples=2, seed=5)[0]
    np.testing.assert_allclose(written.notes[:, :3], score.notes[:, :3], atol=2e-3)
    codes = np.load(tmp_path / "out/codes.npz")["score"]
    assert codes.shape == (2, 72, 1)
    capsys.readouterr()
    composer.write(tmp_path / "out", 3.0, num_samples=2, timbre="flute", seed=5)
    assert "is complete already" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"holds the samples of another run .*timbre"):
        composer.write(tmp_path / "out", 3.0, num_samples=2, timbre="organ", seed=5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"genre": "polka"}, "genre=polka: unknown genre"),
        ({"guidance": 2.0}, "guidance=2.0: the score prior was never trained without labels"),
        ({"temperature": 0}, "temperature=0.0: must be greater than 0"),
        ({"seconds": 0}, "seconds=0.0: must be greater than 0"),
        ({"mode": "primed"}, "mode=primed: a composer alone does not take it"),
        ({"prompt": "song.wav"}, r"prompt=song\.wav: a composer goes on from a MIDI file"),
        ({"prompt": tiny_scores.score(0), "seconds": 2.0}, r"seconds=2: the score that is to be continued lasts"),
    ],
)
def test_bad_input(composer, call, message):
    with pytest.raises(ValueError, match=message):
        composer.compose(**({"seconds": 4.0} | call))


def test_composes_and_performs(tiny_tokenizer, tmp_path, monkeypatch):
    tiny_workdirs.write(tmp_path, tiny_tokenizer, ())
    of_tokenizer = tiny_workdirs._of_tokenizer(tiny_tokenizer, "top")
    model = tiny_priors.model_config("top", score=True, score_dropout=0.1, score_notes=32, **of_tokenizer)
    prior = tiny_priors.trained_prior(model)
    run = config.PriorTraining(model=model, data=config.DataConfig(path="codes"))
    tiny_workdirs.write_workdir(tmp_path / "top", run, prior.weights)
    write_composer(tmp_path / "score")
    music = musicgen_jax.load(tmp_path)
    audio = music.generate(1.0, seed=2, temperature={"score": 0.9, "top": 1.1})
    scores = music.compose(1.0, seed=2, num_samples=1, temperature=0.9)
    np.testing.assert_array_equal(audio, music.generate(1.0, score=scores, seed=2, temperature={"top": 1.1}))
    music.write(tmp_path / "out", 1.0, seed=2, score=tmp_path / "score")
    np.testing.assert_allclose(midi.read(tmp_path / "out/000.mid").notes[:, 0], scores[0].clipped(1.0).notes[:, 0])
    music.composer = None
    with pytest.raises(FileNotFoundError, match="there is no composer: load one"):
        music.compose(1.0)


@pytest.mark.slow
def test_the_command(workdir, tmp_path):
    out = tmp_path / "out"
    done = command_line.run(
        "musicgen_jax.sample", f"--score={workdir}", f"--out={out}", "--seconds=3", "--timbre=organ"
    )
    assert done.returncode == 0, done.stderr
    assert "000.mid" in done.stderr and (out / "003.wav").is_file()
    for flags, message in (
        (["--timbre=kazoo"], "--timbre=kazoo: must be one of organ"),
        (["--mode=primed"], "--mode=primed: a composer alone does not take it: leave it out"),
        (["--score=absent"], "no such folder: absent"),
        ([f"--vqvae={workdir}"], "holds a composer, not "),
    ):
        failed = command_line.run("musicgen_jax.sample", f"--score={workdir}", f"--out={tmp_path}/other", *flags)
        assert failed.returncode == 1 and message in failed.stderr and failed.stderr.count("\n") == 1

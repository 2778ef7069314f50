"""A score becomes audio: in one call in Python, by the command, from a prompt on; and a MIDI file is a prompt."""

import json
import pathlib

import command_line
import numpy as np
import pytest
import tiny_workdirs

import musicgen_jax
from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.sampling import output, prompts
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

RATE = 4000
SCORE = Score([[60 + 2 * place, 0.25 * place, 0.25, 80, 0] for place in range(8)])


@pytest.fixture(scope="module")
def models(tiny_tokenizer, tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("models")
    tiny_workdirs.write(root, tiny_tokenizer, score=True, score_dropout=0.1)
    return root


@pytest.fixture(scope="module")
def generator(models):
    return musicgen_jax.load(models)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("scores") / "melody.mid"
    midi.write(path, SCORE)
    return path


@pytest.mark.long
def test_a_score_is_performed_as_long_as_it_is(generator, file):
    audio = generator.perform(SCORE, seed=1)
    assert audio.shape == (63 * 128,)  # 2 s are 62.5 codes of the top tier
    np.testing.assert_array_equal(generator.perform(midi.read(file), seed=1), audio)
    np.testing.assert_array_equal(generator.generate(2.0, score=file, seed=1), audio)
    for other in (SCORE.transposed(1), None):
        assert np.abs(generator.generate(2.0, score=other, seed=1) - audio).max() > 1e-3


def test_a_stream_performs_alike(generator):
    audio = generator.perform(SCORE, 0.5, seed=1)
    assert audio.shape == (16 * 128,)
    blocks = list(generator.stream(0.5, score=SCORE, seed=1))
    np.testing.assert_allclose(np.concatenate(blocks), audio, atol=1e-5)


@pytest.mark.long
def test_samples_take_scores_by_turns(generator):
    scores = [SCORE, SCORE.transposed(12)]
    audio = generator.perform(scores, num_samples=3, seed=1)
    same = generator.perform(SCORE, num_samples=3, seed=1)
    np.testing.assert_array_equal(same[::2], audio[::2])
    assert np.abs(same[1] - audio[1]).max() > 1e-3
    with pytest.raises(UserError, match="num_samples=1: the score holds 2 scores"):
        generator.perform(scores)


def test_a_folder_has_the_scores_beside_the_audio(generator, file, tmp_path):
    generator.write(tmp_path / "out", score=file, seed=1, num_samples=2)
    names = {"000.wav", "000.mid", "001.wav", "001.mid", "codes.npz", "samples.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    info = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert [one["score"] for one in info["samples"]] == ["000.mid", "001.mid"]
    assert info["score"]["from"] == str(file) and info["request"]["seconds"] == pytest.approx(2.0)
    np.testing.assert_allclose(midi.read(tmp_path / "out" / "000.mid").notes, SCORE.notes, atol=2e-3)
    generator.write(tmp_path / "out", score=SCORE, seconds=info["request"]["seconds"], seed=1, num_samples=2)
    with pytest.raises(UserError, match=r"another run \(score\.digest: .*\)"):
        generator.write(tmp_path / "out", score=SCORE.transposed(1), seconds=2.0, seed=1, num_samples=2)


@pytest.mark.long
def test_music_goes_on_by_the_score(generator, tiny_tokenizer, file):
    prompt = generator.generate(0.5, seed=4)
    audio = generator.generate(prompt=prompt, score=file, seed=1)
    given = prompts.load(prompt, tiny_tokenizer)
    codes = prompts.load(audio, tiny_tokenizer).codes["top"]
    assert audio.shape == (63 * 128,) and given.codes["top"].shape[1] < codes.shape[1]
    assert np.abs(generator.generate(2.0, prompt=prompt, seed=1) - audio).max() > 1e-3


@pytest.mark.long
def test_a_midi_file_is_a_prompt(generator, tiny_tokenizer, file):
    """The synthesizer plays it, in the timbre that the genre names or its first."""
    for timbre in (timbres.ALL[0], timbres.ALL[1]):
        played = synthesizer.render_score(midi.read(file), timbre, RATE)
        assert played.shape == (2 * RATE,) and 0.05 < played.std() < 0.2
        found, wanted = prompts.load(file, tiny_tokenizer, timbre.name), prompts.load(played, tiny_tokenizer)
        assert found.digest == wanted.digest
    assert prompts.load(file, tiny_tokenizer, "polka").digest == prompts.load(file, tiny_tokenizer).digest
    audio = generator.generate(2.5, prompt=file, seed=1)
    assert audio.shape == (79 * 128,)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("nothing.mid", "nothing.mid"),
        ("score.txt", r"score\.txt: the name must end in one of \.mid, \.midi, \.mxl"),
        (Score([]), "there is no note to perform"),
        ([], "must be a MIDI file, a score, or a list of scores"),
        (3, "must be a MIDI file, a score, or a list of scores"),
    ],
)
def test_bad_scores(generator, score, message):
    with pytest.raises((UserError, NotFoundError), match=message):
        generator.perform(score)


@pytest.mark.long
def test_the_command_performs_with_guidance_by_the_score(models, generator, file, tmp_path):
    said = {"guidance": 3.0, "seed": 1, "seconds": 0.5}
    flags = [f"--{name}={value}" for name, value in said.items()]
    done = command_line.run(
        "musicgen_jax.sample",
        f"--model={models}",
        f"--score={file}",
        f"--out={tmp_path / 'out'}",
        "--num_samples=1",
        *flags,
    )
    assert done.returncode == 0, done.stderr
    info, (audio,) = output.read(str(tmp_path / "out"))
    assert info["request"]["guide_by"] == ["score"] and info["samples"][0]["score"] == "000.mid"
    np.testing.assert_allclose(audio, np.clip(generator.perform(file, **said), -1, 1), atol=1e-4)
    assert np.abs(generator.perform(file, **said | {"guidance": 1.0}) - audio).max() > 1e-3

"""A composer's workdir -> scores: in Python, on the command line, and performed by priors."""

import dataclasses
import json

import command_line
import numpy as np
import pytest
import tiny_scores
import tiny_workdirs

import musicgen_jax
from musicgen_jax import composition
from musicgen_jax.codes import score_tokens
from musicgen_jax.data import audio_io
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import commissions, composing, hierarchy, output, prompts, requests
from musicgen_jax.sampling.tier_sampler import TierSampler
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tiny_workdirs.write_composer(tmp_path_factory.mktemp("models") / "score")


@pytest.fixture(scope="module")
def composer(workdir):
    return composition.load(workdir)


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("tokens", ["grid", "performance"])
def test_every_piece_begins_with_a_note(composer, tmp_path, tokens):
    """Of a composer that has learned nothing, most first tokens would hold, end or wait."""
    if tokens == "performance":
        composer = composition.load(tiny_workdirs.write_composer(tmp_path / "score", "performance"))
    for score in composer.compose(3.0, num_samples=6, seed=1):
        assert score.notes[0, 1] == 0
    codes = composing.compose(composer.model, requests.Request(seconds=3.0, num_samples=6, seed=1)).codes
    vocabulary = score_tokens.of(composer.model.config)
    assert vocabulary.can_begin(codes[:, : vocabulary.num_first, 0]).all()


def test_longer_than_a_window(composer):
    """64 tokens are 2.7 s; the beginning of a piece does not depend on how much of it is asked for."""
    score = composer.compose(8.0, seed=1, total_seconds=9.0)
    longer = composer.compose(9.0, seed=1, total_seconds=9.0)
    assert set(longer.notes[:, 1].astype(int)) == set(range(9))
    inside = longer.clipped(8.0)
    np.testing.assert_allclose(score.notes, inside.notes, atol=1e-5)
    np.testing.assert_allclose(score.fermatas, inside.fermatas, atol=1e-5)
    assert not np.array_equal(composer.compose(8.0, seed=1).notes, score.notes)  # which ends 1 s earlier


@pytest.fixture
def told(monkeypatch):
    """(tokens that are drawn, tokens that the composer is told the piece has) of each sampler that is made, but for
    those of the first step, which may be drawn again."""
    found = []

    def sampler(composer, request, known, num_codes, *, beside, **said):
        if num_codes > score_tokens.of(composer.config).num_first:
            found.append((num_codes, *beside(np.zeros(1, int), np.zeros(1, np.int32))["length"]))
        return TierSampler(composer, request, known, num_codes, beside=beside, **said)

    monkeypatch.setattr(composing.tier_sampler, "TierSampler", sampler)
    return found


def test_the_composer_is_told_the_tokens_of_the_piece(composer, told):
    """As in training: those of the grid, whatever the tempo is, not what usual ones have in as many seconds."""
    composer.compose(4.0)
    slow = tiny_scores.score(2).cut(0, 2).clipped(2).stretched(2)
    quarter = float(np.diff(slow.quarters)[0])
    composer.compose(8.0, prompt=slow)
    composer.compose(8.0, prompt=slow, total_seconds=16.0)
    steps, usual = np.ceil(8.0 / quarter * 4), 8.0 * composer.model.config.codes_per_second
    assert told == [(96, 96), (4 * steps, 4 * steps), (4 * steps, 4 * np.ceil(16.0 / quarter * 4))]
    assert 4 * steps < usual / 1.5


def test_a_prime_goes_on(composer, tmp_path):
    prime = tiny_scores.score(0).cut(0, 3).clipped(3)
    score = composer.compose(8.0, prompt=prime)
    begun = score.notes[score.notes[:, 1] < 2.4]
    np.testing.assert_allclose(begun[:, :2], prime.notes[prime.notes[:, 1] < 2.4][:, :2], atol=1e-5)
    assert score.seconds > 6
    midi.write(tmp_path / "melody.mid", prime)
    from_file = composer.compose(8.0, prompt=tmp_path / "melody.mid")
    np.testing.assert_array_equal(from_file.notes[:, 0], score.notes[:, 0])


@pytest.mark.long
@pytest.mark.parametrize("layer", ["relative", "lstm"])
def test_performances_last_as_long_as_asked(tmp_path, layer, told):
    """Also where tokens take less time than on average in training, where 2 make a second."""
    composer = composition.load(
        tiny_workdirs.write_composer(tmp_path / "score", "performance", layer=layer, codes_per_second=2.0)
    )
    for seed in range(2):
        told.clear()
        request = requests.Request(seconds=5.0, seed=seed, num_samples=2)
        composed = composing.compose(composer.model, request)
        assert min(composing._elapsed(row[:, 0]) for row in composed.codes) >= 5.0
        assert len(told) > 1 and told[0][0] == 10 and all(drawn == whole for drawn, whole in told)
        assert all(score.seconds <= 5.0 and len(score.notes) > 0 for score in composed.scores)
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
        ({"temperature": {"top": 0.5}}, "temperature has a value for top, but the tiers sampled are score"),
        ({"hop_fraction": {"top": 0.5}}, "hop_fraction has a value for top, but the tiers sampled are score"),
        ({"mode": "primed"}, "mode=primed: a composer alone does not take it"),
        ({"prompt": "song.wav"}, r"prompt=song\.wav: a composer goes on from a MIDI file"),
        ({"prompt": tiny_scores.score(0), "seconds": 2.0}, r"seconds=2: the score that is to be continued lasts"),
    ],
)
def test_bad_input(composer, call, message):
    with pytest.raises(ValueError, match=message):
        composer.compose(**({"seconds": 4.0} | call))


@pytest.fixture(scope="module")
def models(tiny_tokenizer, tmp_path_factory):
    """Workdirs as launch/demo.sh leaves them: a tokenizer, priors that are told the score, a composer."""
    folder = tmp_path_factory.mktemp("demo")
    tiny_workdirs.write(folder, tiny_tokenizer, ("top",), score=True, score_dropout=0.1, score_notes=32)
    tiny_workdirs.write_composer(folder / "composer")
    return folder


@pytest.fixture
def music(models):
    return musicgen_jax.load(models)


@pytest.mark.long
def test_composes_and_performs(music, models, tmp_path):
    audio = music.generate(1.0, seed=2, temperature={"score": 0.9, "top": 1.1})
    scores = music.compose(1.0, seed=2, num_samples=1, temperature=0.9)
    np.testing.assert_array_equal(audio, music.generate(1.0, score=scores, seed=2, temperature={"top": 1.1}))
    music.write(tmp_path / "out", 1.0, seed=2, score=models / "composer")
    np.testing.assert_allclose(midi.read(tmp_path / "out/000.mid").notes[:, 0], scores[0].clipped(1.0).notes[:, 0])
    music.composer = None
    with pytest.raises(FileNotFoundError, match="there is no composer: load one"):
        music.compose(1.0)


@pytest.mark.long
def test_a_recording_goes_on_without_a_composer_unless_one_is_named(music, models, tmp_path):
    """What is not written in notes: a wav file, a waveform, codes of former samples."""
    music.write(tmp_path / "out", 0.5, seed=4)
    for prompt in (tmp_path / "out/000.wav", np.ones(2048, np.float32) / 3, tmp_path / "out/codes.npz"):
        assert music.request(seconds=1.0, prompt=prompt)[2] is None
    assert music.generate(1.0, prompt=tmp_path / "out/000.wav", seed=2).shape == (32 * 128,)
    _, start, scores = music.request(seconds=2.0, prompt=tmp_path / "out/000.wav", score=models / "composer")
    (piece,) = commissions.fulfilled(scores).pieces
    assert 0.5 <= start.seconds <= piece.notes[0, 1] < 1.2 and 1.7 < piece.seconds <= 2.1
    with pytest.raises(UserError, match=r"score=.*composer: with mode=upsample all notes are there already"):
        music.generate(prompt=tmp_path / "out/codes.npz", mode="upsample", score=models / "composer")


def test_what_is_said_of_the_priors_alone_is_not_asked_of_the_composer(music, tmp_path):
    """An LSTM has no cache of keys and values that could be int8; it knows other genres than they do."""
    lstm = composition.load(tiny_workdirs.write_composer(tmp_path / "score", layer="lstm"))
    said = {"seconds": 1.0, "cache_dtype": "int8", "genre": "oboe", "guidance": {"top": 2.0}}
    for composer, cache in ((lstm, "compute"), (music.composer, "int8")):
        music.composer = composer
        request, _, scores = music.request(**said)
        assert (request.cache_dtype, scores.request.cache_dtype) == ("int8", cache)
        assert request.genres == ("oboe",) and scores.request.genres == ("unknown",)


@pytest.mark.long
def test_no_score(music):
    for nothing in (None, ""):
        assert music.request(seconds=0.5, score=nothing)[2] is None
    assert np.abs(music.generate(0.5, seed=2) - music.generate(0.5, seed=2, score=None)).max() > 1e-3


@pytest.mark.long
def test_a_prompt_of_notes_is_heard_as_the_priors_are_told_it(music, tiny_tokenizer, tmp_path):
    """In the composer's tokens: four voices on sixteenths, in a steady tempo."""
    prime = tiny_scores.score(0).cut(0, 1.5).clipped(1.5)
    uneven = dataclasses.replace(prime, notes=prime.notes + np.float32([0, 0.03, 0, 0, 0]))
    midi.write(tmp_path / "melody.mid", uneven)
    for prompt in (uneven, tmp_path / "melody.mid"):
        request, start, scores = music.request(seconds=2.5, prompt=prompt, genre="oboe")
        (piece,) = commissions.fulfilled(scores).pieces
        begun = composing.begun(music.composer.model, scores.prime)
        assert request.mode == "continue" and request.guide_by == ("score",)
        assert start.digest == prompts.played("", begun, tiny_tokenizer, "oboe").digest
        before = begun.notes[begun.ends < begun.seconds - 0.1]
        assert len(before) > 3
        np.testing.assert_allclose(piece.notes[: len(before), :2], before[:, :2], atol=1e-5)
        assert piece.seconds > 2
    assert start.name == str(tmp_path / "melody.mid")
    with pytest.raises(UserError, match="prompt=the score: there is no note to play"):
        music.generate(2.5, prompt=Score([]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"genre": "polka"}, "genre=polka: unknown genre"),
        ({"temperature": {"middle": 1.0}}, "temperature has a value for middle, but the tiers sampled are top"),
        ({"seconds": 1.0, "prompt": tiny_scores.score(0)}, "seconds=1"),
        ({"mode": "continue"}, "mode=continue needs prompt"),
    ],
)
def test_what_cannot_be_made_is_told_before_composing(music, monkeypatch, call, message):
    monkeypatch.setattr(composing, "compose", lambda *_, **__: pytest.fail("composed first"))
    with pytest.raises(UserError, match=message):
        music.generate(**({"seconds": 4.0} | call))


@pytest.mark.long
def test_an_interrupted_folder_goes_on_and_a_finished_one_composes_nothing(music, tmp_path, monkeypatch, capsys):
    out, said = tmp_path / "out", {"seconds": 1.0, "seed": 2, "temperature": {"score": 0.9}}
    with monkeypatch.context() as patch:
        patch.setattr(hierarchy.Hierarchy, "complete", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            music.write(out, **said)
    monkeypatch.setattr(composing.tier_sampler, "TierSampler", lambda *_, **__: pytest.fail("composed again"))
    monkeypatch.setattr(hierarchy, "SAMPLERS", hierarchy.SAMPLERS | {"autoregressive": TierSampler})
    music.write(out, **said)
    np.testing.assert_array_equal(output.read(str(out))[0]["request"]["seed"], 2)
    capsys.readouterr()
    music.write(out, **said)
    assert "is complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"holds the samples of another run .*score\.digest"):
        music.write(out, **said | {"temperature": {"score": 0.8}})


def _interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["synthesizer.render_score", "output.write_sample"])
def test_an_interrupted_composition_goes_on(composer, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        patch.setattr(f"musicgen_jax.sampling.score_output.{step}", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            composer.write(tmp_path / "out", 1.0, seed=5)
    with pytest.raises(UserError, match="holds the beginning of another run"):
        composer.write(tmp_path / "out", 1.0, seed=6)
    monkeypatch.setattr(composing.tier_sampler, "TierSampler", lambda *_, **__: pytest.fail("composed again"))
    composer.write(tmp_path / "out", 1.0, seed=5)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"000.wav", "000.mid", "codes.npz", "samples.json"}
    with pytest.raises(UserError, match="seconds=1300: the synthesizer plays at most 1200 s"):
        composer.write(tmp_path / "other", 1300.0)
    assert not (tmp_path / "other").exists()


@pytest.mark.long
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

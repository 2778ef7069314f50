"""Pieces of several sections, some of which return: tokens, notes and meter, alone and beside priors."""

import dataclasses
import json

import command_line
import jax
import numpy as np
import pytest
import tiny_scores
import tiny_workdirs
from tiny_scores import BAR, CELLS

import musicgen_jax
from musicgen_jax import composition
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import commissions, composing, endings, requests, tier_sampler
from musicgen_jax.scores.score import ONSET, Score

BAR_SECONDS = 2.0
BAR_CODES = 4 * BAR
SAID = {"seconds": 8 * BAR_SECONDS, "seed": 3, "form": "AABA"}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tiny_workdirs.write_composer(tmp_path_factory.mktemp("models") / "score")


@pytest.fixture(scope="module")
def composer(workdir):
    return composition.load(workdir)


def composed(composer: composition.Composer, **said) -> composing.Composed:
    return composing.compose(composer.model, requests.Request(**(SAID | said)))


def sections(codes: np.ndarray, number: int, bars: int = 2) -> list[np.ndarray]:
    return [codes[:, place * bars * BAR_CODES : (place + 1) * bars * BAR_CODES] for place in range(number)]


def notes_within(score: Score, first: float, last: float) -> np.ndarray:
    inside = (score.notes[:, ONSET] >= first - 1e-3) & (score.notes[:, ONSET] < last - 1e-3)
    return score.notes[inside] - np.float32([0, first, 0, 0, 0])


def test_a_section_returns_note_by_note(composer):
    """Sections of 96 tokens are longer than the composer's window, of 64."""
    made = composed(composer, num_samples=2)
    first, again, other, last = sections(made.codes, 4)
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(last, first)
    assert (first != other).any(axis=(1, 2)).all() and (first[0] != first[1]).any()
    for score in made.scores:
        a, b, c, d = (notes_within(score, 4 * place, 4 * place + 4) for place in range(4))
        np.testing.assert_allclose(b, a, atol=1e-4)
        np.testing.assert_allclose(d, a, atol=1e-4)
        assert len(c) and not np.array_equal(c[:, 0], a[:, 0])
        bars, ends = score.bars * CELLS, score.fermatas[:, 1]
        np.testing.assert_array_equal(np.diff(bars), BAR)
        assert all(np.abs(ends - border).min() < 1e-3 for border in (4, 8, 12, 16))


@pytest.fixture
def told(monkeypatch):
    """(tokens that are there, tokens that are to be, tokens that are composed, tokens of the piece, seed) of each
    sampler that is made, but for those of the first step."""
    found, make = [], tier_sampler.TierSampler

    def sampler(composer, request, known, num_codes, *, stop=None, beside, **said):
        if stop:
            whole = beside(np.zeros(1, int), np.zeros(1, np.int32))["length"]
            found.append((known.shape[1], stop, num_codes, *whole, request.seed))
        return make(composer, request, known, num_codes, stop=stop, beside=beside, **said)

    monkeypatch.setattr(tier_sampler, "TierSampler", sampler)
    return found


def test_what_is_drawn(composer, told):
    """The new sections alone, each from where the piece is; endings several times where a section returns behind."""
    composed(composer)
    section, lead = 2 * BAR_CODES, 16  # a quarter of a window
    draws = [
        (4, section - lead),
        *[(section - lead, section)] * endings.NUM_ENDINGS,
        (2 * section, 2 * section + 4),
        (2 * section + 4, 3 * section - lead),
        *[(3 * section - lead, 3 * section)] * endings.NUM_ENDINGS,
    ]
    assert [one[:2] for one in told] == draws
    assert {one[2:4] for one in told} == {(4 * section, 4 * section)}
    seeds = [seed for begin, _, _, _, seed in told if begin == section - lead]
    assert seeds[0] == SAID["seed"] and len(set(seeds)) == endings.NUM_ENDINGS
    told.clear()
    composed(composer, form="ABCD")
    assert len(told) == 7  # the first section, and of each other its first step and the rest


@pytest.mark.long
def test_the_ending_is_the_one_that_leads_best_to_what_returns(composer, monkeypatch):
    """Beside what a straight loop over the same draws says."""
    request = requests.Request(**SAID | {"num_samples": 3, "total_seconds": 16.0})
    num_codes, begin = 8 * BAR_CODES, np.full((3, 40, 1), 20, np.int32)
    following = np.random.default_rng(0).integers(2, 42, (3, 12, 1)).astype(np.int32)

    def beside(rows, start):
        position = np.full((len(rows), 16, 4), -1, np.int32)
        return {"length": np.full(len(rows), num_codes, np.int32), "position": position}

    found = endings.draw(composer.model, request, begin, num_codes, 56, following, beside)
    nats, drawn = [], []
    for attempt in range(endings.NUM_ENDINGS):
        with monkeypatch.context() as patch:
            patch.setattr(endings, "NUM_ENDINGS", 1)
            other = request.reseeded(attempt) if attempt else request
            drawn.append(endings.draw(composer.model, other, begin, num_codes, 56, following, beside))
        codes = np.concatenate([drawn[-1], following], axis=1)  # 68 tokens, of which a window has the last 64
        batch = tier_sampler.window_batch(
            composer.model, request, codes, None, np.arange(3), np.full(3, 4, np.int32)
        ) | beside(np.arange(3), None)
        logits = composer.model.functional.bind(*composer.model.weights)(batch)
        likely = np.asarray(jax.nn.log_softmax(logits))[:, 52:]
        nats.append(-np.take_along_axis(likely, following[..., None], -1).sum(axis=(1, 2, 3)))
    best = np.argmin(nats, axis=0)
    np.testing.assert_array_equal(found, np.stack(drawn)[best, np.arange(3)])
    assert len(set(best)) > 1 and (found[:, :40] == 20).all()
    again = dataclasses.replace(request, batch_size=2)
    np.testing.assert_array_equal(endings.draw(composer.model, again, begin, num_codes, 56, following, beside), found)


def test_one_section_is_no_form(composer):
    plain, one = (composed(composer, form=form, seconds=5.3) for form in ("", "A"))
    np.testing.assert_array_equal(plain.codes, one.codes)
    np.testing.assert_array_equal(plain.scores[0].fermatas, one.scores[0].fermatas)


@pytest.mark.long
def test_samples_are_what_they_are_in_other_batches(composer):
    alone, together = (composed(composer, num_samples=3, seeds=(5, 6, 7), batch_size=size) for size in (1, 3))
    np.testing.assert_array_equal(alone.codes, together.codes)
    np.testing.assert_array_equal(composed(composer, seed=6).codes, alone.codes[1:2])
    shorter = composed(composer, seconds=7.0, total_seconds=16.0)
    np.testing.assert_array_equal(shorter.codes, composed(composer).codes[:, : 42 * 4])


def test_sections_of_an_ending_and_its_first_step():
    """A bar of twelve sixteenths, of which a quarter of the window has eleven."""
    model = tiny_scores.composer_of(tiny_scores.model_config(context=44 * 4), tiny_scores.nothing)
    made = composed(composition.Composer(model, ""), seconds=2 * BAR_SECONDS, form="AA")
    np.testing.assert_array_equal(*sections(made.codes, 2, bars=1))
    assert composed(composition.Composer(model, ""), seconds=0.1, form="").codes.shape == (1, 4, 1)


def test_what_is_left_is_written_behind_the_last_section(composer):
    made = composed(composer, seconds=9 * BAR_SECONDS)
    first, _, _, last = sections(made.codes, 4)
    np.testing.assert_array_equal(last, first)
    assert made.codes.shape[1] == 9 * BAR_CODES and made.scores[0].fermatas[-1, 1] == pytest.approx(18.0)


def test_a_note_does_not_sound_on_into_a_section(composer):
    """Of a composer that only holds: the section begins with the same chord, struck again."""
    known = tiny_scores.GRID.from_pitches(np.full((2 * BAR, 4), 60)).reshape(1, -1, 1).astype(np.int32)

    def draw(codes, stop, following=None):
        return np.concatenate([codes, np.ones((1, stop - codes.shape[1], 1), np.int32)], axis=1)

    parts = composing.forms.sections("AB", 4 * BAR, BAR)
    tokens = composing.score_tokens.of(composer.model.config)
    codes = composing._in_sections(parts, 4 * BAR, known, tokens, draw, BAR)
    score = tokens.decode(codes[0, :, 0], 0.5)
    np.testing.assert_allclose(sorted(score.notes[:, ONSET]), [0.0] * 4 + [2 * BAR / 4 * 0.5] * 4)
    assert set(score.notes[:, 0]) == {60}


def test_a_prompt_is_the_beginning_of_the_first_section(composer):
    prime = tiny_scores.score(0).cut(0, 2).clipped(2)  # in quarters of 0.5 s, so that a bar is 1.5 s
    score = composer.compose(9.0, form="ABA", prompt=prime)
    first, other, last = (notes_within(score, start, start + 3) for start in (0, 3, 6))
    np.testing.assert_allclose(last, first, atol=1e-4)
    begun = notes_within(prime, 0, 1.5)
    np.testing.assert_allclose(first[: len(begun), :2], begun[:, :2], atol=1e-4)
    assert len(other) and not np.array_equal(other[:, 0], first[:, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"form": "A1"}, "form=A1: must be letters alone"),
        ({"form": "A B"}, "form=A B: must be letters alone"),
        ({"form": ["A", "B"]}, r"form=\['A', 'B'\]: must be text"),
        ({"form": "ABCDABCDE"}, "form=ABCDABCDE: 16 s have no bar for each of 9 sections: pass fewer, or 18 seconds"),
        ({"form": "ABCD", "prompt": tiny_scores.score(1)}, "form=ABCD: a section has .* bars, and the prompt"),
    ],
)
def test_bad_input(composer, monkeypatch, call, message):
    monkeypatch.setattr(composing.tier_sampler, "TierSampler", lambda *_, **__: pytest.fail("composed first"))
    with pytest.raises(UserError, match=message):
        composer.compose(**(SAID | call))


def test_words_and_forms_do_not_go_together(composer):
    worded = dataclasses.replace(composer.model.config, lyrics=True, characters=tuple("al"), lyric_tokens=16)
    model = dataclasses.replace(composer.model, config=worded)
    with pytest.raises(UserError, match="form=AABA and lyrics: words are sung once"):
        composition.Composer(model, "").compose(**SAID, lyrics="la")


def test_performances_have_no_form(tmp_path):
    composer = composition.load(tiny_workdirs.write_composer(tmp_path / "score", "performance"))
    with pytest.raises(UserError, match="form=AABA: only composers of a grid know bars"):
        composer.compose(**SAID)


@pytest.mark.long
@pytest.mark.parametrize("draws", range(1, 6))
def test_an_interrupted_piece_goes_on(composer, tmp_path, monkeypatch, draws):
    """Before and behind the first ending, behind the border, before the other ending, when all is composed."""
    said = SAID | {"num_samples": 2}
    write = composing.journals.Journal.write

    def stops(journal, name, codes):
        write(journal, name, codes)
        if len(list(journal.folder.glob("composed-*.npz"))) == draws:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(composing.journals.Journal, "write", stops)
        with pytest.raises(KeyboardInterrupt):
            composer.write(tmp_path / "out", **said)
    with pytest.raises(UserError, match=r"holds the beginning of another run \(request\.form"):
        composer.write(tmp_path / "out", **said | {"form": "ABA"})
    composer.write(tmp_path / "out", **said)
    whole = composed(composer, num_samples=2).codes
    np.testing.assert_array_equal(np.load(tmp_path / "out/codes.npz")["score"], whole)


@pytest.fixture(scope="module")
def models(tiny_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    tiny_workdirs.write(folder, tiny_tokenizer, ("top",), score=True, score_dropout=0.1, score_notes=32)
    tiny_workdirs.write_composer(folder / "composer")
    return folder


@pytest.mark.long
def test_beside_priors_the_composer_is_told_the_form(models):
    music = musicgen_jax.load(models)
    request, _, scores = music.request(**SAID)
    _, _, plain = music.request(**SAID | {"form": ""})
    assert request.form == scores.request.form == "AABA" and scores.facts != plain.facts
    (piece,) = commissions.fulfilled(scores).pieces
    np.testing.assert_array_equal(piece.notes, music.compose(**SAID).notes)
    for said in ({"score": None}, {"score": tiny_scores.score(0)}):
        with pytest.raises(UserError, match="form=AABA: there is no composer who writes"):
            music.generate(**SAID | said)
    with pytest.raises(UserError, match="form=ABCDEFGHI: 16 s have no bar for each of 9 sections"):
        music.generate(**SAID | {"form": "ABCDEFGHI"})


@pytest.mark.long
def test_the_command(workdir, models, tmp_path):
    def run(*flags):
        return command_line.run("musicgen_jax.sample", f"--out={tmp_path / 'out'}", *flags)

    done = run(f"--score={workdir}", "--form=ABA", "--seconds=6", "--num_samples=1", "--seed=3")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/samples.json").read_text())["request"]["form"] == "ABA"
    first, _, last = sections(np.load(tmp_path / "out/codes.npz")["score"], 3, bars=1)
    np.testing.assert_array_equal(last, first)
    for flags, message in (
        ((f"--score={workdir}", "--form=A-B"), "--form=A-B: must be letters alone"),
        ((f"--score={workdir}", "--form=ABCDE", "--seconds=8"), "pass fewer, or 10 --seconds or more"),
        (
            (f"--model={models}", "--form=AB", "--score="),
            "--form=AB: there is no composer who writes: pass --score=DIR",
        ),
    ):
        failed = run(*flags)
        assert failed.returncode == 1 and message in failed.stderr and failed.stderr.count("\n") == 1, failed.stderr

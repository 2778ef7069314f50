"""New scores by a composer: tokens drawn window by window, and the notes that they are."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import forms, meter, score_tokens
from musicgen_jax.data import lyrics
from musicgen_jax.priors import trained
from musicgen_jax.sampling import endings, journals, options, requests, sampler_settings, tier_sampler
from musicgen_jax.scores import performance_events
from musicgen_jax.scores.grid import CELLS
from musicgen_jax.scores.score import Score

MARGIN = 1.25  # by which a performance gets longer in tokens, where it is shorter than asked in seconds
MAX_BEGINNINGS = 20  # that are drawn for a piece; a composer that has learned so little may begin as it will
MAX_ROUNDS = 13  # in which a performance gets longer: one that has not come to its end by then is left as it is
Draw = Callable[..., np.ndarray]  # `_sampled` of a composer and a request


@dataclasses.dataclass(frozen=True)
class Composed:
    """What a composer wrote.

    Attributes:
      codes: int32 [N, T, 1], the tokens; those of a performance may go on behind the end of its score.
      scores: of each sample.
    """

    codes: np.ndarray
    scores: tuple[Score, ...]


def compose(
    composer: trained.TrainedPrior,
    request: requests.Request,
    prime: Score | None = None,
    *,
    journal: journals.Journal | None = None,
    show_progress: bool = False,
) -> Composed:
    """Composes `request.num_samples` scores of `request.seconds`.

    Args:
      composer: of any tokens.
      request: seconds, number, seed, labels, settings and hop. Pieces end where the samples do, unless `total_seconds`
        says otherwise. Phrases of a grid are drawn as `meter.planned` does.
      prime: how each of them begins.
      journal: keeps the tokens that are drawn, and gives back those of an interrupted run.
      show_progress: a bar.

    Raises:
      UserError: as `validate`.
    """
    validate(composer, request, prime)
    request = dataclasses.replace(request, total_seconds=request.total_seconds or request.seconds)
    tokens = score_tokens.of(composer.config)
    known = np.zeros(0, np.int16) if prime is None else _encoded(prime, tokens)
    draw = functools.partial(_sampled, composer, request, journal, show_progress)
    if composer.config.tokens == "grid":
        return _on_a_grid(composer.config, request, prime, known, tokens, draw)
    return _performances(composer.config, request, known, tokens, draw)


def validate(composer: trained.TrainedPrior, request: requests.Request, prime: Score | None = None) -> None:
    """Raises UserError where the request does not fit the composer, or where the prime is as long as the whole, has no
    note, or cannot be told in the composer's tokens."""
    request.validate_values()
    model = composer.config
    for words in request.all_words():
        composer.require_told(words, request.total_seconds or request.seconds)
    told = composer.hears_lyrics or not request.lyrics
    rule = "train one with --config=configs/symbolic.py:lyrics=true"
    config.require(told, f"`lyrics`: this composer is not told lyrics: leave them out, or {rule}")
    rule = "words and a beginning do not go together: leave one of them out"
    config.require(prime is None or not request.lyrics, f"`lyrics`: the score continues a prompt; {rule}")
    for option in options.OPTIONS:
        if option.type == "by_stream":
            value = operator.attrgetter(option.field)(request)
            sampler_settings.require_sampled(option.name, value, [model.tier])
    composer.require_guidance(request.settings.of("guidance", model.tier), request.guide_by)
    exact = request.cache_dtype == "compute" or model.int8_cache
    config.require(exact, f"`cache_dtype`={request.cache_dtype}: a composer of such layers knows none but compute")
    _require_form(composer.config, request, prime)
    if prime is not None:
        known = _encoded(prime, score_tokens.of(model))
        steps = len(known) / model.voices if model.tokens == "grid" else 0
        given = steps * quarter_seconds(model, prime) / CELLS if steps else _elapsed(known)
        rule = f"`seconds`={request.seconds:g}: the score that is to be continued lasts {given:.1f} s already"
        config.require(given < request.seconds, rule)


def _require_form(model: config.ComposerConfig, request: requests.Request, prime: Score | None) -> None:
    """Raises UserError where the composer cannot give a piece of this length, or that begins so, its form."""
    form = request.form
    if not form:
        return
    config.require(model.tokens == "grid", f"`form`={form}: only composers of a grid know bars: leave it out")
    rule = "words are sung once, and sections return: leave one of them out"
    config.require(not request.lyrics, f"`form`={form} and `lyrics`: {rule}")
    quarter, bar = quarter_seconds(model, prime), forms.unit(model)
    seconds = request.total_seconds or request.seconds
    steps = _steps(seconds, quarter)
    least = math.ceil(len(form) * bar * quarter / CELLS * 10) / 10
    rule = f"{seconds:g} s have no bar for each of {len(form)} sections: pass fewer, or {least:g} `seconds` or more"
    config.require(steps >= len(form) * bar, f"`form`={form}: {rule}")
    if prime is not None:
        known = len(_encoded(prime, score_tokens.of(model))) // model.voices
        length = forms.sections(form, steps, bar)[0].stop
        rule = f"a section has {length / bar:g} bars, and the prompt {known / bar:.1f}: pass fewer sections, or more"
        config.require(known <= length, f"`form`={form}: {rule} `seconds`, or a shorter prompt")


def begun(composer: trained.TrainedPrior, prime: Score) -> Score:
    """The prime as the scores that are composed have it: told in tokens, those of a grid in one steady tempo.

    Raises:
      UserError: it has no note, or cannot be told.
    """
    tokens = score_tokens.of(composer.config)
    return tokens.decode(_encoded(prime, tokens), quarter_seconds(composer.config, prime))


def quarter_seconds(model: config.ComposerConfig, prime: Score | None = None) -> float:
    """Mean length of a quarter in the training scores of a grid, or in a given beginning."""
    if prime is not None and prime.quarters is not None:
        return float((prime.quarters[-1] - prime.quarters[0]) / (len(prime.quarters) - 1))
    return model.voices * CELLS / model.codes_per_second


def _encoded(prime: Score, tokens: score_tokens.Tokens) -> np.ndarray:
    codes = tokens.encode(prime)
    config.require(len(codes) > 0, "`prompt`: the score that is to be continued has no note")
    return codes


def _on_a_grid(
    model: config.ComposerConfig,
    request: requests.Request,
    prime: Score | None,
    known: np.ndarray,
    tokens: score_tokens.Tokens,
    draw: Draw,
) -> Composed:
    quarter = quarter_seconds(model, prime)
    num_steps, whole = (_steps(seconds, quarter) for seconds in (request.seconds, request.total_seconds))
    sections = forms.sections(request.form, whole, forms.unit(model))
    begin = np.zeros((0, 4), np.int32) if prime is None else meter.positions(prime, len(known) // model.voices)
    keys = request.keys("sample/meter")
    plans = np.stack([meter.planned(model, whole, begin, _generator(key), sections) for key in keys])

    def beside(rows: np.ndarray, start: np.ndarray) -> dict[str, np.ndarray]:
        steps = start[:, None] // model.voices + np.arange(model.context // model.voices)
        inside = (steps < whole)[..., None]
        return {"position": np.where(inside, plans[rows[:, None], np.minimum(steps, whole - 1)], -1)}

    drawn = functools.partial(
        draw,
        num_codes=num_steps * model.voices,
        whole=whole * model.voices,
        position=beside if model.hears_meter else None,
    )
    given = np.broadcast_to(known.astype(np.int32)[:, None], (request.num_samples, len(known), 1))
    lead = min(forms.unit(model), model.context // model.voices // 4)  # sixteenths
    codes = _in_sections(sections, num_steps, given, tokens, drawn, lead)
    scores = [
        _with_meter(tokens.decode(row[:, 0].astype(np.int16), quarter), plan[:num_steps])
        for row, plan in zip(codes, plans, strict=True)
    ]
    sung = [one for one in lyrics.syllables(request.lyrics, request.total_seconds) if one[0] < request.seconds]
    return Composed(codes, tuple(dataclasses.replace(score, syllables=tuple(sung)) for score in scores))


def _in_sections(
    sections: Sequence[forms.Section],
    num_steps: int,
    codes: np.ndarray,
    tokens: score_tokens.Grid,
    draw: Draw,
    lead: int,
) -> np.ndarray:
    """Composes section by section: what returns is copied, and the next one goes on from it.

    Args:
      sections: of the piece.
      num_steps: S, sixteenths to compose.
      codes: how it begins, int32 [N, P, 1], P in the first section.
      tokens: of the composer.
      draw: draws the tokens of a piece of this length.
      lead: sixteenths of an ending that is chosen to lead to what returns, and of what returns that are looked at.

    Returns:
      int32 [N, S * V, 1].
    """
    voices = tokens.num_first
    for section, following in zip(sections, (*sections[1:], None), strict=True):
        stop = min(section.stop, num_steps) * voices
        if section.source is not None:
            begin = section.source * voices
            codes = np.concatenate([codes, codes[:, begin : begin + stop - codes.shape[1]]], axis=1)
            continue
        if section.letter and 0 < section.start < num_steps:
            # A note that sounds on over the border would be another one where either section returns.
            codes = draw(codes, stop=(section.start + 1) * voices)
            codes = np.stack([tokens.struck(row[:, 0]) for row in codes])[..., None]
        again = None
        if following is not None and following.source is not None and section.stop < num_steps:
            ending = stop - lead * voices
            codes = draw(codes, stop=ending) if codes.shape[1] < ending else codes
            begin = following.source * voices
            again = codes[:, begin : begin + lead * voices]
        codes = draw(codes, stop=stop, following=again) if codes.shape[1] < stop else codes
    return codes


def _steps(seconds: float, quarter: float) -> int:
    """Sixteenths that begin in so many seconds, of which a quarter lasts `quarter`."""
    return math.ceil(round(seconds / quarter * CELLS, 6))


def _with_meter(score: Score, plan: np.ndarray) -> Score:
    """The score with the bars and the held ends of phrases that were planned, int32 [S, 4]."""
    bars = np.flatnonzero(plan[:, 1] == 0) / CELLS
    upbeat = plan[0, 1] if len(plan) else -1
    bars = np.concatenate([[-upbeat / CELLS], bars]) if upbeat > 0 else bars
    held = np.diff((plan[:, 2] == 1).astype(int), prepend=0, append=0)
    ends = np.stack([np.flatnonzero(held == 1), np.flatnonzero(held == -1)], axis=1) / CELLS
    return Score(score.notes, score.quarters, bars if len(bars) else None, score.second_at(ends))


def _performances(
    model: config.ComposerConfig,
    request: requests.Request,
    known: np.ndarray,
    tokens: score_tokens.Tokens,
    draw: Draw,
) -> Composed:
    rate = model.codes_per_second
    num_codes = len(known) + math.ceil((request.seconds - _elapsed(known)) * rate)
    later = math.ceil((request.total_seconds - request.seconds) * rate)
    codes = known
    for _ in range(MAX_ROUNDS):
        codes = draw(codes, num_codes, num_codes + later)
        if min(_elapsed(row[:, 0]) for row in codes) >= request.seconds:
            break
        num_codes = math.ceil(num_codes * MARGIN)
    scores = (tokens.decode(row[:, 0].astype(np.int16), 0.0) for row in codes)
    return Composed(codes, tuple(score.cut(0, request.seconds).clipped(request.seconds) for score in scores))


def _elapsed(events: np.ndarray) -> float:
    """Seconds that events of a performance take."""
    shifts = events[(events >= performance_events.SHIFT) & (events < performance_events.LOUDNESS)]
    return float((shifts - performance_events.SHIFT + 1).sum() / performance_events.STEPS_PER_SECOND)


def _sampled(
    composer: trained.TrainedPrior,
    request: requests.Request,
    journal: journals.Journal | None,
    show_progress: bool,
    known: np.ndarray,
    num_codes: int,
    whole: int,
    position: tier_sampler.Beside | None = None,
    stop: int | None = None,
    following: np.ndarray | None = None,
) -> np.ndarray:
    """int32 [N, stop, 1].

    Args:
      composer: of any tokens.
      request: what to compose.
      journal: keeps the result.
      show_progress: a bar.
      known: how they begin; int [P], the same for all samples, or [N, P, 1].
      num_codes: how many tokens are composed, the known ones included.
      whole: how many the piece has, which the composer is told, as in training.
      position: the meter of some windows, for a composer that hears it.
      stop: how many of the tokens are drawn now, the known ones included; None is all.
      following: tokens that return behind these, or the first of them, int32 [N, F, 1]: an ending is drawn.
    """
    stop = num_codes if stop is None else stop
    name = f"composed-{stop:09d}"
    kept = journal.read(name) if journal else None
    if kept is not None:
        return kept

    def beside(rows: np.ndarray, start: np.ndarray) -> dict[str, np.ndarray]:
        return {"length": np.full(len(rows), whole, np.int32)} | (position(rows, start) if position else {})

    begin = np.broadcast_to(known.reshape(-1, 1), (request.num_samples, len(known), 1)) if known.ndim == 1 else known
    if not begin.size:
        begin = _beginnings(composer, request, beside)
    if following is not None and following.size:
        codes = endings.draw(composer, request, begin, num_codes, stop, following, beside)
    elif begin.shape[1] >= stop:
        codes = begin[:, :stop]
    else:
        sampler = tier_sampler.TierSampler(
            composer, request, begin, num_codes, stop=stop, beside=beside, show_progress=show_progress
        )
        while sampler.done < stop:
            sampler.advance(None)
        codes = sampler.codes[:, :stop]
    if journal:
        journal.write(name, codes)
    return codes


def _beginnings(composer: trained.TrainedPrior, request: requests.Request, beside: tier_sampler.Beside) -> np.ndarray:
    """The first tokens of each piece, int32 [N, P, 1], drawn again where no piece can begin like this.

    Most windows of training begin within a piece, many with a note that is held. Of what has begun with silence, little
    more would come: the composer has never seen such a piece.
    """
    tokens = score_tokens.of(composer.config)
    codes = np.zeros((request.num_samples, tokens.num_first, 1), np.int32)
    missing = np.full(request.num_samples, True)
    for attempt in range(MAX_BEGINNINGS):
        other = request.reseeded(attempt) if attempt else request
        sampler = tier_sampler.TierSampler(composer, other, codes[:, :0], tokens.num_first, beside=beside)
        sampler.advance(None)
        codes[missing] = sampler.codes[missing]
        missing &= ~tokens.can_begin(codes[..., 0])
        if not missing.any():
            break
    return codes


def _generator(key: jax.Array) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))

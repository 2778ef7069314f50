"""Scores of a prepared data set -> training windows of a composer's tokens."""

import dataclasses
from collections.abc import Callable, Iterator

import grain
import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import lyric_windows, meter, places, score_reader, score_tokens
from musicgen_jax.data import labels, loader, lyric_facts, lyrics, shards
from musicgen_jax.runtime import console
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.grid import CELLS
from musicgen_jax.scores.score import PITCH, Score

NUM_TEMPOS = 5  # by which a performance is told, evenly spaced: each piece is encoded once in each
KEPT_PIECES = 4096  # encoded, in memory


def resolve(model: config.ComposerConfig, directory: str) -> config.ComposerConfig:
    """The composer's config with what only the scores know: vocabulary, tempo, meter, labels.

    Raises:
      NotFoundError: no data set in `directory`.
      UserError: it has no scores, or none that the tokens can tell.
    """
    pieces = {split: score_reader.read(directory, split) for split in shards.split_names(directory)}
    config.require(bool(pieces.get("train")), f"{directory} has no score to train with: {score_reader.WRITERS}")
    if model.tokens == "grid":
        pitches = np.concatenate([piece.score.notes[:, PITCH] for split in pieces.values() for piece in split])
        lowest, highest = (int(pitches.min()), int(pitches.max())) if len(pitches) else (60, 60)
        usual = dataclasses.asdict(meter.usual(piece.score.from_first_note() for piece in pieces["train"]))
        model = dataclasses.replace(model, lowest_pitch=lowest, highest_pitch=highest, **usual)
    tokens = score_tokens.of(model)
    told = _told(pieces["train"], tokens, directory)
    seconds = sum(piece.score.seconds for piece, _ in told)
    resolved = dataclasses.replace(
        model,
        num_codes=tokens.num_codes,
        codes_per_second=sum(len(codes) for _, codes in told) / seconds,
        track_seconds=seconds / len(told),
        **labels.resolve(model, [piece.labels for piece in pieces["train"]], directory),
    )
    if model.lyrics:
        sung = [lyric_facts.of(sung_in(piece.score, resolved), "score") for piece, _ in told if piece.score.syllables]
        remedy = "prepare chorales or MIDI files with words, or train without: --config.model.lyrics=false"
        config.require(bool(sung), f"{directory}: no score of the training split has syllables: {remedy}")
        resolved = dataclasses.replace(resolved, characters=lyric_windows.vocabulary(sung))
        resolved = dataclasses.replace(resolved, lyric_tokens=lyric_windows.num_tokens(sung, resolved))
    resolved.validate()
    return resolved


def inherited(model: config.ComposerConfig, directory: str, grows: bool) -> tuple[config.ComposerConfig, list[str]]:
    """The config of a trained composer that is to learn other scores, and sentences that say what is new to it; see
    `code_dataset.inherited`. Scores beyond its pitches are left out, as all that its tokens cannot tell.

    Raises:
      NotFoundError: no data set in `directory`.
      UserError: it has no scores.
    """
    pieces = score_reader.read(directory, "train")
    config.require(bool(pieces), f"{directory} has no score to train with: {score_reader.WRITERS}")
    vocabularies, said = labels.extended(model, [piece.labels for piece in pieces], grows)
    return dataclasses.replace(model, vocabularies=vocabularies), said


def sung_in(score: Score, model: config.ComposerConfig) -> lyrics.Lyrics | None:
    """The syllables of a score in the time of a composer's tokens on a grid, at the tempo that is usual to it; None
    where it has none."""
    if not score.syllables:
        return None
    per_quarter = CELLS * model.voices / model.codes_per_second
    seconds = score.quarter_at(np.array([second for second, _ in score.syllables])) * per_quarter
    return lyrics.timed(list(zip(seconds.tolist(), (text for _, text in score.syllables), strict=True)))


def _told(
    pieces: list[score_reader.Piece], tokens: score_tokens.Tokens, directory: str
) -> list[tuple[score_reader.Piece, np.ndarray]]:
    """The pieces that the tokens can tell, each from its first note on, with their codes.

    What begins with silence in a few pieces would let one of many composed ones never begin. Says how many pieces
    cannot be told, and why the first is one.

    Raises:
      UserError: there are none.
    """
    told, reasons = [], []
    for piece in pieces:
        piece = dataclasses.replace(piece, score=piece.score.from_first_note())
        try:
            codes = tokens.encode(piece.score)
        except UserError as error:
            reasons.append(f"{piece.track_id}: {error}")
        else:
            told += [(piece, codes)] if len(codes) else []
    first = f" ({reasons[0]})" if reasons else ""
    config.require(bool(told), f"{directory}: none of {len(pieces)} scores can be told in these tokens{first}")
    if reasons:
        console.say(f"note: {directory}: {len(reasons)} of {len(pieces)} scores are left out{first}")
    return told


class ScoreWindows(places.Places):
    """Windows of `model.context` tokens of the scores of one split; picklable random access for Grain workers."""

    def __init__(self, directory: str, split: str, model: config.ComposerConfig):
        self.model, self.tokens = model, score_tokens.of(model)
        told = _told(score_reader.read(directory, split), self.tokens, directory)
        self.pieces = [piece for piece, _ in told]
        self._codes = {(index, 1.0): codes for index, (_, codes) in enumerate(told)}
        self._positions = [
            # Behind the end of a piece nothing is looked at, but windows go on there.
            meter.positions(piece.score, len(codes) // model.voices + model.context // model.voices)
            for piece, codes in (told if model.hears_meter else ())
        ]
        self._sung = [sung_in(piece.score, model) for piece, _ in (told if model.lyrics else ())]
        self._shifts = [self.tokens.shifts(codes) for _, codes in told]
        super().__init__([len(codes) for _, codes in told], model.context, model.voices)

    def codes(self, index: int, tempo: float = 1.0) -> np.ndarray:
        """int16 [T] of a whole piece, `tempo` times as fast."""
        found = self._codes.get((index, tempo))
        if found is None:
            found = self.tokens.encode(self.pieces[index].score.stretched(1 / tempo))
            if len(self._codes) < KEPT_PIECES + len(self.pieces):
                self._codes[index, tempo] = found
        return found

    def shifts(self, index: int, most: int) -> range:
        """The transpositions of a piece that stay in the vocabulary, by at most so many semitones."""
        there = self._shifts[index]
        return range(max(there.start, -most), min(there.stop, most + 1))

    def window(self, index: int, start: int, semitones: int = 0, tempo: float = 1.0) -> dict[str, np.ndarray]:
        """One example.

        Args:
          index: of the piece.
          start: first token, a multiple of `model.voices`; less where the piece is shorter in this tempo.
          semitones: by which it is transposed, of `shifts`.
          tempo: by which it is faster.

        Returns:
          "codes" int32 [T, 1]; "mask" bool [T], False behind the piece's end, where codes are 0; "labels"
          int32 [L], see `labels.encode_all`; "start", "length" int32 scalars, in tokens; of a grid, "position" int32
          [S, 4] as `meter.positions` has it; of a composer that is told the lyrics those of `lyric_windows.window`.
        """
        model, piece, whole = self.model, self.pieces[index], self.codes(index, tempo)
        start = min(start, max(0, len(whole) - 1) // model.voices * model.voices)
        codes = whole[start : start + model.context]
        codes = self.tokens.transposed(codes, semitones) if semitones else codes
        example = {
            "codes": np.pad(codes.astype(np.int32), (0, model.context - len(codes)))[:, None],
            "mask": np.arange(model.context) < len(codes),
            "labels": labels.encode_all(piece.labels, model),
            "start": np.int32(start),
            "length": np.int32(len(whole)),
        }
        if model.hears_meter:
            first, size = start // model.voices, model.context // model.voices
            example["position"] = self._positions[index][first : first + size]
        if model.lyrics:
            begin = start / model.codes_per_second
            example |= lyric_windows.window(model, self._sung[index], begin, model.lyric_tokens)
        return example


class RandomScoreWindow(grain.transforms.RandomMap):
    """Slot of `ScoreWindows.slots` -> example at a random place, in a random key and tempo."""

    def __init__(self, windows: ScoreWindows, augmentation: config.AugmentationConfig, unknown_labels: float = 0.0):
        self._windows, self._most, self._unknown_labels = windows, augmentation.transposition, unknown_labels
        share = augmentation.tempo if windows.model.tokens == "performance" else 0.0
        self._tempos = np.linspace(1 - share, 1 + share, NUM_TEMPOS) if share else np.ones(1)

    def random_map(self, slot: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        tempo = float(rng.choice(self._tempos))
        index, start = self._windows.place(slot, rng)
        semitones = int(rng.choice(self._windows.shifts(index, self._most)))
        example = self._windows.window(index, start, semitones, tempo)
        example = lyric_windows.with_others(example, rng) if self._windows.model.lyrics else example
        return labels.partly_told(example, self._unknown_labels, rng)


def training_batches(run: config.ComposerTraining, mesh: jax.sharding.Mesh) -> Callable[[int], Iterator[loader.Batch]]:
    """`batches_from(step)` over random windows of the train split; arrays as `ScoreWindows.window`, with a leading
    [B]."""
    windows = ScoreWindows(run.data.path, "train", run.model)
    return loader.training_batches(
        windows.slots, RandomScoreWindow(windows, run.augmentation, run.unknown_labels), run.data, mesh
    )


def validation_batches(run: config.ComposerTraining, mesh: jax.sharding.Mesh) -> Callable[[], Iterator[loader.Batch]]:
    """The same evenly spaced windows of the validation split every time; none where there is no such split."""
    if "validation" not in shards.split_names(run.data.path):
        return lambda: iter(())
    return places.spread_batches(ScoreWindows(run.data.path, "validation", run.model), run, mesh)

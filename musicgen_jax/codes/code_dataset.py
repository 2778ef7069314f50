"""What a prior is trained on: windows of one stream's codes with all that it is told, read from code shards."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import grain
import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import caption_vectors, code_shards, lyric_windows, places
from musicgen_jax.data import labels, loader, shards
from musicgen_jax.scores import excerpts


def resolve(model: config.PriorConfig, directory: str) -> config.PriorConfig:
    """The prior's config with what only the codes know: their number and rate, labels, tokenizer, stream above.

    Args:
      model: names the stream, `tier`.
      directory: of code shards; labels and lengths are those of its train split.

    Raises:
      NotFoundError: no codes in `directory`, or no vectors of the captions that the model is to be told.
      UserError: they have no such stream; the codes of the stream above are of another number; the context is no
        multiple of the upsampling factor.
    """
    layout = code_shards.read_facts(directory).layout
    train = [entry for entry in code_shards.read_index(directory, layout) if entry.split == "train"]
    stream = layout.stream(model.tier)
    if stream.above:
        above, sizes = layout.stream(stream.above), (stream.num_codebooks, stream.num_codes)
        fits = (above.num_codebooks, above.num_codes) == sizes
        config.require(fits, f"{directory}: codes of {above.name} and {model.tier} differ in codebooks or entries")
    resolved = dataclasses.replace(
        model,
        num_codes=stream.num_codes,
        num_codebooks=stream.num_codebooks,
        above=stream.above,
        upsampling=layout.upsampling(model.tier),
        codes_per_second=layout.frames_per_second(model.tier),
        vqvae=layout.fingerprint,
        track_seconds=float(np.mean([entry.num_samples // layout.hop_length for entry in train]))
        * layout.hop_length
        / layout.sample_rate,
        **labels.resolve(model, [entry.labels for entry in train], directory),
    )
    if model.score:
        entries = code_shards.read_index(directory, layout)
        _require_scores(directory, train, model)
        resolved = dataclasses.replace(resolved, score_notes=most_notes(entries, resolved))
    if model.lyrics:
        _require_lyrics(directory, train, model)
        told = [entry.lyrics for entry in train]
        resolved = dataclasses.replace(resolved, characters=lyric_windows.vocabulary(told))
        resolved = dataclasses.replace(resolved, lyric_tokens=lyric_windows.num_tokens(told, resolved))
    if model.text:
        resolved = dataclasses.replace(resolved, **caption_vectors.resolve(model, directory, train))
    resolved.validate()
    return resolved


def inherited(model: config.PriorConfig, directory: str, grows: bool) -> tuple[config.PriorConfig, list[str]]:
    """The config of a trained prior that is to learn other codes, and sentences that say what is new to it.

    It stays what it is, but for the values of labels (see `labels.extended`) and the room for notes and words.

    Args:
      model: of the trained prior.
      directory: of code shards.
      grows: whether it learns new values of its labels.

    Raises:
      NotFoundError: no codes in `directory`.
      UserError: they are of another tokenizer, or lack what the prior was never trained without.
    """
    layout = code_shards.read_facts(directory).layout
    config.require(
        layout.fingerprint == model.vqvae,
        f"config.data.path={directory} holds codes of the tokenizer {layout.fingerprint}, and the model knows those of "
        f"{model.vqvae}: extract the codes with the tokenizer that the model was trained with",
    )
    layout.stream(model.tier)
    entries = code_shards.read_index(directory, layout)
    train = [entry for entry in entries if entry.split == "train"]
    config.require(bool(train), f"{directory} has no training split: prepare more tracks")
    vocabularies, said = labels.extended(model, [entry.labels for entry in train], grows)
    rooms, lacking = _rooms(model, directory, entries, train)
    changed = dataclasses.replace(model, vocabularies=vocabularies, **rooms)
    changed.validate()
    if model.pattern == "stereo_delay":
        said = [*said, "the data are of one channel: the model of two is trained with the same in both"]
    return changed, [*said, *(f"the data have no {name}: the model is trained as without" for name in lacking)]


def may_be_of(model: config.PriorConfig, directory: str, inherits: bool) -> bool:
    """Whether these may be the codes that a model was trained on, which its config knows; `inherits`: of one that began
    from another, as far as that says.

    Raises:
      NotFoundError, UserError: as `resolve` or `inherited`.
    """
    return (inherited(model, directory, False)[0] if inherits else resolve(model, directory)) == model


def _rooms(
    model: config.PriorConfig,
    directory: str,
    entries: list[code_shards.TrackEntry],
    train: list[code_shards.TrackEntry],
) -> tuple[dict[str, object], list[str]]:
    """How many notes, words and vectors of captions a window may have of these tracks, as fields of a trained model;
    and what it may be told that none of them has. Raises UserError where it was never trained without."""
    rooms: dict[str, object] = {}
    lacking: list[str] = []
    if model.score and (any(entry.score.kind for entry in train) or not model.score_dropout):
        _require_scores(directory, train, model)
        rooms["score_notes"] = most_notes(entries, model)
    elif model.score:
        lacking.append("scores")
    if model.lyrics and (any(entry.lyrics.kind for entry in train) or not model.lyrics_dropout):
        _require_lyrics(directory, train, model)
        rooms["lyric_tokens"] = lyric_windows.num_tokens([entry.lyrics for entry in train], model)
    elif model.lyrics:
        lacking.append("lyrics")
    rooms = {name: max(size, getattr(model, name)) for name, size in rooms.items()}
    if model.text and (any(text for entry in train for text in entry.texts) or not model.text_dropout):
        rooms |= _of_captions(model, directory, train)
    elif model.text:
        caption_vectors.Vectors(directory, model.text_encoder)
        lacking.append("captions")
    return rooms, lacking


def _of_captions(model: config.PriorConfig, directory: str, train: list[code_shards.TrackEntry]) -> dict[str, object]:
    """What the captions of these tracks change of a trained model, which their encoder must fit."""
    found = caption_vectors.resolve(model, directory, train)
    config.require(
        found["text_width"] == model.text_width,
        f"`text_encoder`: its vectors have {found['text_width']} numbers, and the model reads {model.text_width}: pass "
        "the encoder that the model was trained with",
    )
    return {"text_encoder": found["text_encoder"], "text_tokens": max(found["text_tokens"], model.text_tokens)}


def _require_scores(directory: str, train: list[code_shards.TrackEntry], model: config.PriorConfig) -> None:
    """Raises UserError where a model that is to be told the score cannot learn to be told it of these tracks."""
    scored = sum(bool(entry.score.kind) for entry in train)
    rule = "or train without: --config.model.score=false"
    config.require(
        scored > 0,
        f"{directory} has no scores of its training tracks: prepare the data with scores (chorales, or recordings with "
        f".mid files beside them) and extract the codes again, {rule}",
    )
    config.require(
        scored == len(train) or model.score_dropout > 0,
        f"--config.model.score_dropout=0: {len(train) - scored} of {len(train)} training tracks of {directory} have no "
        f"score, which takes a share of windows whose score is hidden: 0.15, say, {rule}",
    )


def _require_lyrics(directory: str, train: list[code_shards.TrackEntry], model: config.PriorConfig) -> None:
    """Raises UserError where a model that is to be told the lyrics cannot learn to be told them of these tracks."""
    worded, rule = sum(bool(entry.lyrics.kind) for entry in train), "or train without: --config.model.lyrics=false"
    config.require(
        worded > 0,
        f"{directory} has no lyrics of its training tracks: prepare recordings with .lrc or .txt files beside them and "
        f"extract the codes again, {rule}",
    )
    config.require(
        worded == len(train) or model.lyrics_dropout > 0,
        f"--config.model.lyrics_dropout=0: {len(train) - worded} of {len(train)} training tracks of {directory} have "
        f"no lyrics, which takes a share of windows whose lyrics are hidden: 0.15, say, {rule}",
    )


def most_notes(entries: Sequence[code_shards.TrackEntry], model: config.PriorConfig) -> int:
    """Rows for the notes of any window of these tracks, and those that it is told of ahead."""
    seconds = model.context / model.codes_per_second + model.score_ahead
    return excerpts.rows_for((entry.score.crowds for entry in entries), seconds)


def of_both_channels(codes: np.ndarray, model: config.PriorConfig) -> np.ndarray:
    """Codes [T, Q] of one channel as a model of two has them, each codebook twice; for any other as they are."""
    return np.repeat(codes, 2, axis=1) if model.pattern == "stereo_delay" else codes


class Windows(places.Places):
    """Windows of `model.context` frames of one stream in one split; picklable random access for Grain workers.

    Attributes:
      tracks: the codes.
      entries: of the index, one a track.
      hop_length: samples of a frame of the stream.
      sings: whether windows have the words around them, see `lyric_windows.window`.
      vectors: of the captions; None where windows have none.
    """

    def __init__(self, directory: str, split: str, model: config.PriorConfig):
        self.model, self.tracks = model, code_shards.Tracks(directory, split)
        self.entries = self.tracks.entries
        self.hop_length = self.tracks.layout.stream(model.tier).hop_length
        super().__init__(map(self.num_frames, range(len(self.entries))), model.context, model.multiple)
        self.size_of_notes = max(model.score_notes, most_notes(self.entries, model)) if model.score else 0
        told = [entry.lyrics for entry in self.entries]
        self.sings = model.lyrics is True  # what published priors are told of words, `priors.jukebox_batch` makes
        self.size_of_lyrics = max(model.lyric_tokens, lyric_windows.num_tokens(told, model)) if self.sings else 0
        self.vectors = caption_vectors.Vectors(directory, model.text_encoder) if model.text else None

    def num_frames(self, track: int) -> int:
        """Frames of this stream in a track, given by its index among `entries`."""
        return self.entries[track].num_samples // self.hop_length

    def window(self, track: int, start: int) -> dict[str, np.ndarray]:
        """One example.

        Args:
          track: index of the entry.
          start: first frame; must be a multiple of the upsampling factor.

        Returns:
          "codes" int32 [T, Q], for a model of two channels the same in both; "mask" bool [T], False behind the track's
          end, where codes are 0; "above" int32 [T / upsampling, Q], absent where there is no stream above; "labels"
          int32 [L], see `labels.encode_all`; "start", "length" int32 scalars, in frames of this stream. Of a model that
          is told the score "notes" float32 [N, 5], see `conditions.score.planes`, and "scored", bool: whether the track
          has a score. Of one that is told the lyrics those of `lyric_windows.window`; of one that is told the caption
          those of `told`.
        """
        model, entry, hop = self.model, self.entries[track], self.hop_length
        names = [model.tier, model.above] if model.upsampling else [model.tier]
        stop = (start + model.context) * hop
        until = stop + round(model.score_ahead * self.tracks.layout.sample_rate) if model.score else None
        found = self.tracks.read(track, names, start * hop, stop, until)
        codes = of_both_channels(found[model.tier], model)
        example = {
            "codes": _padded(codes, model.context),
            "mask": np.arange(model.context) < len(codes),
            "labels": labels.encode_all(entry.labels, model),
            "start": np.int32(start),
            "length": np.int32(self.num_frames(track)),
        }
        if model.upsampling:
            example["above"] = _padded(found[model.above], model.context // model.upsampling)
        if model.score:
            begin = start * hop / self.tracks.layout.sample_rate
            notes = found.get("notes", np.zeros((0, 5), np.float32))
            example |= {"notes": excerpts.window(notes, begin, self.size_of_notes), "scored": bool(entry.score.kind)}
        if self.sings:
            begin = start * hop / self.tracks.layout.sample_rate
            bounds = lyric_windows.stretch(model, begin)
            lyrics = self.tracks.lyrics(track, *bounds) if entry.lyrics.kind else None
            example |= lyric_windows.window(model, lyrics, begin, self.size_of_lyrics)
        return example | self.told(track) if self.vectors else example

    def told(self, track: int, number: int = 0) -> dict[str, np.ndarray]:
        """The caption of a track, given by its index among `entries`, or another of its `texts`: "text" float32 [M, W]
        and "text_mask" bool [M], where there is a vector."""
        texts = self.entries[track].texts
        return self.vectors.of(texts[number], max(self.model.text_tokens, self.vectors.longest))


class RandomWindow(grain.transforms.RandomMap):
    """A slot of `Windows.slots` -> the arrays of a window at a place that `Windows.place` draws, as Grain maps them."""

    def __init__(self, windows: Windows, unknown_labels: float = 0.0, merged_captions: float = 0.0):
        self._windows, self._unknown_labels, self._merged = windows, unknown_labels, merged_captions

    def random_map(self, slot: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        track, start = self._windows.place(slot, rng)
        example = self._windows.window(track, start)
        others = len(self._windows.entries[track].texts) - 1 if self._windows.vectors else 0
        if others and rng.random() < self._merged:
            example |= self._windows.told(track, 1 + int(rng.integers(others)))
        example = lyric_windows.with_others(example, rng) if self._windows.sings else example
        return labels.partly_told(example, self._unknown_labels, rng)


def training_batches(run: config.PriorTraining, mesh: jax.sharding.Mesh) -> Callable[[int], Iterator[loader.Batch]]:
    """`batches_from(step)` over random windows of the train split; arrays as `Windows.window`, with a leading [B]."""
    windows = Windows(run.data.path, "train", run.model)
    return loader.training_batches(
        windows.slots, RandomWindow(windows, run.unknown_labels, run.merged_captions), run.data, mesh
    )


def validation_batches(run: config.PriorTraining, mesh: jax.sharding.Mesh) -> Callable[[], Iterator[loader.Batch]]:
    """The same evenly spaced windows of the validation split every time; none where there is no such split."""
    if "validation" not in shards.split_names(run.data.path):
        return lambda: iter(())
    return places.spread_batches(Windows(run.data.path, "validation", run.model), run, mesh)


def _padded(codes: np.ndarray, length: int) -> np.ndarray:
    return np.pad(codes.astype(np.int32), ((0, length - len(codes)), (0, 0)))

"""Code shards -> training windows of one tier."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import grain
import jax
import numpy as np
import tensorflow_datasets as tfds

from musicgen_jax import config
from musicgen_jax.codes import layout as layouts
from musicgen_jax.data import labels, loader, shards
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import NotFoundError, UserError

DATASET_NAME = "musicgen_codes"
INDEX_NAME = "tracks.jsonl"
CODEBOOKS_NAME = "codebooks.npz"
# Sampling begins every piece at code 0, where a model knows nothing of the past; of a long track, chance alone would
# hardly ever show it that place.
FIRST_WINDOW_SHARE = 1 / 8


def code_features(layout: layouts.Layout) -> tfds.features.FeaturesDict:
    """One record a track: int16 codes of every stream, labels and lyrics."""
    codes = {name: tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes") for name in layout.names}
    text = {name: tfds.features.Text() for name in ("track_id", "genre", "artist", "lyrics")}
    return tfds.features.FeaturesDict(codes | text)


@dataclasses.dataclass(frozen=True)
class TrackEntry:
    """One line of tracks.jsonl, in record order: enough to place windows without reading codes."""

    track_id: str
    split: str
    genre: str
    artist: str
    top_codes: int  # number of codes of the top tier; the other tiers have an exact multiple


def write_index(directory: pathlib.Path, entries: list[TrackEntry]) -> None:
    """Writes tracks.jsonl."""
    files.write_text(directory / INDEX_NAME, files.json_lines([dataclasses.asdict(entry) for entry in entries]))


def read_index(directory: str) -> list[TrackEntry]:
    """Reads tracks.jsonl.

    Raises:
      NotFoundError: `directory` was not written by extract_codes.
      UserError: the file is damaged.
    """
    path = pathlib.Path(directory) / INDEX_NAME
    rows = files.read_json_lines(path, "pass the --out of extract_codes")
    entries = [records.parse(TrackEntry, row, f"{path}: row {number}") for number, row in enumerate(rows, 1)]
    for number, entry in enumerate(entries, 1):
        sound = 0 < entry.top_codes < 2**31
        config.require(sound, f"{path}: row {number}.top_codes is {entry.top_codes} and must be in [1, 2**31)")
    return entries


def write_codebooks(directory: pathlib.Path, codebooks: dict[str, np.ndarray]) -> None:
    """Writes codebooks.npz: tier -> the tokenizer's entries, float32 [Q, K, W]."""
    np.savez(directory / CODEBOOKS_NAME, **codebooks)


def read_codebooks(directory: str) -> dict[str, np.ndarray]:
    """The tokenizer's entries by tier. Raises NotFoundError where `directory` was not written by extract_codes."""
    path = pathlib.Path(directory) / CODEBOOKS_NAME
    codebooks = files.read_arrays(path, "pass the --out of extract_codes")
    for tier in read_facts(directory).layout.names:
        entries = codebooks.get(tier, np.empty(0))
        codebooks[tier] = entries = entries[None] if entries.ndim == 2 else entries  # older than several codebooks
        sound = entries.ndim == 3 and entries.dtype == np.float32 and bool(np.isfinite(entries).all())
        config.require(sound, f"{path} is damaged: {tier} must be finite float32 [Q, K, W]")
    return codebooks


@dataclasses.dataclass(frozen=True)
class Facts:
    """What metadata.json says of the tokenizer of the codes, and of the audio."""

    layout: layouts.Layout
    audio: str = ""  # digest of the dataset; see `provenance.of_audio`. "" in folders that are older than it
    manifest: str = ""  # what these have instead: a digest of the bytes of its manifest, or ""


def read_facts(directory: str) -> Facts:
    """The facts about the codes in `directory`.

    Raises:
      NotFoundError: `directory` was not written by extract_codes.
      UserError: metadata.json is damaged.
    """
    values = shards.read_metadata(directory)
    where = f"{pathlib.Path(directory) / 'metadata.json'}: metadata"
    if not (pathlib.Path(directory) / INDEX_NAME).is_file():
        raise NotFoundError(f"no {INDEX_NAME} in {directory}: pass the --out of extract_codes")
    of_tokenizer = {name: values[name] for name in layouts.VERSION_1 if name in values}
    digests = {name: values[name] for name in ("audio", "manifest") if name in values}
    digests = {name: records.check(str, value, f"{where}.{name}") for name, value in digests.items()}
    return Facts(layouts.from_dict(of_tokenizer, where), **digests)


def stream_names(directory: str) -> tuple[str, ...]:
    """Names of the streams of the codes in a folder, coarse to fine; none where it has no codes any more."""
    try:
        return read_facts(directory).layout.names
    except UserError:
        return ()


def resolve(model: config.PriorConfig, directory: str) -> config.PriorConfig:
    """The prior's config with what only the codes know: codebook size, hop lengths, labels, tokenizer.

    Raises:
      NotFoundError: no codes in `directory`.
      UserError: the context is no multiple of the upsampling factor.
    """
    facts = read_facts(directory)
    train = [entry for entry in read_index(directory) if entry.split == "train"]
    stream = facts.layout.stream(model.tier)
    resolved = dataclasses.replace(
        model,
        num_codes=stream.num_codes,
        above=stream.above,
        upsampling=facts.layout.upsampling(model.tier),
        codes_per_second=facts.layout.frames_per_second(model.tier),
        vqvae=facts.layout.fingerprint,
        track_seconds=float(np.mean([entry.top_codes for entry in train]))
        * facts.layout.hop_length
        / facts.layout.sample_rate,
        genres=labels.vocabulary([entry.genre for entry in train]),
        artists=labels.vocabulary([entry.artist for entry in train]),
    )
    resolved.validate()
    return resolved


class Windows:
    """Windows of `model.context` codes of one tier in one split; picklable random access for Grain workers."""

    def __init__(self, directory: str, split: str, model: config.PriorConfig):
        self.model = model
        layout = read_facts(directory).layout
        self.records = shards.open_split(directory, split, code_features(layout))
        self.entries = [entry for entry in read_index(directory) if entry.split == split]
        config.require(
            len(self.entries) == len(self.records),
            f"{directory}: {INDEX_NAME} names {len(self.entries)} tracks of {split} and the shards hold "
            f"{len(self.records)}: extract the codes again",
        )
        self.codes_per_top_code = layout.hop_length // layout.stream(model.tier).hop_length
        lengths = [max(self.num_codes(index), model.context) for index in range(len(self.entries))]
        self._ends = np.cumsum(lengths)  # of the tracks, laid end to end
        # What an epoch goes through: as many windows as the split could fill.
        self.slots = range(-(-int(self._ends[-1]) // model.context))

    def num_codes(self, track: int) -> int:
        """Codes of this tier in a track."""
        return self.entries[track].top_codes * self.codes_per_top_code

    def window(self, track: int, start: int) -> dict[str, np.ndarray]:
        """One example.

        Args:
          track: index of the record.
          start: first code; must be a multiple of the upsampling factor.

        Returns:
          "codes" int32 [T, 1]; "mask" bool [T], False behind the track's end, where codes are 0; "above" int32
          [T / upsampling, 1], absent at the top; "genre", "artist", "start", "length" int32 scalars, the last two in
          codes of this tier.
        """
        model, record, entry = self.model, self.records[track], self.entries[track]
        config.require(
            len(record[model.tier]) == self.num_codes(track),
            f"{INDEX_NAME} promises {self.num_codes(track)} codes of {entry.track_id} and the shards hold "
            f"{len(record[model.tier])}: extract the codes again",
        )
        codes = record[model.tier][start : start + model.context]
        example = {
            "codes": _padded(codes, model.context),
            "mask": np.arange(model.context) < len(codes),
            "genre": labels.encode(entry.genre, model.genres),
            "artist": labels.encode(entry.artist, model.artists),
            "start": np.int32(start),
            "length": np.int32(self.num_codes(track)),
        }
        if model.upsampling:
            size = model.context // model.upsampling
            first = start // model.upsampling
            example["above"] = _padded(record[model.above][first : first + size], size)
        return example

    def place(self, slot: int, rng: np.random.Generator) -> tuple[int, int]:
        """(track, start) of the random window of a slot.

        Over all slots, tracks are drawn in proportion to their length; one that is shorter than a window counts as long
        as a window. With a probability of `first_window_share` the window begins at code 0; otherwise its start is
        uniform over all multiples of the upsampling factor up to the last full window.
        """
        point = (slot + rng.random()) / len(self.slots) * self._ends[-1]
        track = min(int(np.searchsorted(self._ends, point, side="right")), len(self._ends) - 1)
        if rng.random() < self.first_window_share(track):
            return track, 0
        step = max(self.model.upsampling, 1)
        last = max(0, self.num_codes(track) - self.model.context)
        return track, step * int(rng.integers(last // step + 1))

    def first_window_share(self, track: int) -> float:
        """Share of a track's random windows that begin at code 0 whatever chance says, at least `FIRST_WINDOW_SHARE`.

        Of the windows that sampling the whole track takes, each moved on by half a context, it is that of the first.
        """
        rest = max(0, self.num_codes(track) - self.model.context)
        return max(1 / (1 + -(-2 * rest // self.model.context)), FIRST_WINDOW_SHARE)

    def consecutive(self) -> Iterator[tuple[int, int]]:
        """(track, start) of windows side by side over the whole split, each code in exactly one of them."""
        for track in range(len(self.entries)):
            for start in range(0, self.num_codes(track), self.model.context):
                yield track, start


class RandomWindow(grain.transforms.RandomMap):
    """Slot of `Windows.slots` -> example at a random place; see `Windows.place`."""

    def __init__(self, windows: Windows):
        self._windows = windows

    def random_map(self, slot: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return self._windows.window(*self._windows.place(slot, rng))


def training_batches(
    directory: str, model: config.PriorConfig, data: config.DataConfig, mesh: jax.sharding.Mesh
) -> Callable[[int], Iterator[loader.Batch]]:
    """`batches_from(step)` over random windows of the train split; arrays as `Windows.window`, with a leading [B]."""
    windows = Windows(directory, "train", model)
    return loader.training_batches(windows.slots, RandomWindow(windows), data, mesh)


def validation_batches(
    directory: str, model: config.PriorConfig, data: config.DataConfig, num_batches: int, mesh: jax.sharding.Mesh
) -> Callable[[], Iterator[loader.Batch]]:
    """The same evenly spaced windows of the validation split every time; none where there is no such split."""
    if "validation" not in shards.split_names(directory):
        return lambda: iter(())
    windows = Windows(directory, "validation", model)

    def batches() -> Iterator[loader.Batch]:
        places = list(windows.consecutive())
        chosen = [places[i] for i in loader.evenly_spaced(len(places), num_batches * data.batch_size)]
        return loader.fixed_batches([windows.window(*place) for place in chosen], data.batch_size, mesh)

    return batches


def code_sequences(directory: str, split: str, tier: str) -> list[np.ndarray]:
    """The codes of a tier, an int16 array a track."""
    records: Any = shards.open_split(directory, split, code_features(read_facts(directory).layout))
    return [np.asarray(records[index][tier]) for index in range(len(records))]


def _padded(codes: np.ndarray, length: int) -> np.ndarray:
    return np.pad(codes.astype(np.int32), (0, length - len(codes)))[:, None]

"""What a prior is trained on: windows of one stream's codes with all that it is told, read from code shards."""

import dataclasses
from collections.abc import Callable, Iterator

import grain
import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import code_shards
from musicgen_jax.data import labels, loader, shards

# Sampling begins every piece at code 0, where a model knows nothing of the past; of a long track, chance alone would
# hardly ever show it that place.
FIRST_WINDOW_SHARE = 1 / 8


def resolve(model: config.PriorConfig, directory: str) -> config.PriorConfig:
    """The prior's config with what only the codes know: their number and rate, labels, tokenizer, stream above.

    Args:
      model: names the stream, `tier`.
      directory: of code shards; labels and lengths are those of its train split.

    Raises:
      NotFoundError: no codes in `directory`.
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
        genres=labels.vocabulary([entry.genre for entry in train]),
        artists=labels.vocabulary([entry.artist for entry in train]),
    )
    resolved.validate()
    return resolved


class Windows:
    """Windows of `model.context` frames of one stream in one split; picklable random access for Grain workers.

    Attributes:
      tracks: the codes.
      entries: of the index, one a track.
      hop_length: samples of a frame of the stream.
      slots: what an epoch goes through: as many numbers as windows would fill the split. Each slot has a window at a
        place that is drawn anew every time; see `place`.
    """

    def __init__(self, directory: str, split: str, model: config.PriorConfig):
        self.model, self.tracks = model, code_shards.Tracks(directory, split)
        self.entries = self.tracks.entries
        self.hop_length = self.tracks.layout.stream(model.tier).hop_length
        lengths = [max(self.num_frames(index), model.context) for index in range(len(self.entries))]
        self._ends = np.cumsum(lengths)  # of the tracks, laid end to end
        # What an epoch goes through: as many windows as the split could fill.
        self.slots = range(-(-int(self._ends[-1]) // model.context))

    def num_frames(self, track: int) -> int:
        """Frames of this stream in a track, given by its index among `entries`."""
        return self.entries[track].num_samples // self.hop_length

    def window(self, track: int, start: int) -> dict[str, np.ndarray]:
        """One example.

        Args:
          track: index of the entry.
          start: first frame; must be a multiple of the upsampling factor.

        Returns:
          "codes" int32 [T, Q]; "mask" bool [T], False behind the track's end, where codes are 0; "above" int32
          [T / upsampling, Q], absent where there is no stream above; "genre", "artist", "start", "length" int32
          scalars, the last two in frames of this stream.
        """
        model, entry, hop = self.model, self.entries[track], self.hop_length
        names = [model.tier, model.above] if model.upsampling else [model.tier]
        found = self.tracks.read(track, names, start * hop, (start + model.context) * hop)
        codes = found[model.tier]
        example = {
            "codes": _padded(codes, model.context),
            "mask": np.arange(model.context) < len(codes),
            "genre": labels.encode(entry.genre, model.genres),
            "artist": labels.encode(entry.artist, model.artists),
            "start": np.int32(start),
            "length": np.int32(self.num_frames(track)),
        }
        if model.upsampling:
            example["above"] = _padded(found[model.above], model.context // model.upsampling)
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
        last = max(0, self.num_frames(track) - self.model.context)
        return track, step * int(rng.integers(last // step + 1))

    def first_window_share(self, track: int) -> float:
        """Share of a track's random windows that begin at code 0 whatever chance says, at least `FIRST_WINDOW_SHARE`.

        Of the windows that sampling the whole track takes, each moved on by half a context, it is that of the first.
        """
        rest = max(0, self.num_frames(track) - self.model.context)
        return max(1 / (1 + -(-2 * rest // self.model.context)), FIRST_WINDOW_SHARE)

    def consecutive(self) -> Iterator[tuple[int, int]]:
        """(track, start) of windows side by side over the whole split, each code in exactly one of them."""
        for track in range(len(self.entries)):
            for start in range(0, self.num_frames(track), self.model.context):
                yield track, start


class RandomWindow(grain.transforms.RandomMap):
    """A slot of `Windows.slots` -> the arrays of a window at a place that `Windows.place` draws, as Grain maps them."""

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


def _padded(codes: np.ndarray, length: int) -> np.ndarray:
    return np.pad(codes.astype(np.int32), ((0, length - len(codes)), (0, 0)))

"""Windows of tracks: at random in training, side by side in validation."""

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.data import loader

# Sampling begins every piece at code 0, where a model knows nothing of the past; of a long track, chance alone would
# hardly ever show it that place.
FIRST_WINDOW_SHARE = 1 / 8


class Places:
    """Where the windows of a split begin. A subclass has a method `window(track, start)` -> example.

    Attributes:
      lengths: frames of each track.
      slots: what an epoch goes through: as many numbers as windows would fill the split. Each slot has a window at a
        place that is drawn anew every time; see `place`.
    """

    def __init__(self, lengths: Iterable[int], context: int, step: int):
        """Args:
        lengths: frames of each track.
        context: frames of a window.
        step: windows begin at multiples of it.
        """
        self.lengths, self._context, self._step = list(lengths), context, step
        self._ends = np.cumsum([max(length, context) for length in self.lengths])  # of the tracks, laid end to end
        self.slots = range(-(-int(self._ends[-1]) // context))

    def place(self, slot: int, rng: np.random.Generator) -> tuple[int, int]:
        """(track, start) of the random window of a slot.

        Over all slots, tracks are drawn in proportion to their length; one that is shorter than a window counts as long
        as a window. With a probability of `first_window_share` the window begins at code 0; otherwise its start is
        uniform over all multiples of the step up to the last full window.
        """
        point = (slot + rng.random()) / len(self.slots) * self._ends[-1]
        track = min(int(np.searchsorted(self._ends, point, side="right")), len(self._ends) - 1)
        if rng.random() < self.first_window_share(track):
            return track, 0
        last = max(0, self.lengths[track] - self._context)
        return track, self._step * int(rng.integers(last // self._step + 1))

    def first_window_share(self, track: int) -> float:
        """Share of a track's random windows that begin at code 0 whatever chance says, at least `FIRST_WINDOW_SHARE`.

        Of the windows that sampling the whole track takes, each moved on by half a context, it is that of the first.
        """
        rest = max(0, self.lengths[track] - self._context)
        return max(1 / (1 + -(-2 * rest // self._context)), FIRST_WINDOW_SHARE)

    def consecutive(self) -> Iterator[tuple[int, int]]:
        """(track, start) of windows side by side over the whole split, each code in exactly one of them."""
        for track, length in enumerate(self.lengths):
            for start in range(0, length, self._context):
                yield track, start


def spread_batches(
    windows: Places, run: config.PriorTraining, mesh: jax.sharding.Mesh
) -> Callable[[], Iterator[loader.Batch]]:
    """`training.eval_batches` batches of windows that are spread over a split."""

    def batches() -> Iterator[loader.Batch]:
        places = list(windows.consecutive())
        chosen = loader.evenly_spaced(len(places), run.training.eval_batches * run.data.batch_size)
        examples = [windows.window(*places[index]) for index in chosen]
        return loader.fixed_batches(examples, run.data.batch_size, mesh)

    return batches

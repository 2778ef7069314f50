"""Windows that a prior sampled, as training data for its student."""

import pathlib

import grain
import jax
import numpy as np

from musicgen_jax.codes import code_dataset
from musicgen_jax.priors import trained
from musicgen_jax.runtime import files, progress_report
from musicgen_jax.sampling import decode, logit_filters
from musicgen_jax.training import rng

Example = dict[str, np.ndarray]
BATCH_SIZE = 64


def sample(teacher: trained.TrainedPrior, windows: code_dataset.Windows, num: int, seed: int) -> Example:
    """Windows with the labels and the tier above of training tracks, and codes that the teacher sampled.

    At temperature 1 and without filters: the student learns the teacher's whole distribution, and is filtered like it
    when it samples.

    Args:
      teacher: the prior.
      windows: of the training split.
      num: how many.
      seed: of places and draws.

    Returns:
      Arrays as `Windows.window` gives them, with a leading [num].
    """
    random = np.random.default_rng(seed)
    crop = code_dataset.RandomWindow(windows)
    examples = [crop.random_map(int(random.integers(len(windows.slots))), random) for _ in range(num)]
    arrays = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
    key = rng.key(seed, f"distill/{teacher.config.tier}")
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, np.arange(num))
    sample_window = decode.make_sample_window(teacher.functional)
    size = min(BATCH_SIZE, num)
    with progress_report.Progress("sample the teacher", num, "windows") as progress:
        for first in range(0, num, size):
            rows = np.minimum(np.arange(first, first + size), num - 1)
            batch = {name: array[rows] for name, array in arrays.items()}
            zeros = np.zeros(size, np.int32)
            settings = logit_filters.Settings(
                temperature=np.ones(batch["mask"].shape, np.float32),
                top_p=np.ones(size, np.float32),
                top_k=zeros,
                guidance=np.ones(size, np.float32),
            )
            stop = batch["mask"].sum(axis=1).astype(np.int32)
            sampled = sample_window(teacher.weights, batch, zeros, stop, keys[rows], batch["start"], settings)
            arrays["codes"][rows] = np.where(batch["mask"][..., None], np.asarray(sampled), 0)
            progress.update(min(size, num - first))
    return arrays


def read_or_sample(
    path: pathlib.Path, teacher: trained.TrainedPrior, windows: code_dataset.Windows, num: int, seed: int
) -> Example:
    """`sample`, kept in the file `path` (npz): an interrupted distillation reads it again."""
    if path.is_file():
        stored = files.read_arrays(path)
        # Before there were several codebooks, codes were [num, T].
        codes = {name: stored[name][..., None] for name in ("codes", "above") if np.ndim(stored.get(name)) == 2}
        if "genre" in stored:  # before there were other labels than two
            codes["labels"] = np.stack([stored.pop("genre"), stored.pop("artist")], axis=1)
        return stored | codes
    arrays = sample(teacher, windows, num, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".writing.npz")
    np.savez(half, **arrays)
    half.rename(path)
    return arrays


class MixedWindow(grain.transforms.RandomMap):
    """Index of a sampled window -> that window, or by chance a random one of the data."""

    def __init__(self, samples: Example, windows: code_dataset.Windows, data_share: float):
        self._samples, self._windows, self._data_share = samples, windows, data_share
        self._crop = code_dataset.RandomWindow(windows)

    def random_map(self, index: int, rng: np.random.Generator) -> Example:
        if rng.random() < self._data_share:
            return self._crop.random_map(int(rng.integers(len(self._windows.slots))), rng)
        return {name: array[index] for name, array in self._samples.items()}

"""What is kept of a set's embedding frames, clip by clip: mean, covariance, and a bounded number of the frames."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import numpy as np

from musicgen_jax.config import require
from musicgen_jax.evaluation import kernel_distance
from musicgen_jax.evaluation.embeddings.embedding import Embedding
from musicgen_jax.evaluation.frechet_distance import GaussianStatistics
from musicgen_jax.runtime import files

MAX_FRAMES = 4096  # kept of a set: 3 MB of 200 dimensions
ARRAYS = ("mu", "cov", "n", "embedding", "embedding_hash", "bandwidth", "frames", "clips")


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingStatistics:
    """Of one embedding, of the frames of all clips of a set.

    Attributes:
      embedding: name.
      embedding_hash: its version.
      gaussian: of all frames.
      frames: float32 [K, D], K <= 4,096, evenly spaced among them.
      clips: int32 [K], the number of the clip that each is of, from 0 and never falling.
    """

    embedding: str
    embedding_hash: str
    gaussian: GaussianStatistics
    frames: np.ndarray
    clips: np.ndarray

    @property
    def num_frames(self) -> int:
        return self.gaussian.num_frames

    @property
    def reliable(self) -> bool:
        """Whether there are at least as many frames as dimensions; fewer do not determine a covariance."""
        return self.num_frames >= self.gaussian.mean.size

    @functools.cached_property
    def bandwidth(self) -> float:
        """Of the kernel where this is the reference: the median distance of its frames."""
        return kernel_distance.median_distance(self.frames)

    def require_same_embedding(self, other: "EmbeddingStatistics") -> None:
        """Raises UserError unless both sets were embedded alike."""
        ours, theirs = ((one.embedding, one.embedding_hash) for one in (self, other))
        require(
            ours == theirs,
            f"statistics of {' '.join(ours)} and of {' '.join(theirs)} do not compare: embed both sets alike",
        )

    def save(self, path: files.Path) -> None:
        """Writes an .npz: mu [D] and cov [D, D] in float64, n, embedding, embedding_hash, bandwidth, frames, clips."""
        arrays = dict(zip(ARRAYS, (
            self.gaussian.mean, self.gaussian.covariance, self.num_frames, self.embedding, self.embedding_hash,
            self.bandwidth, self.frames, self.clips,
        ), strict=True))  # fmt: skip
        with files.replaced(path) as file:
            np.savez(file, **arrays)


def load(path: files.Path) -> EmbeddingStatistics:
    """What `save` wrote.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is damaged, or no statistics of embeddings.
    """
    arrays = files.read_arrays(path, "statistics of embeddings are .npz files that evaluate writes")
    missing = [name for name in ARRAYS if name not in arrays]
    require(not missing, f"{path} has no {', '.join(missing)}: it is no file of embedding statistics")
    mu, cov, n, frames, clips = (arrays[name] for name in ("mu", "cov", "n", "frames", "clips"))
    numbers = all(one.dtype.kind in "fiu" for one in (mu, cov, n, frames, clips))
    names = all(arrays[name].dtype.kind == "U" and arrays[name].ndim == 0 for name in ("embedding", "embedding_hash"))
    whole = numbers and names and mu.ndim == 1 and mu.size > 0 and cov.shape == 2 * mu.shape and n.ndim == 0
    whole = whole and frames.shape == (len(clips), mu.size) and clips.ndim == 1 and n >= 2 and 1 <= len(clips) <= n
    whole = whole and all(np.isfinite(one).all() for one in (mu, cov, frames)) and np.allclose(cov, cov.T)
    require(bool(whole), f"{pathlib.Path(path)} is damaged: its arrays do not fit together; write it again")
    gaussian = GaussianStatistics(mu.astype(np.float64), cov.astype(np.float64), int(n))
    return EmbeddingStatistics(
        str(arrays["embedding"]),
        str(arrays["embedding_hash"]),
        gaussian,
        frames.astype(np.float32),
        clips.astype(np.int32),
    )


def load_all(folder: files.Path, embeddings: Sequence[Embedding]) -> dict[str, EmbeddingStatistics]:
    """Name of each embedding -> the statistics of recordings that an evaluation wrote to a folder.

    Raises:
      NotFoundError: there are none of an embedding.
      UserError: a file is damaged, or of another version of its embedding.
    """
    found = {}
    for embedding in embeddings:
        path = pathlib.Path(folder, f"{embedding.name}-recordings.npz")
        found[embedding.name] = one = load(path)
        require(
            (one.embedding, one.embedding_hash) == (embedding.name, embedding.version),
            f"{path} is of {one.embedding} {one.embedding_hash}, and `embeddings` of {embedding.version}: they do not "
            "compare; choose the same weights",
        )
    return found


class Accumulator:
    """Takes the frames of one clip after the other; memory does not grow with their number.

    Mean and covariance are merged in float64 (Chan, Golub and LeVeque 1979). Of the frames every first, second, fourth
    ... is kept, so that it is never more than 4,096, and the same ones whatever follows.

    Attributes:
      num_clips: that had frames.
      num_frames: of all clips.
    """

    def __init__(self, embedding: Embedding):
        self._embedding = embedding
        self.num_clips = self.num_frames = 0
        self._mean = np.zeros(embedding.dimensions)
        self._scatter = np.zeros((embedding.dimensions, embedding.dimensions))
        self._stride = 1
        self._frames = np.zeros((0, embedding.dimensions), np.float32)
        self._clips = np.zeros(0, np.int32)

    def add(self, frames: np.ndarray) -> None:
        """Frames of a clip, [N, D].

        Raises:
          UserError: a value is not finite.
        """
        require(bool(np.isfinite(frames).all()), f"{self._embedding.name} made frames that are not finite")
        if len(frames) == 0:
            return
        self._keep(frames)
        frames = frames.astype(np.float64)
        count = self.num_frames + len(frames)
        mean = frames.mean(axis=0)
        centred, shift = frames - mean, mean - self._mean
        self._scatter += centred.T @ centred + np.outer(shift, shift) * (self.num_frames * len(frames) / count)
        self._mean = self._mean + shift * (len(frames) / count)
        self.num_frames, self.num_clips = count, self.num_clips + 1

    def result(self) -> EmbeddingStatistics:
        """The statistics of what was added.

        Raises:
          UserError: fewer than two frames.
        """
        require(
            self.num_frames >= 2,
            f"{self.num_frames} frames of {self._embedding.window_seconds:g} s, and a covariance needs two: use more "
            "or longer audio",
        )
        gaussian = GaussianStatistics(self._mean, self._scatter / (self.num_frames - 1), self.num_frames)
        return EmbeddingStatistics(self._embedding.name, self._embedding.version, gaussian, self._frames, self._clips)

    def _keep(self, frames: np.ndarray) -> None:
        wanted = (np.arange(len(frames)) + self.num_frames) % self._stride == 0
        self._frames = np.concatenate([self._frames, frames[wanted].astype(np.float32)])
        self._clips = np.concatenate([self._clips, np.full(wanted.sum(), self.num_clips, np.int32)])
        while len(self._frames) > MAX_FRAMES:
            self._stride *= 2
            self._frames, self._clips = self._frames[::2], self._clips[::2]

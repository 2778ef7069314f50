"""How far samples lie from recordings in an embedding, beside how far recordings lie from each other."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import threadpoolctl

from musicgen_jax.evaluation import embedding_statistics, frechet_distance, kernel_distance
from musicgen_jax.evaluation.embedding_statistics import EmbeddingStatistics
from musicgen_jax.evaluation.embeddings import choice
from musicgen_jax.evaluation.embeddings.embedding import Embedding, long_enough
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How samples are compared with recordings.

    Attributes:
      embeddings: at least one.
      stored: name of an embedding -> statistics of recordings that are compared with in place of the held-out ones.
      folder: where the statistics of both are written to, NAME-samples.npz and NAME-recordings.npz; or None.
    """

    embeddings: Sequence[Embedding]
    stored: Mapping[str, EmbeddingStatistics] = dataclasses.field(default_factory=dict)
    folder: pathlib.Path | None = None


def prepare(choices: Sequence[str], tokenizer: Tokenizer, statistics: str, out: str) -> Comparison:
    """Reads all that a comparison needs, before the long work.

    Args:
      choices: embeddings, as `choice.load` reads them.
      tokenizer: whose encoder may be one of them.
      statistics: folder `embeddings` of an earlier evaluation, or "".
      out: folder of this evaluation.

    Raises:
      NotFoundError: weights or statistics are not there.
      UserError: they are damaged, or do not belong together; or an embedding is not known.
    """
    embeddings = choice.load(choices, tokenizer)
    stored = embedding_statistics.load_all(statistics, embeddings) if statistics else {}
    return Comparison(embeddings, stored, pathlib.Path(out, "embeddings"))


def distances(
    samples: Mapping[str, np.ndarray],
    references: Iterable[np.ndarray],
    sample_rate: int,
    comparison: Comparison,
) -> tuple[dict[str, Any], dict[str, str]]:
    """What `frechet_audio_distance` finds in each embedding, for metrics.json.

    Args:
      samples: name -> float [S].
      references: held-out recordings, float [S] each; walked over twice for each embedding, so no generator.
      sample_rate: Hz, of both.
      comparison: in which embeddings.

    Returns:
      `distances`: what the distance is called -> what was found of it; `fad`: that of the first embedding again. Beside
      it, what is absent and why, under "fad" for the first embedding and the distance's name for the others.
    """
    found, absent = {}, {}
    for index, embedding in enumerate(comparison.embeddings):
        key = "fad" if index == 0 else embedding.distance
        stored = comparison.stored.get(embedding.name)
        try:
            with threadpoolctl.threadpool_limits(1, "blas"):  # matrices are small: more threads mostly wait
                one, without = frechet_audio_distance(
                    samples, references, sample_rate, embedding, stored, comparison.folder
                )
        except UserError as error:
            absent[key] = str(error)
            continue
        found.setdefault("distances", {})[embedding.distance] = one
        found |= {"fad": one} if index == 0 else {}
        absent |= {f"{key}.{name}": reason for name, reason in without.items()}
    return found, absent


def frechet_audio_distance(
    samples: Mapping[str, np.ndarray],
    references: Iterable[np.ndarray],
    sample_rate: int,
    embedding: Embedding,
    stored: EmbeddingStatistics | None = None,
    folder: pathlib.Path | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Fréchet and kernel distance of the samples from all held-out recordings, and their floor.

    The floor is the same figure for as many clips of the recordings themselves, as long as the samples, against the
    rest of the recordings: what a perfect model would have at so few frames. It is 0 only for endlessly many.

    Args:
      samples: name -> float [S].
      references: held-out recordings, float [S] each; walked over twice. One is in memory at a time if they are read as
        they are asked for.
      sample_rate: Hz, of both.
      embedding: what makes frames of audio.
      stored: statistics of the recordings, in place of `references`; then there is no floor.
      folder: where the statistics are written to, or None.

    Returns:
      value; distance: what it is called; embedding, embedding_hash, dimensions, window_seconds, hop_seconds;
      num_clips, clip_seconds, num_frames, num_reference_frames; num_short_clips: samples left out, being shorter than a
      frame; reliable: whether both sets have at least as many frames as the embedding has dimensions, as fewer do not
      determine a covariance; tracks: each sample's own distance, the farthest first, of which only the order means
      something. Where they can be told, infinite: value, r_squared and least_frames as `frechet_distance.extrapolated`
      has them; kernel: value, bandwidth, num_frames, num_reference_frames, floor; and floor, floor_num_frames,
      floor_num_reference_frames. Beside it, what is absent of these and why.

    Raises:
      UserError: samples or recordings give fewer than two frames; or `stored` is of another embedding.
    """
    frames = {
        name: embedding.embed(audio, sample_rate)
        for name, audio in samples.items()
        if long_enough(embedding, len(audio), sample_rate)
    }
    clips, lengths = _statistics(frames.values(), embedding), [len(samples[name]) for name in frames]
    recordings, parts, no_floor = stored, None, "the recordings are known by their stored statistics alone"
    if recordings is None:
        recordings, parts, no_floor = _references(references, embedding, sample_rate, lengths)
    clips.require_same_embedding(recordings)
    if folder:
        _save(folder, embedding, clips, recordings)
    reference = frechet_distance.Reference(recordings.gaussian)
    found = _described(embedding) | {
        "value": reference.distance(clips.gaussian),
        "num_clips": len(frames),
        "num_short_clips": len(samples) - len(frames),
        "clip_seconds": float(np.mean(lengths)) / sample_rate,
        "num_frames": clips.num_frames,
        "num_reference_frames": recordings.num_frames,
        "reliable": clips.reliable and recordings.reliable,
        "tracks": _ranked(frames, reference),
    }
    more, absent = _refined(clips, recordings, parts, reference)
    return found | more | (_floor(*parts) if parts else {}), absent | ({} if parts else {"floor": no_floor})


def _statistics(frames: Iterable[np.ndarray], embedding: Embedding) -> EmbeddingStatistics:
    """Of the samples, clip by clip."""
    accumulator = embedding_statistics.Accumulator(embedding)
    for one in frames:
        accumulator.add(one)
    return _result("clips", accumulator)


def _save(
    folder: pathlib.Path, embedding: Embedding, clips: EmbeddingStatistics, recordings: EmbeddingStatistics
) -> None:
    folder.mkdir(exist_ok=True)
    clips.save(folder / f"{embedding.name}-samples.npz")
    recordings.save(folder / f"{embedding.name}-recordings.npz")


def _refined(
    clips: EmbeddingStatistics,
    recordings: EmbeddingStatistics,
    parts: tuple[EmbeddingStatistics, ...] | None,
    reference: frechet_distance.Reference,
) -> tuple[dict[str, Any], dict[str, str]]:
    """The distances that need many frames, and why one is absent."""
    found, absent = {}, {}
    for name, compute in (
        ("infinite", lambda: frechet_distance.extrapolated(clips.frames, clips.clips, reference)._asdict()),
        ("kernel", lambda: _kernel(clips, recordings, parts)),
    ):
        try:
            found[name] = compute()
        except UserError as error:
            absent[name] = str(error)
    return found, absent


def _described(embedding: Embedding) -> dict[str, Any]:
    return {
        "distance": embedding.distance,
        "embedding": embedding.name,
        "embedding_hash": embedding.version,
        "dimensions": embedding.dimensions,
        "window_seconds": embedding.window_seconds,
        "hop_seconds": embedding.hop_seconds,
    }


def _floor(clips: EmbeddingStatistics, rest: EmbeddingStatistics) -> dict[str, Any]:
    return {
        "floor": frechet_distance.gaussian_distance(clips.gaussian, rest.gaussian),
        "floor_num_frames": clips.num_frames,
        "floor_num_reference_frames": rest.num_frames,
    }


def _references(
    references: Iterable[np.ndarray], embedding: Embedding, sample_rate: int, lengths: Sequence[int]
) -> tuple[EmbeddingStatistics, tuple[EmbeddingStatistics, EmbeddingStatistics] | None, str]:
    """Statistics of all recordings; of as many clips of them as there are samples and of all that is no such clip, or
    None and why there are no such clips."""
    size, count = max(lengths), len(lengths)
    chosen, no_floor = set(), ""
    try:
        chosen = _chosen([len(audio) for audio in references], size, count, sample_rate)
    except UserError as error:
        no_floor = str(error)
    every, clips, rest = (embedding_statistics.Accumulator(embedding) for _ in range(3))
    index = 0
    for audio in references:
        if not long_enough(embedding, len(audio), sample_rate):
            index += -(-len(audio) // size)
            continue
        whole = embedding.embed(audio, sample_rate)
        every.add(whole)
        for start in range(0, len(audio), size):
            piece = audio[start : start + size]
            if not no_floor and long_enough(embedding, len(piece), sample_rate):
                # A recording of a clip's length is not embedded a second time.
                frames = whole if len(piece) == len(audio) else embedding.embed(piece, sample_rate)
                (clips if index in chosen else rest).add(frames)
            index += 1
    recordings = _result("recordings", every)
    if no_floor:
        return recordings, None, no_floor
    try:
        return recordings, (_result("clips of the recordings", clips), _result("rest of the recordings", rest)), ""
    except UserError as error:
        return recordings, None, str(error)


def _chosen(lengths: Sequence[int], size: int, count: int, sample_rate: int) -> set[int]:
    """Which of the recordings' pieces of `size` samples, counted through, are the clips: `count` whole ones, evenly
    spaced."""
    pieces = [min(size, length - start) for length in lengths for start in range(0, length, size)]
    whole = [index for index, piece in enumerate(pieces) if piece == size]
    if len(whole) <= count:
        raise UserError(
            f"the held-out recordings have {len(whole)} whole clips of {size / sample_rate:.4g} s, and a floor "
            f"needs more than the {count} that are compared with the rest: hold out more music, or sample fewer clips"
        )
    return {whole[int(place)] for place in np.linspace(0, len(whole), count, endpoint=False)}


def _ranked(frames: Mapping[str, np.ndarray], reference: frechet_distance.Reference) -> list[dict[str, Any]]:
    """Each sample's own distance from the recordings, the farthest first."""
    tracks = [
        {"name": name, "value": reference.clip_distance(one), "num_frames": len(one)} for name, one in frames.items()
    ]
    return sorted(tracks, key=lambda track: -track["value"])


def _kernel(
    clips: EmbeddingStatistics, recordings: EmbeddingStatistics, parts: tuple[EmbeddingStatistics, ...] | None
) -> dict[str, Any]:
    """The kernel distance; with its floor, where there are `parts` of the recordings."""
    bandwidth = recordings.bandwidth
    found = {
        "value": kernel_distance.kernel_distance(clips.frames, recordings.frames, bandwidth),
        "bandwidth": bandwidth,
        "num_frames": len(clips.frames),
        "num_reference_frames": len(recordings.frames),
    }
    if parts:
        found["floor"] = kernel_distance.kernel_distance(*(part.frames for part in parts), bandwidth)
    return found


def _result(what: str, accumulator: embedding_statistics.Accumulator) -> EmbeddingStatistics:
    try:
        return accumulator.result()
    except UserError as error:
        raise UserError(f"the {what} give {error}") from error

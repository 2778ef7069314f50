"""Recordings -> scores, by the network of basic-pitch (Bittner et al. 2022) through onnxruntime.

The network turns two seconds of audio into activations of the 88 keys of a piano: how surely each sounds, and how
surely a note of it begins, in frames of 256 samples at 22,050 Hz. Notes follow from these as published: every peak of
the onsets, the latest first, is a note for as long as its key sounds; then what still sounds and is no note's yet
becomes notes without an onset of their own, the loudest place first.
"""

import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.scores.score import MAX_VELOCITY, Score

SAMPLE_RATE = 22050  # Hz, of what the network hears
FRAME = 256  # samples
WINDOW, WINDOW_FRAMES = 43844, 172  # of a call of the network: samples, and frames that come out
MARGIN = 15  # frames at both ends of a window that are not kept: the network has not seen enough around them
KEYS, LOWEST_KEY = 88, 21  # of a piano, MIDI
INPUT = "serving_default_input_2:0"
OUTPUTS = ("StatefulPartitionedCall:1", "StatefulPartitionedCall:2")  # keys that sound, onsets
BATCH = 8  # windows of a call

ONSET_LEAST = 0.5  # of a peak of the onsets
SOUND_LEAST = 0.3  # of a key that sounds
GAP_FRAMES = 11  # a note ends where its key does not sound for so long
SHORTEST_FRAMES = 11  # of a note: 128 ms
REMEDY = "`make transcriber` fetches it"

Network = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def load(path: files.Path) -> Network:
    """The network in an ONNX file: windows float32 [B, WINDOW] -> activations, two float32 [B, WINDOW_FRAMES, KEYS].

    One thread computes, so that equal audio gives equal notes.

    Raises:
      NotFoundError: there is no such file.
      UserError: onnxruntime is not installed, or the file is no such network.
    """
    try:
        files.require_file(path, "network of basic-pitch")
    except NotFoundError as error:
        raise NotFoundError(f"{error}: {REMEDY}") from error
    return _load(os.path.realpath(path))


@functools.cache
def _load(path: str) -> Network:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "`transcribe` needs onnxruntime, which is not installed: pip install 'musicgen_jax[transcribe]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found = [one.shape[1:] for one in (*session.get_inputs(), *session.get_outputs())]
        names = {one.name for one in (*session.get_inputs(), *session.get_outputs())}
    except Exception as error:  # onnxruntime has a class for every way in which a file may be none of its own
        raise UserError(f"{path}: onnxruntime cannot read it ({type(error).__name__}): {REMEDY}") from error
    fits = names >= {INPUT, *OUTPUTS} and [WINDOW, 1] in found and [WINDOW_FRAMES, KEYS] in found
    if not fits:
        raise UserError(f"{path} is another network than basic-pitch's: {REMEDY}")
    return lambda windows: tuple(session.run(list(OUTPUTS), {INPUT: windows[..., None]}))


def checked(path: files.Path) -> str:
    """Hexadecimal digest of the network in a file, 16 characters. Raises as `load`."""
    load(path)
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:16]


def transcribe(network: Network, blocks: Iterable[np.ndarray], sample_rate: int) -> Score:
    """The notes of a recording, all in one part, without a meter.

    Args:
      network: from `load`.
      blocks: float32 [S] in [-1, 1], one after the other; memory grows with the activations, 60 kB a second.
      sample_rate: Hz.
    """
    sounding, onsets = activations(network, _resampled(blocks, sample_rate))
    rows = np.array(list(notes_of(sounding, onsets)), np.float64).reshape(-1, 4)
    first, last, key, loudness = rows.T
    seconds = FRAME / SAMPLE_RATE
    velocity = np.clip(np.round(loudness * MAX_VELOCITY), 1, MAX_VELOCITY)
    columns = key + LOWEST_KEY, first * seconds, (last - first) * seconds, velocity, np.zeros(len(rows))
    return Score(np.stack(columns, axis=1))


def _resampled(blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """The blocks at the network's rate."""
    import soxr

    if sample_rate == SAMPLE_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(np.asarray(block, np.float32))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def activations(network: Network, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Which keys sound and which begin, two float32 [T, KEYS] in [0, 1]; frame t is centred at t * FRAME samples.

    Windows move on by as many frames as are kept of each, so that the frames of all of them are evenly spaced.
    """
    sizes: list[int] = []

    def counted() -> Iterator[np.ndarray]:
        for block in blocks:
            sizes.append(len(block))
            yield block

    parts = [network(windows) for windows in _windows(counted())]
    num_frames = -(-sum(sizes) // FRAME)
    joined = (np.concatenate(one)[:, MARGIN:-MARGIN].reshape(-1, KEYS) for one in zip(*parts, strict=True))
    sounding, onsets = (one[:num_frames] for one in joined)
    return sounding, onsets


def _windows(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Windows float32 [B, WINDOW], the first with a margin of silence before the audio; one at least."""
    hop = (WINDOW_FRAMES - 2 * MARGIN) * FRAME
    held, ready, total, begun = np.zeros(MARGIN * FRAME, np.float32), [], 0, 0
    for block in itertools.chain(blocks, [None]):
        if block is not None:
            total += len(block)
            held = np.concatenate([held, np.asarray(block, np.float32)])
        while len(held) >= WINDOW or (block is None and begun * hop < max(total, 1)):
            ready.append(np.pad(held[:WINDOW], (0, max(WINDOW - len(held), 0))))
            held, begun = held[hop:], begun + 1
            if len(ready) == BATCH:
                yield np.stack(ready)
                ready = []
    if ready:
        yield np.stack(ready)


def notes_of(sounding: np.ndarray, onsets: np.ndarray) -> Iterator[tuple[int, int, int, float]]:
    """(first frame, frame behind the last, key, mean activation) of the notes in activations [T, KEYS]."""
    free = sounding.copy()  # what belongs to no note yet
    peaks = _peaks(_with_rises(onsets, sounding))
    for first, key in peaks[::-1]:
        last = _end(free[:, key], first)
        if last - first > SHORTEST_FRAMES:
            _take(free, first, last, key)
            yield first, last, key, float(sounding[first:last, key].mean())
    loud = np.flatnonzero(free > SOUND_LEAST)
    for place in loud[np.argsort(-free.flat[loud], kind="stable")]:
        middle, key = divmod(int(place), KEYS)
        if free[middle, key] == 0:  # a note has taken it meanwhile
            continue
        free[middle, key] = 0
        last = _end(free[:, key], middle)
        first = len(free) - _end(free[::-1, key], len(free) - 1 - middle)
        _take(free, max(first - GAP_FRAMES, 1), min(last + GAP_FRAMES, len(free) - 1), key)
        last -= 1  # it has no onset that says where it begins: its edges are those of the published notes
        if last - first > SHORTEST_FRAMES:
            yield first, last, key, float(sounding[first:last, key].mean())


def _with_rises(onsets: np.ndarray, sounding: np.ndarray) -> np.ndarray:
    """The onsets, and where a key sounds much more than one and two frames before: as strong as the strongest onset."""
    rises = np.zeros_like(sounding)
    if len(sounding) > 2:
        one, two = sounding[2:] - sounding[1:-1], sounding[2:] - sounding[:-2]
        rises[2:] = np.maximum(np.minimum(one, two), 0)
    strongest = rises.max(initial=0)
    return np.maximum(onsets, rises * (onsets.max(initial=0) / strongest if strongest else 0))


def _peaks(onsets: np.ndarray) -> list[tuple[int, int]]:
    """(frame, key) where an onset is larger than in the frames beside it, and large enough; in order of the frames."""
    middle = onsets[1:-1]
    places = np.argwhere((middle > onsets[:-2]) & (middle > onsets[2:]) & (middle >= ONSET_LEAST))
    return [(int(frame) + 1, int(key)) for frame, key in places]


def _end(column: np.ndarray, first: int) -> int:
    """Frame behind the last of a note that begins at `first`, of a key's activations [T]."""
    quiet, frame = 0, first + 1
    while frame < len(column) - 1 and quiet < GAP_FRAMES:
        quiet = quiet + 1 if column[frame] < SOUND_LEAST else 0
        frame += 1
    return frame - quiet


def _take(free: np.ndarray, first: int, last: int, key: int) -> None:
    """Takes a note out of what is free, with the keys beside it, which sound a little as well."""
    free[first:last, max(key - 1, 0) : key + 2] = 0

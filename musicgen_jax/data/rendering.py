"""Tracks whose scores the package's own synthesizer plays, for data sets of scores without recordings."""

import dataclasses
import functools
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from musicgen_jax.data import track
from musicgen_jax.ddsp import performance, synthesizer, timbres
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import PITCH, Score

SYNTHESIZER = "synthesizer"  # all its timbres by turns
BLOCK_SAMPLES = 1 << 18


def timbres_of(render: str) -> tuple[timbres.Timbre, ...]:
    """The timbres that `--render` asks for: "synthesizer" for all of them, or the name of one.

    Raises:
      UserError: there is none of that name.
    """
    found = timbres.ALL if render == SYNTHESIZER else tuple(one for one in timbres.ALL if one.name == render)
    if not found:
        known = ", ".join(one.name for one in timbres.ALL)
        raise UserError(f"`render`={render}: must be {SYNTHESIZER} (all timbres by turns), or one of {known}")
    return found


def digest(render: str) -> str:
    """Hexadecimal SHA-256 of the timbres that `render` names: of two times, whether they sound the same.

    Raises as `timbres_of`.
    """
    return hashlib.sha256(" ".join(map(timbres.digest, timbres_of(render))).encode()).hexdigest()


def rendered(tracks: Sequence[track.Track], render: str, sample_rate: int) -> list[track.Track]:
    """Tracks with scores, each as what the synthesizer makes of it: by turns in the timbres that `render` names.

    As of the chorales the timbre is the genre, which is what sampling and evaluation take for it.

    Args:
      tracks: with a score, in memory or to be read; their duration is the length of the result.
      render: see `timbres_of`.
      sample_rate: Hz.

    Raises:
      UserError: there is no such timbre.
    """
    chosen = timbres_of(render)
    return [_rendered(item, chosen[index % len(chosen)], sample_rate) for index, item in enumerate(tracks)]


def _rendered(item: track.Track, timbre: timbres.Timbre, sample_rate: int) -> track.Track:
    score = item.score_from or functools.partial(_itself, item.score)
    seconds = round(item.duration * sample_rate) / sample_rate
    return dataclasses.replace(
        item,
        hash=hashlib.sha256(f"{item.hash} {timbres.digest(timbre)}".encode()).hexdigest(),
        labels=item.labels | {"genre": timbre.name},
        duration=seconds,
        sample_rate=sample_rate,
        channels=1,
        blocks=functools.partial(blocks, score, timbre.name, seconds, sample_rate),
        score_kind="exact",
    )


def _itself(score: Score) -> Score:
    return score


def blocks(score_from: Callable[[], Score], timbre: str, seconds: float, sample_rate: int) -> Iterator[np.ndarray]:
    """What `track.Track.blocks` asks for, at the synthesizer's set loudness; memory for some seconds of it.

    Args:
      score_from: reads the score.
      timbre: name of one of the synthesizer's.
      seconds: length.
      sample_rate: Hz.

    Raises:
      UserError: a note is too high for the sample rate; or as `performance.blocks`.
    """
    score = score_from()
    if reason := objection(score, sample_rate):
        raise UserError(reason)
    yield from leveled(performance.blocks(score, timbres_of(timbre)[0], seconds, sample_rate))


def leveled(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same audio, float32 [S] a block, at the synthesizer's set loudness."""
    power, peak, num_samples = 0.0, 0.0, 0
    # How loud the whole is shows at its end: until then it waits in a file.
    with tempfile.TemporaryFile() as file:
        for block in blocks:
            power += float(np.sum(block.astype(np.float64) ** 2))
            peak = max(peak, float(np.max(np.abs(block), initial=0.0)))
            num_samples += len(block)
            file.write(block.tobytes())
        gain = synthesizer.gain((power / max(num_samples, 1)) ** 0.5, peak)
        file.seek(0)
        while content := file.read(4 * BLOCK_SAMPLES):
            yield np.frombuffer(content, np.float32) * gain


def objection(score: Score, sample_rate: int) -> str:
    """Why a score cannot be played at a sample rate, or ""."""
    highest = float(score.notes[:, PITCH].max(initial=0))
    hertz = 440 * 2 ** ((highest - 69) / 12)
    if hertz < sample_rate / 2:
        return ""
    return f"pitch beyond the sample rate: MIDI {highest:g} is {hertz:.0f} Hz, too high for {sample_rate} Hz"

"""MIDI files played by FluidSynth with a General MIDI soundfont: all instruments and drums, as the file names them."""

import contextlib
import dataclasses
import functools
import hashlib
import pathlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator

import numpy as np

from musicgen_jax.data import audio_io, rendering, track
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

PROGRAM = "fluidsynth"
SAMPLE_RATE = 44100  # Hz at which FluidSynth renders
TAIL_SECONDS = 4.0  # behind the last note: it dies away, and a player that has no end is stopped
BLOCK_FRAMES = 1 << 16
START_SECONDS = 120.0  # to load the soundfont; it then plays faster than one listens


def checked(soundfont: str) -> str:
    """A digest of a soundfont, SHA-256 in hexadecimal, if there is FluidSynth to play it.

    Raises:
      UserError: it is no soundfont, there is no such file, or no FluidSynth.
    """
    if shutil.which(PROGRAM) is None:
        remedy = "install FluidSynth, or pass `render`=synthesizer instead"
        raise UserError(f"`soundfont`={soundfont}: needs the program {PROGRAM}, which is not on the PATH; {remedy}")
    files.require_file(soundfont, "soundfont")
    with open(soundfont, "rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:] != b"sfbk":
            raise UserError(f"`soundfont`={soundfont} is no soundfont: it begins with {header!r}; pass an .sf2 file")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def player(render: str, soundfont: str, sample_rate: int) -> Callable[[list[track.Track]], list[track.Track]]:
    """What makes of tracks with the scores of MIDI files what was asked for: the same, or tracks with audio.

    Args:
      render: what of the package's synthesizer plays them, see `rendering.timbres_of`; "" for none.
      soundfont: with which FluidSynth plays them; "" for none.
      sample_rate: Hz.

    Raises:
      UserError: both are given; no such timbre; or as `checked`.
    """
    if render and soundfont:
        raise UserError(f"`render`={render} and `soundfont`={soundfont}: pass one of them")
    if render:
        rendering.timbres_of(render)
        return lambda items: rendering.rendered(items, render, sample_rate)
    if not soundfont:
        return lambda items: items
    return functools.partial(_with_audio, soundfont=soundfont, digest=checked(soundfont), rate=sample_rate)


def _with_audio(items: list[track.Track], soundfont: str, digest: str, rate: int) -> list[track.Track]:
    return [
        dataclasses.replace(
            item,
            hash=hashlib.sha256(f"{item.hash} {digest}".encode()).hexdigest(),
            sample_rate=rate,
            channels=1,
            blocks=functools.partial(blocks, item.score_from.args[0], soundfont, item.duration, rate),
        )
        for item in items
    ]


def blocks(path: str, soundfont: str, seconds: float, sample_rate: int) -> Iterator[np.ndarray]:
    """What `track.Track.blocks` asks for, of a MIDI file, at the synthesizer's set loudness.

    Args:
      path: of the file.
      soundfont: see `checked`.
      seconds: until its last note ends.
      sample_rate: Hz of the result.

    Raises:
      UserError: FluidSynth has failed.
    """
    played = _played(path, soundfont, round((seconds + TAIL_SECONDS) * SAMPLE_RATE))
    yield from rendering.leveled(audio_io.resample_blocks(played, SAMPLE_RATE, sample_rate))


def _played(path: str, soundfont: str, max_frames: int) -> Iterator[np.ndarray]:
    """Mono float32 blocks [S], at most `max_frames` in all."""
    options = ["-ni", "-q", "-T", "raw", "-O", "s16", "-E", "little", "-r", str(SAMPLE_RATE), "-F", "-"]
    # Absolute paths: one that begins with a hyphen would be an option.
    names = [str(pathlib.Path(name).absolute()) for name in (soundfont, path)]
    frames = 0
    limit = START_SECONDS + max_frames / SAMPLE_RATE
    with _running([PROGRAM, *options, *names], limit) as process:
        while frames < max_frames and (content := process.stdout.read(4 * BLOCK_FRAMES)):
            stereo = audio_io.from_int16(np.frombuffer(content[: len(content) // 4 * 4], "<i2")).reshape(-1, 2)
            yield audio_io.mixed(stereo[: max_frames - frames])
            frames += len(stereo)
        if frames < max_frames and (code := process.wait()):
            raise UserError(f"{PROGRAM} failed on {files.describe_path(path)} (exit code {code})")
    if not frames:
        raise UserError(f"{PROGRAM} made no sound of {files.describe_path(path)}")


@contextlib.contextmanager
def _running(command: list[str], seconds: float) -> Iterator[subprocess.Popen]:
    """A process whose output is read; it ends with this context, whatever it is doing, or when it takes too long:
    before the patience of `workers.ordered_map` ends, which would kill its parent alone."""
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **quiet)
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        process.kill()
        process.stdout.close()
        process.wait()

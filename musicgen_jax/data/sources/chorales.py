"""Bach chorales, rendered by the package's own synthesizer: the data set that needs no download of recordings."""

import contextlib
import functools
import hashlib
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from musicgen_jax.data import rendering, track, workers
from musicgen_jax.data.sources import folder
from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import music_xml
from musicgen_jax.scores.score import Score, of_voices

NUM_CHORALES = 120
MAX_SECONDS = 40.0  # of each chorale; the rest is cut
MIN_SECONDS = 1.0
BEATS_PER_MINUTE = 90.0  # quarters
TEMPO_VARIATION = 0.07  # of it, to either side
FERMATA_STRETCH = 1.4
VELOCITY = 0.8
VELOCITY_VARIATION = 0.15
PARTS = ("Soprano", "Alto", "Tenor", "Bass")
BLOCK_SECONDS = 10.0


def tracks(
    source: str, sample_rate: int, seed: int, num_workers: int, num_chorales: int = NUM_CHORALES
) -> tuple[list[track.Track], list[track.Rejection]]:
    """Chooses chorales in four parts and plans their rendering, each in one timbre, all timbres equally often.

    The timbre is the genre. Everything follows from the seed: the choice, the timbres, tempo and velocities; audio is
    rendered when a track's blocks are read.

    Args:
      source: "" for the chorales of the music21 corpus, or a folder of MusicXML files, searched recursively.
      sample_rate: Hz of the rendering.
      seed: 0 or more.
      num_workers: processes that parse scores; 0 parses here. The result does not depend on it.
      num_chorales: how many to take; fewer if the source has fewer.

    Returns:
      Tracks sorted by id, and a rejection for each score that was looked at and not taken.

    Raises:
      UserError: music21 is not installed, no such folder, no score in it, a negative seed, or num_chorales below 1.
    """
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more")
    if num_chorales < 1:
        raise UserError(f"num_chorales is {num_chorales}; it must be at least 1")
    paths, root, unlisted = _scores(source)
    order = np.random.default_rng(seed).permutation(len(paths))
    taken: dict[bytes, track.Track] = {}
    rejections = [track.Rejection(path, f"folder unreadable: {why}") for path, why in unlisted]
    candidates = [paths[i] for i in order]
    with contextlib.closing(workers.ordered_map(music_xml.read_or_explain, candidates, num_workers)) as results:
        for path, result in zip(candidates, results, strict=False):
            name = folder.name_of(str(path), str(root))
            result = f"lost: {result.reason}" if isinstance(result, workers.Lost) else result
            reason = result if isinstance(result, str) else _objection(result, taken, sample_rate)
            if reason:
                rejections.append(track.Rejection(path=name, reason=reason, hash=_file_hash(path)))
            else:
                timbre = timbres.ALL[len(taken) % len(timbres.ALL)]
                taken[_tune(result)] = _plan(result, name, timbre, sample_rate, seed)
            if len(taken) == num_chorales:
                break
    return sorted(taken.values(), key=lambda t: t.track_id), rejections


def notes(source: str) -> dict[str, object]:
    """Facts for the report: how the chorales are rendered, and a hash of the scores' paths and sizes.

    Equal for two runs that render alike. Raises as `tracks`.
    """
    paths, root, _ = _scores(source)
    listing = "".join(f"{folder.name_of(str(path), str(root))}\0{folder.size_of(str(path))}\n" for path in paths)
    return {
        "scores": source or "Bach chorales of the music21 corpus",
        "listing_hash": hashlib.sha256(listing.encode()).hexdigest(),
        "num_chorales": NUM_CHORALES,
        "max_seconds": MAX_SECONDS,
        "timbres": {timbre.name: timbres.digest(timbre) for timbre in timbres.ALL},
    }


def _scores(source: str) -> tuple[list[pathlib.Path], pathlib.Path, list[tuple[str, str]]]:
    """Sorted paths of the scores, the folder they lie in, and folders that cannot be listed with the reason."""
    try:
        from music21 import corpus
    except ImportError as error:
        raise UserError(
            "the chorales need music21, which is not installed: pip install 'musicgen_jax[demo]'"
        ) from error
    unlisted = []
    if source:
        found, _, unlisted = folder.find_files(source, music_xml.SUFFIXES)
        paths, root = list(map(pathlib.Path, found)), pathlib.Path(source)
    else:
        paths = [p for p in map(pathlib.Path, corpus.getComposer("bach")) if p.suffix in music_xml.SUFFIXES]
        root = paths[0].parent if paths else pathlib.Path()
        paths = [p for p in paths if p.parent == root]
    if not paths:
        raise UserError(f"no score in {source or 'the music21 corpus'}; expected files {', '.join(music_xml.SUFFIXES)}")
    return sorted(paths), root, unlisted


def _objection(written: music_xml.Written, taken: dict[bytes, track.Track], sample_rate: int) -> str:
    """Why a score cannot enter, or ""."""
    if written.parts != PARTS:
        return f"parts other than {', '.join(PARTS)}: {', '.join(written.parts) or 'none'}"
    if not all(map(len, _voices(written))):
        return "a part has no notes"
    if too_high := rendering.objection(written.score, sample_rate):
        return too_high
    quarters = written.score.seconds  # a second each
    if quarters * 60 / BEATS_PER_MINUTE < MIN_SECONDS:
        return f"shorter than {MIN_SECONDS:g} s: {quarters:g} quarters"
    twin = taken.get(_tune(written))
    return f"the same notes, in whatever key, as: {twin.path}" if twin else ""


def _voices(written: music_xml.Written) -> list[np.ndarray]:
    """The notes of each part, float32 [N, 3]: pitch, onset and duration in quarters."""
    return [written.score.of_part(part)[:, :3] for part in range(len(written.parts))]


def _tune(written: music_xml.Written) -> bytes:
    """The notes, relative to the first: equal for two copies of a chorale in different keys."""
    rows = np.concatenate(_voices(written))
    return (rows - [rows[0, 0], 0, 0]).astype(np.float32).tobytes()


def _plan(written: music_xml.Written, name: str, timbre: timbres.Timbre, sample_rate: int, seed: int) -> track.Track:
    """Fixes all that will sound, so that length and hash are known before a sample is rendered."""
    name_hash = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    voices, score, seconds = _perform(written, np.random.default_rng([seed, name_hash]))
    seconds = round(seconds * sample_rate) / sample_rate
    sha = hashlib.sha256(timbres.digest(timbre).encode())
    for voice in voices:
        sha.update(f"{voice.shape}".encode() + voice.tobytes())
    work = re.match(r"bwv\d+", written.name)
    return track.Track(
        track_id=f"{pathlib.Path(name).with_suffix('').as_posix()}_{timbre.name}",
        path=name,
        # The whole work: two chorales of one cantata or Passion often are the same tune, harmonised almost alike.
        group=work.group() if work else written.name,
        hash=sha.hexdigest(),
        labels={"genre": timbre.name, "artist": "bach"},
        duration=seconds,
        sample_rate=sample_rate,
        channels=1,
        blocks=functools.partial(_blocks, voices, timbre, seconds, sample_rate),
        score=score,
        score_kind="exact",
    )


def _perform(written: music_xml.Written, rng: np.random.Generator) -> tuple[list[np.ndarray], Score, float]:
    """Quarters to seconds, at a tempo of its own and with fermatas held.

    Returns:
      Notes [N, 4] a voice, as the synthesizer plays them; the same as a score, with its meter; and the length in s.
    """
    score = written.score
    quarter = 60 / (BEATS_PER_MINUTE * (1 + rng.uniform(-TEMPO_VARIATION, TEMPO_VARIATION)))
    # Time in seconds is piecewise linear in quarters, steeper under a fermata.
    knots, seconds = [0.0], [0.0]
    for start, end in (*score.fermatas.tolist(), (score.seconds, score.seconds)):
        seconds.append(seconds[-1] + (start - knots[-1]) * quarter)
        seconds.append(seconds[-1] + (end - start) * quarter * FERMATA_STRETCH)
        knots += [start, end]
    length = min(seconds[-1], MAX_SECONDS)
    voices = []
    for voice in _voices(written):
        velocity = VELOCITY + rng.uniform(-VELOCITY_VARIATION, VELOCITY_VARIATION, len(voice))
        onset = np.interp(voice[:, 1], knots, seconds)
        end = np.minimum(np.interp(voice[:, 1] + voice[:, 2], knots, seconds), length)
        rows = np.stack([voice[:, 0], onset, end - onset, velocity], axis=1)
        voices.append(rows[onset < length].astype(np.float32))
    # The last quarter that is known may end after the last note, in the tempo before.
    quarters = np.interp(score.quarters, [*knots, knots[-1] + 1], [*seconds, seconds[-1] + quarter])
    fermatas = np.interp(score.fermatas, knots, seconds)
    syllables = tuple((float(np.interp(quarter, knots, seconds)), text) for quarter, text in score.syllables)
    performed = of_voices(voices, quarters=quarters, bars=score.bars, fermatas=fermatas, syllables=syllables)
    return voices, performed.cut(0, length), length


def _blocks(voices: list[np.ndarray], timbre: timbres.Timbre, seconds: float, sample_rate: int) -> Iterator[np.ndarray]:
    audio = synthesizer.render(synthesizer.pack(voices), timbre, seconds, sample_rate)
    block_length = round(BLOCK_SECONDS * sample_rate)
    for start in range(0, len(audio), block_length):
        yield audio[start : start + block_length]


def _file_hash(path: pathlib.Path) -> str:
    """ "" where there is nothing to be read: a FIFO would block."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    except OSError:
        return ""

"""Source `recordings`: any folder of wav, flac, ogg and mp3 files, nested, of mixed rates, mono or stereo.

A MIDI file beside a recording, of the same name, is its score; an .lrc or .txt file has its lyrics.
"""

import collections
import functools
import hashlib
import os

from musicgen_jax.data import audio_check, audio_io, lyrics, track, workers
from musicgen_jax.data.sources import folder, sidecars
from musicgen_jax.runtime import console, progress_report
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi

MIN_SECONDS = 1.0


def tracks(
    source: str, sample_rate: int, seed: int, num_workers: int, min_seconds: float = MIN_SECONDS
) -> tuple[list[track.Track], list[track.Rejection]]:
    """Checks every audio file below `source` in one streaming pass each; both lists are in the order of the paths.

    Args:
      source: the folder.
      sample_rate: Hz at which the tracks' `blocks` come.
      seed: unused: recordings are what they are.
      num_workers: processes that check files, 0 for none; the result does not depend on it.
      min_seconds: shorter files are rejected.

    Returns:
      The tracks that can be used, and what was rejected: no regular file, undecodable, empty, truncated, damaged, with
      NaN or infinite samples, an absurd sample rate or length, or more than two channels, too short, silent, or an
      exact duplicate (the same samples in whatever container; the first path stays). Clipped and mostly silent files,
      those whose container leaves a doubt, and those whose side-car is unfit, are kept with a warning.

    Raises:
      UserError: no folder, or no audio file in it.
    """
    del seed
    paths, _, unlisted = _find(source)
    if not paths:
        known = " ".join(audio_io.EXTENSIONS)
        raise UserError(f"no audio in {source}: it holds no file that ends in {known}; check `source`")
    check = functools.partial(audio_check.inspect, min_seconds=min_seconds)
    kept, rejected, first_of = {}, [track.Rejection(path, f"folder unreadable: {why}") for path, why in unlisted], {}
    cores = console.describe_cores(max(num_workers, 1))
    with progress_report.Progress(
        "check files", sum(map(folder.size_of, paths)) / 1e6, "MB", devices=cores
    ) as progress:
        for path, facts in zip(paths, workers.ordered_map(check, paths, num_workers, _patience), strict=True):
            progress.update(folder.size_of(path) / 1e6)
            name = folder.name_of(path, source)
            if isinstance(facts, workers.Lost):
                facts = audio_check.AudioFacts(hash="", reason=f"lost: {facts.reason}")
            reason = facts.reason
            if not reason and (first := first_of.setdefault(facts.audio_hash, name)) != name:
                reason = f"exact duplicate of: {first}"
            if reason:
                rejected.append(
                    track.Rejection(name, reason, facts.hash, facts.duration, facts.sample_rate, facts.channels)
                )
            else:
                kept[path] = _track(path, name, facts, sample_rate)
    return sidecars.with_scores(sidecars.with_lyrics(kept, num_workers), num_workers), rejected


def _patience(path: str) -> float:
    """Seconds within which a file must be checked: decoders take some megabytes a second."""
    return workers.ITEM_SECONDS + folder.size_of(path) / 5e4


def notes(source: str) -> dict[str, object]:
    """Facts for the report, without decoding: files ignored by extension, and a hash of the paths and sizes.

    Equal hashes of two runs mean that the folder has not changed in between. Raises UserError where it is none.
    """
    paths, ignored, _ = _find(source)
    beside = {sidecars.find(path, suffixes) for path in paths for suffixes in (midi.SUFFIXES, lyrics.SUFFIXES)}
    beside = sorted(beside - {""})
    digest = hashlib.sha256()
    for path in (*paths, *beside):
        digest.update(f"{folder.name_of(path, source)}\0{folder.size_of(path)}\n".encode())
    used = collections.Counter(os.path.splitext(path)[1].lower() for path in beside)
    left = {extension: count - used[extension] for extension, count in ignored.items() if count > used[extension]}
    return {"ignored_files": left, "listing_hash": digest.hexdigest()}


def _find(source: str) -> tuple[list[str], dict[str, int], list[tuple[str, str]]]:
    if not source:
        raise UserError("`source` is empty; the dataset recordings needs a folder of audio files: `source`=DIR")
    return folder.find_files(source, audio_io.EXTENSIONS)


def _track(path: str, name: str, facts: audio_check.AudioFacts, sample_rate: int) -> track.Track:
    parent = name.split("/")[-2] if "/" in name else ""
    return track.Track(
        track_id=name,
        path=name,
        group=facts.audio_hash,
        hash=facts.hash,
        labels={"artist": facts.artist or "unknown", "genre": facts.genre or parent or "unknown"},
        duration=facts.duration,
        sample_rate=facts.sample_rate,
        channels=facts.channels,
        blocks=functools.partial(audio_io.read_blocks, path, sample_rate),
        warning=facts.warning,
    )

"""Source `recordings`: any folder of wav, flac, ogg and mp3 files, nested, of mixed rates, mono or stereo.

A MIDI file beside a recording, of the same name, is its score; an .lrc or .txt file has its lyrics; a .caption.txt or
.json file says how it sounds.
"""

import collections
import dataclasses
import os

from musicgen_jax import config
from musicgen_jax.data import audio_check, audio_io, captions, lyrics, track
from musicgen_jax.data.sources import folder, sidecars
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi

# A recording of the same samples as one before it is rejected; artists, albums, versions of one stay together.
UNIQUE = True
OPTIONS = ("txt",)
TXT = ("lyrics", "caption")  # what x.txt beside x.wav is


def tracks(
    source: str, sample_rate: int, seed: int, num_workers: int, txt: str = TXT[0]
) -> tuple[list[track.Track], list[track.Rejection]]:
    """The audio files below `source`, in the order of their paths; nothing is read of them yet.

    Rejected when they are: what is no regular file, undecodable, empty, truncated, damaged, with NaN or infinite
    samples, an absurd sample rate or length, or more than two channels, too short, silent, or an exact duplicate (the
    same samples in whatever container; the first path stays). Clipped and mostly silent files, those whose container
    leaves a doubt, and those whose side-car is unfit, are kept with a warning.

    Args:
      source: the folder.
      sample_rate, seed, num_workers: unused: recordings are what they are.
      txt: one of `TXT`.

    Returns:
      The tracks, and a rejection for each folder that cannot be listed.

    Raises:
      UserError: no folder, no audio file in it, or an unknown `txt`.
    """
    config.require(txt in TXT, f"`txt`={txt}: what x.txt beside x.wav is must be one of {', '.join(TXT)}")
    del sample_rate, seed, num_workers
    paths, _, unlisted = _find(source)
    if not paths:
        known = " ".join(audio_io.EXTENSIONS)
        raise UserError(f"no audio in {source}: it holds no file that ends in {known}; check `source`")
    rejected = [track.Rejection(path, f"folder unreadable: {why}") for path, why in unlisted]
    return [_track(path, folder.name_of(path, source), txt) for path in paths], rejected


def _track(path: str, name: str, txt: str) -> track.Track:
    parent = name.split("/")[-2] if "/" in name else ""
    labels = {"artist": config.UNKNOWN_LABEL, "genre": parent or config.UNKNOWN_LABEL}
    return track.of_file(path, name, labels, **sidecars.kinds(path, txt == "caption"))


def checked(item: track.Track, facts: audio_check.AudioFacts) -> track.Track:
    """A track whose recording has been read: its labels by the tags, and the score, lyrics and caption beside it."""
    known = {name: value for name, value in (("artist", facts.artist), ("genre", facts.genre)) if value}
    item = sidecars.with_lyrics(dataclasses.replace(item, labels=item.labels | known))
    return sidecars.with_score(sidecars.with_caption(item, facts.title))


def notes(source: str) -> dict[str, object]:
    """Facts for the report, without decoding: files ignored by extension, and a hash of the paths and sizes.

    Equal hashes of two runs mean that the folder has not changed in between. Raises UserError where it is none.
    """
    paths, ignored, _ = _find(source)
    kinds = (midi.SUFFIXES, lyrics.SUFFIXES, captions.SUFFIXES)
    beside = {sidecars.find(path, suffixes) for path in paths for suffixes in kinds}
    beside = sorted(beside - {""})
    used = collections.Counter(os.path.splitext(path)[1].lower() for path in beside)
    left = {extension: count - used[extension] for extension, count in ignored.items() if count > used[extension]}
    return {"ignored_files": left, "listing_hash": folder.listing_hash([*paths, *beside], source)}


def _find(source: str) -> tuple[list[str], dict[str, int], list[tuple[str, str]]]:
    if not source:
        raise UserError("`source` is empty; the dataset recordings needs a folder of audio files: `source`=DIR")
    return folder.find_files(source, audio_io.EXTENSIONS)

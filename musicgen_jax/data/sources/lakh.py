"""Source `lakh`: the Lakh MIDI Dataset v0.1, any of its archives, unpacked, by themselves or side by side.

    lmd_full/0/MD5.mid                       every file, by its MD5
    lmd_matched/A/B/C/TRABC.../MD5.mid       the files of each track of the Million Song Dataset (MSD) that they match
    clean_midi/ARTIST/TITLE.mid              files whose artist and title are known

Many files are versions of one song, so no file is split off by itself. Of one group are files that (a) match the same
MSD track, by their folder or by `match_scores.json` where that lies in or beside the source; (b) are by the same
artist, by their folder or, of MSD tracks, by the MSD's `unique_tracks.txt` where that lies there; or (c) have nearly
the same notes whatever the key, the tempo and the tracks: a quarter of their melodies in common
(`scores/melodic_shingles.py`). What several such steps link is of one group too.
"""

import collections
import dataclasses
import functools
import hashlib
import pathlib
import re
from typing import NamedTuple

import numpy as np

from musicgen_jax.data import near_duplicates, rendering, track, workers
from musicgen_jax.data import soundfont as soundfonts
from musicgen_jax.data.sources import folder
from musicgen_jax.runtime import console, files, progress_report
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import melodic_shingles, midi

OPTIONS = ("render", "soundfont")
MIN_SECONDS = 1.0
MATCHES, TRACKS = "match_scores.json", "unique_tracks.txt"
LICENCE = {
    "licence": "CC-BY-4.0",
    "licence_url": "https://creativecommons.org/licenses/by/4.0/",
    "attribution": "Colin Raffel, Learning-Based Methods for Comparing Sequences, with Applications to Audio-to-MIDI "
    "Alignment and Matching, PhD thesis, Columbia University, 2016",
    "licence_note": "CC-BY-4.0 is the licence of the Lakh MIDI Dataset as a collection; its files are transcriptions "
    "from the web, most of them of songs under copyright, which its author could not license",
}


class Facts(NamedTuple):
    """What one reading of a file tells; `reason` is why it is rejected, or "", then the rest is known."""

    reason: str
    seconds: float = 0.0
    digest: str = ""
    md5: str = ""
    sketch: np.ndarray | None = None


class Place(NamedTuple):
    """What a path tells: the MD5 of the file, the MSD track that it matches, its artist; "" each where it does not."""

    md5: str = ""
    msd_track: str = ""
    artist: str = ""


def tracks(
    source: str, sample_rate: int, seed: int, num_workers: int, render: str = "", soundfont: str = ""
) -> tuple[list[track.Track], list[track.Rejection]]:
    """Reads every MIDI file below `source` once; both lists are in the order of the paths.

    Scores stay in their files until they are written. What the sustain pedal holds sounds on; drums are not in scores.

    Args:
      source: the folder.
      sample_rate: Hz, of what is rendered.
      seed: unused.
      num_workers: processes that read files, 0 for none; the result does not depend on it.
      render: for tracks with audio: "synthesizer" or a timbre, see `rendering.timbres_of`.
      soundfont: in its place, a soundfont with which FluidSynth plays them.

    Returns:
      Tracks; and what was rejected: unreadable (some thousand files of the full data set are, by design), shorter than
      a second, with the notes of a file before it, or, where it is to be rendered, too high for the sample rate.

    Raises:
      UserError: no folder, no MIDI file in it, no such timbre or soundfont, or both.
    """
    del seed
    finish = soundfonts.player(render, soundfont, sample_rate)
    paths, _, unlisted = _find(source)
    msd = _Msd.beside(source)
    read = functools.partial(read_facts, sample_rate=sample_rate if render else 0)
    rejected = [track.Rejection(path, f"folder unreadable: {why}") for path, why in unlisted]
    kept: dict[str, _Kept] = {}
    cores = console.describe_cores(max(num_workers, 1))
    with progress_report.Progress("check files", len(paths), "files", devices=cores) as progress:
        for path, facts in zip(paths, workers.ordered_map(read, paths, num_workers), strict=True):
            progress.update(1)
            name = folder.name_of(path, source)
            facts = Facts(f"lost: {facts.reason}") if isinstance(facts, workers.Lost) else facts
            found = kept.get(facts.digest)
            if found:
                found.places.extend([place_of(name), Place(facts.md5)])
            if found or facts.reason:
                reason = facts.reason or f"the same notes as: {found.name}"
                rejected.append(track.Rejection(name, reason, facts.digest, facts.seconds))
            else:
                kept[facts.digest] = _Kept(name, path, facts, [place_of(name)])
    groups = grouped(list(kept.values()), msd)
    items = [_track(one, group, msd) for one, group in zip(kept.values(), groups, strict=True)]
    return finish(items), rejected


@dataclasses.dataclass(frozen=True)
class _Kept:
    """A file that is a track: its name, its path, what it holds, and all places at which the same notes lie."""

    name: str
    path: str
    facts: Facts
    places: list[Place]


@dataclasses.dataclass(frozen=True)
class _Msd:
    """What is known of the Million Song Dataset: MD5 of a file -> tracks that it matches; track -> its artist."""

    tracks_of: dict[str, list[str]]
    artist_of: dict[str, str]

    @classmethod
    def beside(cls, source: str) -> "_Msd":
        """By the files that lie in the source or beside it, if any."""
        tracks_of: dict[str, list[str]] = collections.defaultdict(list)
        if path := _companion(source, MATCHES):
            for msd_track, scores in files.read_json(path).items():
                for md5 in scores if isinstance(scores, dict) else ():
                    tracks_of[md5].append(msd_track)
        artist_of = {}
        if path := _companion(source, TRACKS):
            with open(path, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    fields = line.rstrip("\n").split("<SEP>")
                    if len(fields) == 4 and fields[2]:
                        artist_of[fields[0]] = fields[2]
        return cls(dict(tracks_of), artist_of)

    def matched(self, one: _Kept) -> list[str]:
        """The MSD tracks that a file matches, in order."""
        md5s = {place.md5 for place in one.places} | {one.facts.md5}
        by_scores = (msd_track for md5 in md5s for msd_track in self.tracks_of.get(md5, ()))
        return sorted({*by_scores, *(place.msd_track for place in one.places)} - {""})

    def artists(self, one: _Kept) -> list[str]:
        """The artists of a file, in order."""
        known = {place.artist for place in one.places} | {self.artist_of.get(name, "") for name in self.matched(one)}
        return sorted(known - {""})


def _companion(source: str, name: str) -> pathlib.Path | None:
    places = (pathlib.Path(source) / name, pathlib.Path(source).parent / name)
    return next((path for path in places if path.is_file()), None)


def place_of(name: str) -> Place:
    """What the path of a file, relative to any folder above it, tells by the published layouts."""
    parts = name.split("/")
    stem = pathlib.PurePosixPath(parts[-1]).stem
    parent = parts[-2] if len(parts) > 1 else ""
    if re.fullmatch(r"[0-9a-f]{32}", stem):
        return Place(stem, msd_track=parent if re.fullmatch(r"TR[A-Z0-9]{16}", parent) else "")
    return Place(artist=parent)


def read_facts(path: str, sample_rate: int = 0) -> Facts:
    """Reads a file; with a sample rate, as what will be rendered at it."""
    score = midi.read_or_explain(path, apply_sustain=True)
    if isinstance(score, str):
        return Facts(score)
    if score.seconds < MIN_SECONDS:
        return Facts(f"shorter than {MIN_SECONDS:g} s")
    if sample_rate and (reason := rendering.objection(score, sample_rate)):
        return Facts(reason)
    with open(path, "rb") as file:
        md5 = hashlib.file_digest(file, functools.partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    digest = hashlib.sha256(score.notes.tobytes()).hexdigest()
    return Facts("", score.seconds, digest, md5, near_duplicates.sketch(melodic_shingles.of(score)))


def grouped(kept: list[_Kept], msd: _Msd) -> list[str]:
    """The group of each file, in order: the digest of the first one in it."""
    clusters = near_duplicates.Clusters(len(kept))
    clusters.unite_equal(map(msd.matched, kept))
    clusters.unite_equal([artist.casefold() for artist in msd.artists(one)] for one in kept)
    clusters.unite_alike([one.facts.sketch for one in kept], melodic_shingles.ALIKE)
    return [kept[root].facts.digest for root in clusters.roots()]


def notes(source: str) -> dict[str, object]:
    """Facts for the report: the licence, files ignored by extension, and a hash of the paths and sizes of all files.

    Raises as `tracks`.
    """
    paths, ignored, _ = _find(source)
    companions = filter(None, (_companion(source, name) for name in (MATCHES, TRACKS)))
    return LICENCE | {"ignored_files": ignored, "listing_hash": folder.listing_hash([*paths, *companions], source)}


def _find(source: str) -> tuple[list[str], dict[str, int], list[tuple[str, str]]]:
    if not source:
        raise UserError("`source` is empty; the dataset lakh needs the folder of an unpacked archive: `source`=DIR")
    paths, ignored, unlisted = folder.find_files(source, midi.SUFFIXES)
    if not paths:
        raise UserError(f"no score in {source}: it holds no file that ends in .mid; pass lmd_full, for example")
    return paths, ignored, unlisted


def _track(one: _Kept, group: str, msd: _Msd) -> track.Track:
    named = place_of(one.name).md5
    artists = msd.artists(one)
    return track.Track(
        track_id=one.name,
        path=one.name,
        group=group,
        hash=one.facts.digest,
        labels={"artist": artists[0]} if artists else {},
        duration=one.facts.seconds,
        sample_rate=0,
        channels=0,
        blocks=None,
        score_from=functools.partial(midi.read, one.path, apply_sustain=True),
        score_kind="exact",
        warning=f"altered: its MD5 is {one.facts.md5}" if named not in ("", one.facts.md5) else "",
    )

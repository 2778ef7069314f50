"""Which recordings belong together, so that none is trained on whose kin is held out.

Kin are recordings of one artist, of one album, and versions of one recording: encoded again, resampled, trimmed or
louder. Where that would leave too few groups to hold any out, as in the works of one artist, albums are split instead,
or where there are too few of these too, recordings.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from musicgen_jax.data import audio_fingerprint, manifest, near_duplicates

NOBODY = {"", "unknown", "unknown artist", "various", "various artists", "va", "untitled", "unknown album"}


class Member(NamedTuple):
    """A recording: what its tags say, or ""; where it lies; its fingerprint, None of what has none."""

    artist: str
    album: str
    folder: str
    fingerprint: np.ndarray | None


def groups(members: Sequence[Member]) -> tuple[list[int], str]:
    """The group of each recording in order, by the number of its first one; and what is divided all the same.

    That is "" where nothing is, else "artists" or "artists and albums": there are fewer than `manifest.MIN_GROUPS`
    groups otherwise.
    """
    together = near_duplicates.Clusters(len(members))
    together.unite_alike([one.fingerprint for one in members], audio_fingerprint.MIN_AGREEMENT)
    versions = together.roots()
    together.unite_equal(map(_albums, members))
    albums = together.roots()
    together.unite_equal(map(_artists, members))
    artists = together.roots()
    for found, divided in ((artists, ""), (albums, "artists"), (versions, "artists and albums")):
        if len(set(found)) >= manifest.MIN_GROUPS:
            return found, divided
    return artists, ""


def _artists(member: Member) -> list[str]:
    """Each artist of a recording, as spelled by nobody in particular."""
    return [name for name in map(_plain, member.artist.split(";")) if name not in NOBODY]


def _albums(member: Member) -> Iterator[tuple[str, str, str]]:
    """An album is known by its title and artist, or, as those of several artists, its title and folder."""
    title = _plain(member.album)
    if title not in NOBODY:
        yield "folder", title, member.folder
        yield from (("artist", title, artist) for artist in _artists(member))


def _plain(name: str) -> str:
    return re.sub(r"\s+", " ", name).strip().casefold()

"""Source `syllables`: made-up songs whose words decide what is heard; a small test of whether a prior follows lyrics.

One voice sings a melody of random steps, a syllable a note, in words that nobody knows: a consonant, which is only
written, and a vowel, which is the note's. So who knows the words knows the vowels, and nobody else does.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator

import numpy as np

from musicgen_jax.data import lyrics, track
from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import Score

NUM_SONGS = 96
NOTES = 32  # of a song
SECONDS = (0.3, 0.6)  # of a note
MAX_WORD = 4  # syllables
CONSONANTS = "bdfghklmnprstvwz"
VOWELS = "aeiou"  # in the order of `timbres.VOWELS`
SCALE = (48, 50, 52, 53, 55, 57, 59, 60, 62, 64)  # MIDI pitches, from C3: harmonics lie close enough to tell formants
VELOCITY = 0.8
KIND = "exact"
BLOCK_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, eq=False)
class Song:
    """A melody and its words.

    Attributes:
      notes: float32 [N, 4], pitch, onset, duration and velocity as the synthesizer takes them.
      syllables: of each note, the last one of a word with the space behind it.
    """

    notes: np.ndarray
    syllables: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of the whole song."""
        return float(self.notes[-1, 1] + self.notes[-1, 2])

    @property
    def lrc(self) -> str:
        """The words with the time of each syllable, as an LRC file has them."""
        return lyrics.to_lrc(list(zip(self.notes[:, 1].tolist(), self.syllables, strict=True)), self.seconds)


def made_up(rng: np.random.Generator, num_notes: int = NOTES) -> Song:
    """A song of so many notes."""
    place = np.clip(np.cumsum(rng.integers(-2, 3, num_notes)) + len(SCALE) // 2, 0, len(SCALE) - 1)
    # In whole hundredths, as LRC has them.
    durations = rng.integers(*(round(100 * bound) for bound in SECONDS), num_notes) / 100
    onsets = np.cumsum(durations) - durations
    notes = np.stack([np.take(SCALE, place), onsets, durations, np.full(num_notes, VELOCITY)], axis=1)
    words: list[str] = []
    while len(words) < num_notes:
        size = int(rng.integers(1, MAX_WORD + 1))
        word = [rng.choice(list(CONSONANTS)) + rng.choice(list(VOWELS)) for _ in range(size)]
        words += [*word[:-1], f"{word[-1]} "]
    return Song(notes.astype(np.float32), tuple(words[:num_notes]))


def render(song: Song, sample_rate: int) -> np.ndarray:
    """The audio of a song, float32 [S]."""
    sung = np.zeros(synthesizer.BUCKET_NOTES, np.int32)  # one shape, so that all songs share a program
    sung[: len(song.syllables)] = [VOWELS.index(syllable[1]) for syllable in song.syllables]
    voice = dataclasses.replace(timbres.VOICE, vowels=timbres.VOWELS[sung])
    return synthesizer.render(synthesizer.pack([song.notes]), voice, song.seconds, sample_rate)


def tracks(
    source: str, sample_rate: int, seed: int, num_workers: int, num_songs: int = NUM_SONGS
) -> tuple[list[track.Track], list[track.Rejection]]:
    """Makes up songs; audio is rendered when a track's blocks are read.

    Args:
      source: "", since there are no files.
      sample_rate: Hz of the rendering.
      seed: 0 or more; equal seeds make equal songs.
      num_workers: unused.
      num_songs: how many.

    Returns:
      Tracks with scores and lyrics, and no rejection.

    Raises:
      UserError: there is a source, or a song would be of more notes than are rendered at once.
    """
    del num_workers
    _require_none(source)
    return [_track(made_up(np.random.default_rng([seed, n])), n, sample_rate) for n in range(num_songs)], []


def notes(source: str) -> dict[str, object]:
    """Facts for the report: how the songs are rendered. Equal for two runs that render alike."""
    _require_none(source)
    return {"num_songs": NUM_SONGS, "notes": NOTES, "timbre": timbres.digest(timbres.VOICE)}


def _require_none(source: str) -> None:
    if source:
        raise UserError(f"`source`={source}: the songs of the dataset syllables are made up: leave it out")


def _track(song: Song, number: int, sample_rate: int) -> track.Track:
    name = f"song{number:04d}"
    digest = hashlib.sha256(f"{song.lrc}\n{timbres.digest(timbres.VOICE)}".encode() + song.notes.tobytes())
    rows = [[pitch, onset, length, 127 * loudness, 0] for pitch, onset, length, loudness in song.notes.tolist()]
    return track.Track(
        track_id=name,
        path=name,
        group=name,
        hash=digest.hexdigest(),
        labels={"genre": timbres.VOICE.name},
        duration=round(song.seconds * sample_rate) / sample_rate,
        sample_rate=sample_rate,
        channels=1,
        blocks=functools.partial(_blocks, song, sample_rate),
        score=Score(rows),
        score_kind=KIND,
        lyrics=lyrics.parse(song.lrc, song.seconds),
        lyrics_kind=KIND,
    )


def _blocks(song: Song, sample_rate: int) -> Iterator[np.ndarray]:
    audio = render(song, sample_rate)
    size = round(BLOCK_SECONDS * sample_rate)
    for start in range(0, len(audio), size):
        yield audio[start : start + size]

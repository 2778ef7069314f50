"""What reading the whole of one track tells of it, for `prepare_data --check`."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from musicgen_jax.data import audio_check, loudness, near_duplicates, track_records
from musicgen_jax.data.track import Track
from musicgen_jax.data.track_records import MIN_SECONDS, Checked
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import melodic_shingles


@dataclasses.dataclass(frozen=True)
class TrackFacts:
    """What one track was found to be.

    Attributes:
      track_id, path, group, labels, split, licence: the track's, with what its tags say.
      reason: why it would be rejected, "category: detail", or "".
      warning: what is doubtful about it, or "".
      audio: of the sound; of a track without it, hash and duration alone.
      loudness: LUFS of the mono mix at the data set's rate, None where that cannot be measured.
      sketch: of the fingerprint of its sound, or of its melodies where there is a score alone; None where it has none.
    """

    track_id: str
    path: str
    group: str
    labels: dict[str, str]
    split: str
    licence: str
    reason: str
    warning: str
    audio: audio_check.AudioFacts
    loudness: float | None = None
    sketch: np.ndarray | None = None

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.audio.duration


def inspect(item: Track, sample_rate: int, checked: Checked | None) -> TrackFacts:
    """Reads a track to its end, in bounded memory; what is wrong with it is the reason, and no exception.

    Args:
      item: the track.
      sample_rate: Hz of the data set.
      checked: see `track_records.Form`.
    """
    meter = loudness.Loudness(sample_rate) if sample_rate >= loudness.MIN_SAMPLE_RATE and item.audible else None
    try:
        facts, sketch = _score_facts(item) if not item.audible else _audio_facts(item, sample_rate, meter)
        if item.file and not facts.reason:
            item = track_records.told(item, facts, checked)
    except (UserError, OSError, MemoryError) as error:
        facts, sketch = audio_check.AudioFacts(item.hash, reason=f"unreadable: {error or 'out of memory'}"), None
    about = (item.track_id, item.path, item.group, item.labels, item.split, item.licence)
    measured = meter.integrated() if meter and not facts.reason else None
    return TrackFacts(*about, facts.reason, item.warning, facts, measured, sketch)


def lost(item: Track, reason: str) -> TrackFacts:
    """Of a track whose process died, or took too long."""
    facts = audio_check.AudioFacts(item.hash, reason=f"lost: {reason}")
    about = (item.track_id, item.path, item.group, item.labels, item.split, item.licence)
    return TrackFacts(*about, facts.reason, item.warning, facts)


def _score_facts(item: Track) -> tuple[audio_check.AudioFacts, np.ndarray | None]:
    score = item.loaded().score
    facts = audio_check.AudioFacts(item.hash, audio_hash=item.hash, duration=item.duration)
    return facts, near_duplicates.sketch(melodic_shingles.of(score))


def _audio_facts(
    item: Track, sample_rate: int, meter: loudness.Loudness | None
) -> tuple[audio_check.AudioFacts, np.ndarray | None]:
    if item.file:
        inspection = audio_check.Inspection(item.file, MIN_SECONDS, fingerprint=True)
        _measure(inspection.blocks(sample_rate), meter)
        facts = inspection.facts
    else:
        tally = audio_check.Tally(sample_rate, fingerprint=True)
        _measure((tally.add(block[:, None]) for block in item.blocks()), meter)
        facts = tally.completed(audio_check.AudioFacts(item.hash, sample_rate=sample_rate, channels=1))
        if not facts.duration:
            facts = dataclasses.replace(facts, reason="empty: it gave no samples")
    return dataclasses.replace(facts, fingerprint=""), near_duplicates.from_text(facts.fingerprint)


def _measure(blocks: Iterator[np.ndarray], meter: loudness.Loudness | None) -> None:
    for block in blocks:
        if meter is not None and np.isfinite(block).all():
            meter.add(block)

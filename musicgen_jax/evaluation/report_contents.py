"""What a report shows beside the figures: sounds, pictures, settings and curves, kept in the folder of an evaluation.

    OUT/report.json              names, settings, learning curves, and which files have the sounds and pictures
    OUT/media/NAME.mp3, .webp    a sound, and its spectrogram or piano roll

From these and metrics.json the page is made, also one that compares several evaluations.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.evaluation import report_charts, report_media
from musicgen_jax.evaluation.report_media import Clip, Media
from musicgen_jax.evaluation.samples import Sample
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import UserError

INFO_NAME, MEDIA_FOLDER = "report.json", "media"
ORIGINAL = "original"
MAX_PIECES = 24  # that a page shows: it is to be opened on a phone


@dataclasses.dataclass(frozen=True)
class Recording:
    """A held-out recording: "original", and what the codes of each stream make of it, coarse to fine."""

    name: str
    versions: dict[str, Media]


@dataclasses.dataclass(frozen=True)
class Piece:
    """A sample: its sound, its score as the synthesizer plays it where it has one, and what was asked for.

    Attributes:
      name: of its file.
      settings: it was sampled with.
      flags: what `audio.signal_checks` found wrong with the signal.
      performance: what the models made.
      score: what was to be performed, or None.
    """

    name: str
    settings: dict[str, Any]
    flags: tuple[str, ...]
    performance: Media
    score: Media | None = None


@dataclasses.dataclass(frozen=True)
class Contents:
    """Recordings, samples (the first MAX_PIECES), name of a training run -> its logged values, the settings of the
    evaluation, and the number of all samples."""

    recordings: tuple[Recording, ...]
    pieces: tuple[Piece, ...]
    curves: dict[str, report_charts.Run]
    settings: dict[str, Any]
    num_samples: int


def gather(
    reconstructions: Sequence[Mapping[str, Clip]],
    samples: Sequence[Sample],
    curves: Mapping[str, Sequence[dict[str, Any]]],
    settings: Mapping[str, Any],
) -> Contents:
    """Encodes sounds and pictures.

    Args:
      reconstructions: a mapping a recording: "original" and streams, coarse to fine, to clips.
      samples: what was generated, with settings and scores.
      curves: training run -> records of its metrics.jsonl, each with "step".
      settings: of the evaluation, nested mappings allowed.

    Raises:
      UserError: a recording without "original", or a record without "step".
    """
    return Contents(
        tuple(map(_recording, reconstructions)),
        tuple(map(_piece, samples[:MAX_PIECES])),
        {name: report_charts.run_of(name, rows) for name, rows in curves.items()},
        dict(settings),
        len(samples),
    )


def save(folder: pathlib.Path, contents: Contents) -> None:
    """Writes report.json, last, and media/; what an earlier evaluation left there goes."""
    (folder / INFO_NAME).unlink(missing_ok=True)
    media = folder / MEDIA_FOLDER
    shutil.rmtree(media, ignore_errors=True)
    media.mkdir(parents=True)
    recordings = [
        {
            "name": one.name,
            "versions": {
                key: _save_media(folder, f"recording_{number:03d}_{key}", version)
                for key, version in one.versions.items()
            },
        }
        for number, one in enumerate(contents.recordings)
    ]
    pieces = []
    for number, one in enumerate(contents.pieces):
        piece = {"name": one.name, "settings": one.settings, "flags": list(one.flags)}
        piece["performance"] = _save_media(folder, f"sample_{number:03d}", one.performance)
        if one.score is not None:
            piece["score"] = _save_media(folder, f"sample_{number:03d}_score", one.score)
        pieces.append(piece)
    curves = {name: dataclasses.asdict(run) for name, run in contents.curves.items()}
    info = {"recordings": recordings, "samples": pieces, "curves": curves, "settings": contents.settings}
    info["num_samples"] = contents.num_samples
    files.write_json(folder / INFO_NAME, info)


def read(folder: pathlib.Path) -> Contents:
    """What `save` wrote.

    Raises:
      NotFoundError: no report.json there.
      UserError: it, or a file that it names, is damaged or gone.
    """
    where = f"{folder / INFO_NAME}"
    stored = records.parse(
        _Stored, files.read_json(folder / INFO_NAME, "pass a folder that evaluate of this version wrote"), where
    )
    recordings = tuple(
        Recording(one.name, {key: _read_media(folder, version) for key, version in one.versions.items()})
        for one in stored.recordings
    )
    pieces = tuple(
        Piece(
            one.name,
            one.settings,
            one.flags,
            _read_media(folder, records.parse(_StoredMedia, one.performance, f"{where}: performance")),
            _read_media(folder, records.parse(_StoredMedia, one.score, f"{where}: score")) if one.score else None,
        )
        for one in stored.samples
    )
    return Contents(recordings, pieces, stored.curves, stored.settings, stored.num_samples)


@dataclasses.dataclass(frozen=True)
class _StoredMedia:
    name: str
    seconds: float
    kind: str
    marks: tuple[tuple[float, str], ...]
    num_clipped: int
    file: str  # in the folder, without the endings of the sound and of the picture


@dataclasses.dataclass(frozen=True)
class _StoredRecording:
    name: str
    versions: dict[str, _StoredMedia]


@dataclasses.dataclass(frozen=True)
class _StoredPiece:
    name: str
    settings: dict[str, Any]
    flags: tuple[str, ...]
    performance: dict[str, Any]
    score: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Stored:
    recordings: tuple[_StoredRecording, ...]
    samples: tuple[_StoredPiece, ...]
    curves: dict[str, report_charts.Run]
    settings: dict[str, Any]
    num_samples: int


def _recording(clips: Mapping[str, Clip]) -> Recording:
    if ORIGINAL not in clips:
        raise UserError(f"a recording has the clips {sorted(clips)}: it needs {ORIGINAL!r} and those of streams")
    # One colour scale for the pictures of a recording: what the tokenizer loses becomes visible.
    peak = report_media.peak_magnitude(clips[ORIGINAL])
    ordered = {ORIGINAL: clips[ORIGINAL], **clips}
    versions = {key: report_media.encode(clip, peak=peak) for key, clip in ordered.items()}
    return Recording(clips[ORIGINAL].name, versions)


def _piece(sample: Sample) -> Piece:
    clip, score = sample.clip, None
    if sample.score is not None:
        timbre = next((one for one in timbres.ALL if one.name == sample.timbre), timbres.ORGAN)
        audio = synthesizer.render_score(sample.score, timbre, clip.sample_rate, clip.seconds)
        played = dataclasses.replace(clip, name=f"{clip.name}, score", audio=audio)
        score = report_media.encode(played, score=sample.score)
    return Piece(clip.name, dict(sample.settings), tuple(sample.flags), report_media.encode(clip), score)


def _save_media(folder: pathlib.Path, name: str, media: Media) -> dict[str, Any]:
    """Writes a sound and its picture; what report.json says of them."""
    stem = f"{MEDIA_FOLDER}/{name}"
    for content, path in zip((media.sound, media.picture), _paths(folder, stem), strict=True):
        path.write_bytes(content)
    facts = {field.name: getattr(media, field.name) for field in dataclasses.fields(_StoredMedia)[:-1]}
    return facts | {"file": stem}


def _read_media(folder: pathlib.Path, stored: _StoredMedia) -> Media:
    where = f"{folder / INFO_NAME}: {stored.file!r}"
    beside = pathlib.PurePath(stored.file)
    if beside.parts != (MEDIA_FOLDER, beside.name):
        raise UserError(f"{where} is no file in {MEDIA_FOLDER}/: evaluate again")
    content = []
    for path in _paths(folder, stored.file):
        if not path.is_file():
            raise UserError(f"{where}: {path.name} is not there: evaluate again")
        content.append(path.read_bytes())
    facts = {field.name: getattr(stored, field.name) for field in dataclasses.fields(_StoredMedia)[:-1]}
    return Media(**facts, sound=content[0], picture=content[1])


def _paths(folder: pathlib.Path, stem: str) -> Iterator[pathlib.Path]:
    """Of the sound and of the picture."""
    return (folder / f"{stem}{ending}" for ending in (".mp3", ".webp"))

"""From a source's tracks to a dataset on disk: shards, manifest.jsonl and report.json."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, Protocol

import musicgen_jax
from musicgen_jax.data import manifest, output_folder, rendering, reports, shard_files, shards, soundfont, spool, track
from musicgen_jax.data.local_runner import LocalRunner
from musicgen_jax.data.preparation_job import Planned, PreparationJob
from musicgen_jax.data.track_records import Form
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import COLUMNS

DATASET_NAME, SCORES_NAME = "musicgen_audio", "musicgen_scores"
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1000, 192000


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the content of a dataset; kept in report.json.

    Attributes:
      dataset: name of the source module.
      source: absolute path of its folder, or "".
      sample_rate: Hz.
      seed: of the split, and of what the source generates.
      transcriber: digest of the network that transcribes recordings without a score; "" where none does.
      options: what else was said to this source alone, by the names in its `OPTIONS`.
      digests: of what the options name: the timbres or the soundfont that play scores. See `completed`.
    """

    dataset: str
    source: str
    sample_rate: int
    seed: int
    transcriber: str = ""
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    digests: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without what is younger than some reports and off."""
        younger = ("transcriber", "options", "digests")
        return {name: value for name, value in dataclasses.asdict(self).items() if value or name not in younger}

    def completed(self, source: ModuleType) -> "Settings":
        """The same with digests of what will play scores: a path or a name would not tell that this has changed.

        Raises:
          UserError: the settings are unfit for the source, or name what there is not.
        """
        self.validate()
        self.require_options_of(source)
        known = {"render": rendering.digest, "soundfont": soundfont.checked}
        return dataclasses.replace(
            self, digests={name: known[name](self.options[name]) for name in known if self.options.get(name)}
        )

    def validate(self) -> None:
        """Raises UserError where the sample rate is out of range."""
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise UserError(
                f"`sample_rate`={self.sample_rate}; it must be from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, "
                "22050 for example"
            )

    def require_options_of(self, source: ModuleType) -> None:
        """Raises UserError where an option is none that the source takes."""
        if foreign := sorted(set(self.options) - set(getattr(source, "OPTIONS", ()))):
            raise UserError(f"`{foreign[0]}`={self.options[foreign[0]]}: `dataset`={self.dataset} does not take it")


class Runner(Protocol):
    """What does the work of a preparation."""

    def run(self, job: PreparationJob, batches: list[spool.Batch], unit: str) -> list[Planned]:
        """Makes all parts and shards that are not made yet, and returns the shards; `unit` is of the parts' amounts."""
        ...


def prepare(
    settings: Settings,
    source: ModuleType,
    out: str,
    num_workers: int,
    network: str = "",
    runner: Runner | None = None,
) -> dict[str, Any]:
    """Prepares a dataset, or finds it complete already.

    Args:
      settings: what to prepare.
      source: module with tracks(source, sample_rate, seed, num_workers, **options) -> (list of Track, list of
        Rejection). It may have `OPTIONS`, the names of the options that its `tracks` takes as texts; notes(source)
        -> dict of facts for the report, cheap and equal as long as the source is: of these `licences` reads "licence",
        "licence_url" and "attribution"; checked(track, facts) -> Track, for tracks of files, see `Form`; and `UNIQUE`,
        true where a recording with the samples of one before it is to be rejected, and groups are those of `kinship`.
      out: the directory to write; absent, empty, or holding this same dataset.
      num_workers: processes of this machine; the result is the same, byte for byte, whatever their number.
      network: file of the network whose digest is `settings.transcriber`.
      runner: what does the work in their place, with the same result.

    Returns:
      The report, as in report.json.

    Raises:
      UserError: the settings, the source or `out` are unfit; the message says which and why.
    """
    settings = settings.completed(source)
    notes = source.notes(settings.source) if hasattr(source, "notes") else {}
    if report := finished(settings, notes, out):
        print(f"{files.describe_path(out)} is complete already, with the same settings; nothing to do")
        return report
    with output_folder.claim(out, "prepare_data") as folder:
        if report := finished(settings, notes, out):  # it was whole, but interrupted as it moved into its place
            return report
        try:
            runner = runner or LocalRunner(num_workers)
            return _prepare(settings, source, notes, folder, num_workers, network, runner)
        except AllRejectedError as error:
            manifest.write(folder, error.rows)
            files.write_json(folder / reports.FILE_NAME, reports.make(settings, notes, error.rows))
            raise UserError(f"{error}; {pathlib.Path(out) / manifest.FILE_NAME} has the reason of each") from error


def _prepare(
    settings: Settings,
    source: ModuleType,
    notes: dict[str, object],
    folder: pathlib.Path,
    num_workers: int,
    network: str,
    runner: Runner,
) -> dict[str, Any]:
    if _holds_rejections_only(folder):
        for name in (reports.FILE_NAME, manifest.FILE_NAME):
            (folder / name).unlink(missing_ok=True)
    files.output_folder(folder)
    where = (settings.source, settings.sample_rate, settings.seed, num_workers)
    tracks, rejections = source.tracks(*where, **settings.options)
    rejected = [manifest.to_line(manifest.rejected(item)) for item in rejections]
    _require_some(tracks, map(_row, rejected), settings)
    form = _form(settings, source, tracks, network)
    with output_folder.fill(folder, _job(settings, notes, form, tracks)) as place:
        batches = spool.Spool(place.spool).put_tracks(tracks)
        unit = "bytes" if tracks[0].file else "audio-s"
        name, unique = DATASET_NAME if form.audible else SCORES_NAME, getattr(source, "UNIQUE", False)
        del tracks  # they are on disk
        job = PreparationJob(place, name, form, settings.seed, len(batches), unique)
        shards = [one.shard for one in runner.run(job, batches, unit)]
        rows = job.rows(rejected)
        _require_some(shards, rows, settings)
        content = {"content": "audio" if form.audible else "scores"}
        report = content | reports.make(settings, notes, rows, job.divided_groups(), job.divided_kin())
        shard_files.describe(place, name, form.features, _metadata(settings, form, report), shards)
        manifest.write_lines(place.partial, rows.sorted_lines())
        files.write_json(place.partial / reports.FILE_NAME, report)
    return report


def _form(settings: Settings, source: ModuleType, tracks: list[track.Track], network: str) -> Form:
    """What the records will be like: whatever one track may turn out to have, all have a place for."""
    audible = tracks[0].audible
    labels = tuple(sorted({name for item in tracks for name in item.labels}))
    scores = any(item.score_kind for item in tracks) or bool(network and audible)
    lyrics = any(item.lyrics_kind for item in tracks)
    return Form(
        settings.sample_rate,
        labels,
        audible,
        scores,
        lyrics,
        network,
        getattr(source, "UNIQUE", False),
        getattr(source, "checked", None),
    )


def _metadata(settings: Settings, form: Form, report: dict[str, Any]) -> dict[str, Any]:
    """Facts about the whole; "scores" and "lyrics" where records have a place for them, with the kinds there are."""
    found = {"sample_rate": settings.sample_rate, "dataset": settings.dataset}
    found |= {"licence": report["licence"]} if "licence" in report else {}
    kinds = {name: sorted(filter(None, report.get(name, ()))) for name in ("scores", "lyrics")}
    found |= {"scores": {"columns": list(COLUMNS), "kinds": kinds["scores"]}} if form.scores else {}
    return found | ({"lyrics": {"kinds": kinds["lyrics"]}} if form.lyrics else {})


def _job(settings: Settings, notes: dict[str, object], form: Form, tracks: list[track.Track]) -> str:
    """A text that two runs share if what one has done is of use to the other."""
    digest = hashlib.sha256()
    for item in tracks:
        # The weights decide which tracks a part is of: what a run has done must be of the same parts.
        known = item.track_id, item.path, item.group, item.hash, item.labels, item.split, spool.weight(item)
        digest.update(json.dumps(known).encode())
    like = [settings.to_dict(), notes, form.labels, form.scores, form.lyrics, digest.hexdigest()]
    return json.dumps([musicgen_jax.__version__, spool.VERSION, *like])


def _holds_rejections_only(folder: pathlib.Path) -> bool:
    """Whether a run ended here with all files rejected: they may have been mended since."""
    path = folder / reports.FILE_NAME
    if shards.is_complete(folder) or not path.is_file():
        return False
    report = files.read_json(path)
    return "settings" in report and report.get("records") == {}


def finished(settings: Settings, notes: dict[str, object], out: str) -> dict[str, Any] | None:
    """The report of the complete dataset in `out`, None where there is none.

    Raises:
      UserError: it was made with other settings, or its source has changed since.
    """
    path = pathlib.Path(out) / reports.FILE_NAME
    if not (path.is_file() and shards.is_complete(out)):
        return None
    report = files.read_json(path)
    wanted = settings.to_dict()
    there = records.check(dict[str, Any], report.get("settings"), f"{path}: settings")
    different = [
        f"{name} {there.get(name)!r}, now {wanted.get(name)!r}"
        for name in wanted | there
        if there.get(name) != wanted.get(name)
    ]
    remedy = "remove it or choose another `out`"
    if different:
        raise UserError(f"{out} holds a dataset made with other settings ({'; '.join(different)}); {remedy}")
    if report.get("notes") != json.loads(json.dumps(notes)):
        raise UserError(f"{out} was made before its source {settings.source} changed; {remedy}")
    return report


class AllRejectedError(output_folder.EmptyError):
    """Not one track of a source can be used; `rows` has the source's files, each with the reason."""

    def __init__(self, message: str, rows: list[manifest.Row]) -> None:
        super().__init__(message)
        self.rows = rows


def _row(line: bytes) -> manifest.Row:
    return manifest.of_line(line, "rejection")


def _require_some(accepted: Sequence[Any], rows: Iterable[manifest.Row], settings: Settings) -> None:
    if not accepted:
        rows = list(rows)
        counts = "; ".join(
            f"{reason}: {count}" for reason, count in reports.categories(row.reason for row in rows).items()
        )
        where = settings.source or settings.dataset
        message = f"all {len(rows)} files of {where} were rejected ({counts}); mend or replace them"
        raise AllRejectedError(message, rows)

"""Exchange with webMUSHRA (https://github.com/audiolabs/webMUSHRA): a study as its YAML, its CSV files as answers."""

import csv
import hashlib
import html
import io
import math
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import soundfile
import yaml

from musicgen_jax.listening import imported, screening, study
from musicgen_jax.listening.imported import Imported
from musicgen_jax.listening.ratings import CONTROLS, REFERENCE, Answer, Discrimination, Rating
from musicgen_jax.listening.study import TEST, Study, Trial
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

FILE_NAME = "study.yaml"
# What a strict page of type mushra takes (its MushraValidator.js), the hidden reference counted: with more
# it shows an error in place of the trial.
MAX_CONDITIONS, MAX_SECONDS = 12, 12.0
GRADES = {5: "Excellent", 4: "Good", 3: "Fair", 2: "Poor", 1: "Bad"}  # ITU-T P.800
# Behind one click on the last page, and in the columns of most result files all that tells listeners apart.
QUESTIONNAIRE = [{"type": "text", "label": "A name or number of your choice", "name": "listener"}]
# The column by which a file's kind is known -> the design that its answers belong to.
DESIGN_BY_COLUMN = {
    "rating_stimulus": "mushra",
    "rating_reference_score": "mos",
    "stimuli_rating": "mos",
    "stimuli_rating1": "mos",
    "choice_answer": "abx",
}
NOT_ANSWERED = ("", "undefined", "null", "undecided", "unknown")
Row = Mapping[str, str]


def export_study(folder: str, out: str) -> pathlib.Path:
    """Writes a study for webMUSHRA: study.yaml and audio/, to be copied as the folder configs/NAME of an installation.

    NAME is that of `out`; the study is then at ...?config=NAME/study.yaml. MUSHRA becomes pages of type mushra, with
    our anchors as stimuli (those that webMUSHRA makes miss BS.1534's mask and come 2 ms early), strict as far as its
    sounds are no longer and no more than that allows; MOS becomes likert_single_stimulus; ABX becomes
    paired_comparison, where X is always the pair's first system. Practice, attention and headphone checks are not
    exported: its results would not tell them from what is tested.

    Args:
      folder: of a finished study.
      out: new or empty folder.

    Returns:
      The path of the YAML file.

    Raises:
      UserError: the study is of preferences, for which webMUSHRA has no page, or `out` holds something else.
    """
    found = study.read(folder)
    if found.design == "ab":
        raise UserError(
            f"{folder} asks for preferences without a reference, for which webMUSHRA has no page: collect the answers "
            "by `listen --serve`, or prepare a study of `design`=mos or abx"
        )
    place = files.output_folder(out, own={})
    with files.all_or_nothing(place):
        (place / study.AUDIO).mkdir(parents=True, exist_ok=True)
        tests = [trial for trial in found.trials if trial.kind == TEST]
        for one in (one for trial in tests for one in (*trial.stimuli, *trial.given)):
            shutil.copyfile(pathlib.Path(folder) / one.file, place / one.file)
        pages = [_page(found, trial, f"configs/{place.absolute().name}", _as_advised(place, trial)) for trial in tests]
        files.write_text(place / FILE_NAME, _yaml(_experiment(found, pages)))
    return place / FILE_NAME


def _experiment(found: Study, pages: list[dict[str, Any]]) -> dict[str, Any]:
    """The top level of the YAML."""
    consent = "".join(f"<p>{html.escape(part)}</p>" for part in found.consent.split("\n\n"))
    welcome = {"type": "generic", "id": "consent", "name": found.title, "content": consent}
    finish = {
        "type": "finish",
        "name": "Thank you",
        "content": "Please send your answers: they have not been stored before.",
        "showResults": False,
        "writeResults": True,
        "questionnaire": QUESTIONNAIRE,
    }
    return {
        "testname": found.title,
        "testId": f"musicgen_jax_{found.design}_{found.digest[:8] or found.seed}",
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": True,
        "remoteService": "service/write.php",
        "pages": [welcome, ["random", *pages], finish],
    }


def _as_advised(folder: pathlib.Path, trial: Trial) -> bool:
    """Whether a strict page takes a trial, whose sounds are of one length."""
    seconds = soundfile.info(folder / trial.stimuli[0].file).duration
    return len(trial.stimuli) <= MAX_CONDITIONS and seconds <= MAX_SECONDS


def _page(found: Study, trial: Trial, root: str, strict: bool) -> dict[str, Any]:
    """The page of a trial, whose id is the trial's."""
    paths = {one.system: f"{root}/{one.file}" for one in trial.stimuli}
    page: dict[str, Any] = {"id": trial.id, "name": found.title}
    if found.design == "mos":
        scale = [{"value": str(grade), "label": f"{grade} {label}"} for grade, label in GRADES.items()]
        return page | {
            "type": "likert_single_stimulus",
            "content": "How good is what you hear?",
            "mustRate": True,
            "mustPlayback": "ended",
            "stimuli": paths,
            "response": scale,
        }
    page |= {"showWaveform": False, "enableLooping": True}
    if found.design == "abx":
        first, second = trial.stimuli
        return page | {
            "type": "paired_comparison",
            "content": "Which one is the reference?",
            "reference": paths[first.system],
            "stimuli": {second.system: paths[second.system]},
        }
    paths.pop(REFERENCE, None)  # webMUSHRA hides it among the stimuli by itself
    return page | {
        "type": "mushra",
        "content": "How close is each to the reference? One of them is the reference itself: it belongs at 100.",
        "strict": strict,
        "reference": f"{root}/{trial.given[0].file}",
        "createAnchor35": False,
        "createAnchor70": False,
        "randomize": True,
        "showConditionNames": False,
        "stimuli": {name: path for name, path in paths.items() if name not in CONTROLS}
        | {name: path for name, path in paths.items() if name in CONTROLS},
    }


def _yaml(value: dict[str, Any]) -> str:
    """YAML whose texts are all quoted: an unquoted ": " or "#" in one is what breaks webMUSHRA's own examples."""

    class Quoting(yaml.SafeDumper):
        """Writes every text in double quotes."""

    def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')

    Quoting.add_representer(str, quoted)
    return yaml.dump(value, Dumper=Quoting, sort_keys=False, allow_unicode=True, width=10**6)


def import_results(paths: Sequence[str], folder: str) -> dict[str, Any]:
    """Reads result files of webMUSHRA and keeps the answers in a folder, for `analysis.analyse`.

    mushra.csv becomes MUSHRA ratings; lss.csv, lms.csv and bs1116.csv ratings of 1 to 5; paired_comparison.csv answers
    of an ABX test, whose X is the reference. A listener is known by the session where the file has it (mushra.csv),
    else by the answers to the questionnaire; either is replaced by a digest, since it may be a name or an address.

    Args:
      paths: all result files of the study; what was imported into the folder before is replaced.
      folder: of the study that `export_study` wrote out, or any other; made where it is absent.

    Returns:
      {"design", "answers", "listeners", "left_out", "doubts"}: left_out says what was not imported, doubts lists
      answers that look as if nobody had listened (`screening.doubts`).

    Raises:
      UserError: a file is none of webMUSHRA's, or damaged, the files or the folder's study are of different designs, or
        the listeners cannot be told apart. Nothing is written then.
    """
    place = files.local_path(folder, "out")
    known = study.read(place) if (place / study.FILE_NAME).is_file() else None
    tables = [_read(path) for path in paths]
    designs = {design: path for path, (design, _) in zip(paths, tables, strict=True)}
    if known is not None:
        designs.setdefault(known.design, folder)
    if len(designs) != 1:
        found = ", ".join(f"{path} is of {design}" for design, path in designs.items()) or "no file was passed"
        raise UserError(f"{found}: the answers to import must be of one study, and of its design")
    answers: list[Answer] = []
    left_out: list[str] = []
    for path, (_, rows) in zip(paths, tables, strict=True):
        kept = [row for row in rows if not _unanswered(row)]
        if len(kept) < len(rows):
            left_out.append(f"{path}: {len(rows) - len(kept)} of {len(rows)} answers: the listener had not chosen")
        for line, row in enumerate(kept, 2):
            answers += _answers(row, known, f"{path}, answer {line - 1}")
    imported.require_unique(answers, ", ".join(map(str, paths)))
    place.mkdir(parents=True, exist_ok=True)
    imported.write(place, Imported(next(iter(designs)), tuple(answers), tuple(left_out)))
    return {
        "design": next(iter(designs)),
        "answers": len(answers),
        "listeners": len({answer.listener for answer in answers}),
        "left_out": left_out,
        "doubts": screening.doubts(answers),
    }


def _read(path: str) -> tuple[str, list[Row]]:
    """(design, rows) of a result file."""
    text = files.read_text(path, "pass the CSV files of webMUSHRA's folder results/").removeprefix("\ufeff")
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise UserError(f"{path} is damaged: it is no CSV file ({error}); copy it again") from error
    if not lines:
        raise UserError(f"{path} is empty: pass a result file of webMUSHRA")
    head = lines[0]
    kind = next((design for column, design in DESIGN_BY_COLUMN.items() if column in head), None)
    if kind is None or "trial_id" not in head or len(set(head)) < len(head):
        raise UserError(
            f"{path} is no result file of webMUSHRA: its first line must name each column once, trial_id among them "
            f"and one of {', '.join(DESIGN_BY_COLUMN)}; found: {', '.join(head)[:200]}"
        )
    if "stimuli_rating2" in head:
        raise UserError(
            f"{path} has several scales, and a MOS study has one: keep one column and call it stimuli_rating"
        )
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(head):
            raise UserError(
                f"{path}, row {number} has {len(line)} columns and the first line {len(head)}: the questionnaire was "
                "changed while the study ran; give the rows of each questionnaire a file of their own, with their names"
            )
    return kind, [dict(zip(head, line, strict=True)) for line in lines[1:]]


def _unanswered(row: Row) -> bool:
    answer = row.get("choice_answer", row.get("stimuli_rating", row.get("stimuli_rating1", "answered")))
    return answer.strip() in NOT_ANSWERED


def _answers(row: Row, known: Study | None, where: str) -> list[Answer]:
    """The answers in a row: one, or of bs1116.csv one for each of the two signals."""
    listener, seconds = _listener(row, where), _number(row, _column(row, "_time"), where, 0.0, math.inf) / 1000
    trial = None if known is None else known.trial(row["trial_id"])
    item = row["trial_id"] if trial is None else trial.item
    if "rating_stimulus" in row:
        score = _number(row, "rating_score", where, 0.0, 100.0)
        return [Rating(listener, item, _system(row, "rating_stimulus", where), score, seconds)]
    if "rating_reference_score" in row:
        signals = {"rating_reference": REFERENCE, "rating_non_reference": _system(row, "rating_non_reference", where)}
        scores = {name: _number(row, f"{column}_score", where, 1.0, 5.0) for column, name in signals.items()}
        return [Rating(listener, item, name, score, seconds) for name, score in scores.items()]
    if "choice_answer" in row:
        if row["choice_answer"] not in ("correct", "incorrect"):
            raise UserError(f"{where}: choice_answer is {row['choice_answer']!r} and must be correct or incorrect")
        given = trial.stimuli[0].system if trial is not None and trial.stimuli else REFERENCE
        other = _system(row, "choice_non_reference", where)
        return [Discrimination(listener, item, given, other, row["choice_answer"] == "correct", seconds)]
    column = "stimuli_rating" if "stimuli_rating" in row else "stimuli_rating1"
    return [Rating(listener, item, _system(row, "stimuli", where), _number(row, column, where, 1.0, 5.0), seconds)]


def _system(row: Row, column: str, where: str) -> str:
    name = row.get(column, "").strip()
    if not name:
        raise UserError(f"{where}: {column} is empty, so nobody knows what was heard; remove the row")
    return name


def _column(row: Row, ending: str) -> str:
    return next((name for name in row if name in (f"rating{ending}", f"choice{ending}")), f"rating{ending}")


def _number(row: Row, column: str, where: str, low: float, high: float) -> float:
    """The number in a column. Raises UserError where it is none, or not from low to high."""
    text = row.get(column, "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        limit = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of {low:g} or more"
        raise UserError(f"{where}: {column} is {text!r} and must be a number {limit}; correct it or remove the row")
    return value


def _listener(row: Row, where: str) -> str:
    """A name made of the session, or of the columns of the questionnaire, which stand before trial_id."""
    names = list(row)
    told = [row[name] for name in names[: names.index("trial_id")] if name not in ("session_test_id", "session_uuid")]
    who = row.get("session_uuid", "").strip() or "\n".join(told).strip()
    if not who:
        raise UserError(
            f"{where}: nothing tells the listeners apart: only mushra.csv of newer versions has session_uuid; let the "
            "questionnaire of the finish page ask for a name or number"
        )
    return "webmushra-" + hashlib.sha256(who.encode()).hexdigest()[:10]

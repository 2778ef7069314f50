"""Answers that another program collected, kept in a study's folder as imported_answers.json."""

import dataclasses
import math
import pathlib
import reprlib
from collections.abc import Sequence

from musicgen_jax import config
from musicgen_jax.listening.ratings import CHOICES, SCALES, Answer, Choice, Discrimination, Rating
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import UserError

FILE_NAME = "imported_answers.json"
FORMAT = 1
_KINDS = {"rating": Rating, "choice": Choice, "discrimination": Discrimination}


@dataclasses.dataclass(frozen=True)
class Imported:
    """All that was imported.

    Attributes:
      design: of the study that the answers fit.
      answers: in the order of the files.
      left_out: what was not imported, and why, a sentence each.
    """

    design: str
    answers: tuple[Answer, ...]
    left_out: tuple[str, ...]


def write(folder: pathlib.Path, found: Imported) -> None:
    """Keeps the answers in a folder, in place of what was imported into it before."""
    names = {kind: name for name, kind in _KINDS.items()}
    answers = [{"kind": names[type(answer)], **dataclasses.asdict(answer)} for answer in found.answers]
    files.write_json(
        folder / FILE_NAME,
        {"format": FORMAT, "design": found.design, "left_out": list(found.left_out), "answers": answers},
    )


def read(folder: pathlib.Path) -> Imported | None:
    """What was imported into a folder; None: nothing.

    Raises:
      UserError: the file is damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    values = files.read_json(path)
    remedy = "import the answers again"
    if values.get("format") != FORMAT or not isinstance(values.get("answers"), list):
        raise UserError(f"{path} is damaged, or of another version: {remedy}")
    design = records.check(str, values.get("design"), f"{path}: design")
    left_out = records.check(tuple[str, ...], values.get("left_out", []), f"{path}: left_out")
    config.require(all(map(files.is_text, left_out)), f"{path} is damaged: left_out is no text: {remedy}")
    answers = enumerate(values["answers"])
    return Imported(
        design,
        tuple(_answer(one, design, f"{path}: answers[{number}]") for number, one in answers),
        left_out,
    )


def require_unique(answers: Sequence[Answer], where: str) -> None:
    """Raises UserError where a listener answered the same question twice."""
    seen: dict[tuple[object, ...], int] = {}
    for answer in answers:
        signals = (answer.system,) if isinstance(answer, Rating) else tuple(sorted(_pair(answer)))
        seen[key] = seen.get(key := (answer.listener, answer.item, *signals), 0) + 1
    twice = [key for key, number in seen.items() if number > 1]
    if twice:
        listener, item, *signals = twice[0]
        raise UserError(
            f"{where}: listener {listener} answered {len(twice)} question(s) more than once, such as item {item} with "
            f"{', '.join(map(str, signals))}: two people gave the same answers to the questionnaire, or one took part "
            "twice, or a file was passed twice; make their answers differ in the file, or remove the second lot"
        )


def _pair(answer: Choice | Discrimination) -> tuple[str, str]:
    return (answer.first, answer.second) if isinstance(answer, Choice) else (answer.system_a, answer.system_b)


def _answer(values: object, design: str, where: str) -> Answer:
    if not isinstance(values, dict) or values.get("kind") not in _KINDS:
        raise UserError(f"{where} is damaged: it has no kind of answer; import the answers again")
    fields = {name: value for name, value in values.items() if name != "kind"}
    found = records.parse(_KINDS[values["kind"]], fields, where)
    low, high = SCALES.get(design, (-math.inf, math.inf))
    if (
        not all(files.is_text(value) for value in fields.values() if isinstance(value, str))
        or (isinstance(found, Choice) and found.chosen not in CHOICES)
        or (isinstance(found, Rating) and not low <= found.score <= high)
        or found.seconds < 0
    ):
        raise UserError(f"{where} is damaged: {reprlib.repr(fields)} is no possible answer; import the answers again")
    return found

"""What the answers of a study say: statistics.json, statistics.html and plots/ in its folder."""

import pathlib
from collections.abc import Sequence
from typing import Any

from musicgen_jax.listening import (
    discrimination,
    imported,
    preference,
    rating_statistics,
    screening,
    statistics_page,
    storage,
    study,
)
from musicgen_jax.listening.findings import Findings
from musicgen_jax.listening.ratings import CONTROLS, SCALES, Answer, Choice, Discrimination, Rating
from musicgen_jax.listening.study import TEST, Study
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import NotFoundError, UserError

FORMAT = 1
FILE_NAME, PAGE, PLOTS = "statistics.json", "statistics.html", "plots"
KINDS = {"mushra": Rating, "mos": Rating, "ab": Choice, "abx": Discrimination}


def analyse(folder: str) -> dict[str, Any]:
    """Writes the statistics of all answers that there are, whether or not listeners still answer.

    The same answers give the same bytes. What cannot be computed is absent, and `absent` has its name and the reason:
    with no answers at all there is little else.

    Args:
      folder: a study that listeners were asked by, or a folder into which answers of webMUSHRA were imported, or both.

    Returns:
      What statistics.json holds: "format", "design", "title", "systems", "answers" (how many there are), "checks",
      "doubts", the figures of the design (`rating_statistics`, `preference`, `discrimination`) and "absent".

    Raises:
      NotFoundError: the folder holds neither a finished study nor imported answers.
      UserError: one of them is damaged.
    """
    place = files.local_path(folder, "analyse")
    found, other = _study(place), imported.read(place)
    designs = {one.design for one in (found, other) if one}
    design = ", ".join(sorted(designs))  # one of `KINDS`, where both are of the same
    answers: list[Answer] = [*(storage.results(place) if found else ()), *(other.answers if other else ())]
    _require_design(design, answers, place)
    systems = list(found.systems) if found else _systems(answers)
    findings = Findings()
    findings.figures |= {"format": FORMAT, "design": design, "title": found.title if found else "Listening test"}
    findings.figures["systems"] = {}
    findings.figures["answers"] = _counts(found, answers)
    findings.figures["checks"] = _checks(place) if found else {}
    findings.figures["doubts"] = screening.doubts(answers) + _failed(findings.figures["checks"])
    findings.absent |= {} if other is None or not other.left_out else {"imported": " ".join(other.left_out)}
    if not answers:
        findings.absent["answers"] = "nobody has answered yet; let listeners take part, then analyse again"
    if design == "ab":
        preference.summarize(answers, systems, findings)
    elif design == "abx":
        discrimination.summarize(answers, findings)
    else:
        rating_statistics.summarize(design, answers, systems, findings)
    results = findings.figures | {"compared": systems, "absent": findings.absent}
    files.write_json(place / FILE_NAME, results)
    statistics_page.write(place / PAGE, place / PLOTS, results)
    return results


def _study(place: pathlib.Path) -> Study | None:
    """The study in a folder, or None where only imported answers are."""
    try:
        return study.read(place)
    except NotFoundError:
        if (place / imported.FILE_NAME).is_file():
            return None
        raise


def _require_design(design: str, answers: Sequence[Answer], place: pathlib.Path) -> None:
    if design not in KINDS or not all(isinstance(answer, KINDS[design]) for answer in answers):
        raise UserError(f"{place} holds answers that do not fit a study of design {design!r}: import them again")


def _systems(answers: Sequence[Answer]) -> list[str]:
    """Names of what was compared, by the alphabet, without the controls of MUSHRA."""
    names = set()
    for answer in answers:
        if isinstance(answer, Rating):
            names.add(answer.system)
        elif isinstance(answer, Choice):
            names |= {answer.first, answer.second}
        else:
            names |= {answer.system_a, answer.system_b}
    return sorted(names - set(CONTROLS))


def _counts(found: Study | None, answers: Sequence[Answer]) -> dict[str, Any]:
    """How many answers there are, and how many more the listeners who began could give."""
    listeners = {answer.listener for answer in answers}
    counts = {"given": len(answers), "listeners": len(listeners), "items": len({answer.item for answer in answers})}
    if found is None:
        return counts
    tests = [trial for trial in found.trials if trial.kind == TEST]
    each = sum(len(trial.stimuli) if found.design in SCALES else 1 for trial in tests)
    return counts | {"missing": max(0, each * len(listeners) - len(answers))}


def _checks(place: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Listener -> right and asked, of attention and headphone checks."""
    found = storage.checks(place)
    return {
        name: {
            "attention": dict(zip(("right", "asked"), one.attention, strict=True)),
            "headphones": dict(zip(("right", "asked"), one.headphones, strict=True)),
            "attentive": one.attentive,
            "on_headphones": one.on_headphones,
        }
        for name, one in sorted(found.items())
    }


def _failed(checks: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Doubts about who failed a check."""
    kinds = {
        "attentive": ("attention", "attention checks"),
        "on_headphones": ("headphones", "headphone checks"),
    }
    return [
        {
            "listener": name,
            "item": "",
            "doubt": f"{one[key]['right']} of {one[key]['asked']} {what} were answered rightly",
        }
        for name, one in checks.items()
        for passed, (key, what) in kinds.items()
        if not one[passed]
    ]

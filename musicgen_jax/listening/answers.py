"""What the page may send as an answer: checked before it is stored, since anybody can send anything."""

import json
from typing import Any

from musicgen_jax.listening import orders, study
from musicgen_jax.listening.study import Study
from musicgen_jax.runtime.errors import UserError

MAX_BYTES = 4096  # of a request's body: the largest answer has a few hundred
SCALES = {"mushra": (0, 100), "mos": (1, 5)}
MAX_SECONDS = 7 * 24 * 3600.0


def parse(found: Study, page: orders.Page, body: bytes) -> dict[str, Any]:
    """The answer to a page.

    A consent is {"agreed": true}. The quietest of three tones, and the answer of `ab` and `abx`, is {"choice": place},
    of `ab` also null. Ratings are {"scores": [a whole number for each slot]}. All have "seconds", the time taken.

    Raises:
      UserError: it is something else.
    """
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError("the answer is no JSON") from error
    if not isinstance(sent, dict):
        raise UserError("the answer is no JSON object")
    seconds = sent.pop("seconds", None)
    if type(seconds) not in (int, float) or not 0 <= seconds <= MAX_SECONDS:
        raise UserError("the answer has no seconds")
    trial = found.trial(page.trial)
    if page.trial == orders.CONSENT:
        fits = sent == {"agreed": True} and sent["agreed"] is True
    elif trial is None:
        fits = _is_choice(sent, (0, 1, 2))
    elif found.design in SCALES:
        fits = _are_scores(sent, len(page.slots), *SCALES[found.design])
    else:
        fits = _is_choice(sent, (0, 1, None) if found.design == "ab" else (0, 1))
    if not fits:
        raise UserError("the answer does not fit the question")
    return sent | {"seconds": round(float(seconds), 3)}


def _is_choice(sent: dict[str, Any], choices: tuple[int | None, ...]) -> bool:
    return sent.keys() == {"choice"} and type(sent["choice"]) in (int, type(None)) and sent["choice"] in choices


def _are_scores(sent: dict[str, Any], number: int, lowest: int, highest: int) -> bool:
    scores = sent.get("scores")
    if sent.keys() != {"scores"} or not isinstance(scores, list) or len(scores) != number:
        return False
    return all(type(score) is int and lowest <= score <= highest for score in scores)


def describe(found: Study, pages: tuple[orders.Page, ...]) -> list[dict[str, Any]]:
    """What a listener's browser is told of the pages: kinds and numbers of sounds, no names of systems, no ids.

    Attention checks look like all others.
    """
    kinds = {trial.id: study.PRACTICE if trial.kind == study.PRACTICE else study.TEST for trial in found.trials}
    kinds |= {tone.id: "headphones" for tone in found.headphones} | {orders.CONSENT: orders.CONSENT}
    return [{"kind": kinds[page.trial], "slots": len(page.slots), "given": len(page.given)} for page in pages]

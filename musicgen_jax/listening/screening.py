"""Whose answers are left out or doubted afterwards (MUSHRA: Recommendation ITU-R BS.1534-3, section 4.1.2)."""

import statistics
from collections.abc import Sequence
from typing import Any

from musicgen_jax.listening.ratings import MID_ANCHOR, REFERENCE, Answer, Choice, Rating

THRESHOLD = 90.0  # the hidden reference is rated at least so; the 7 kHz anchor at most so
TOLERATED = 0.15  # share of the items on which it may be otherwise
TOP = 100.0
FEW = 6  # equal answers; of fewer, chance makes some: both sides as likely, six in a row are 1 in 32


def screen(ratings: Sequence[Rating]) -> dict[str, dict[str, Any]]:
    """How each listener rated what the test hides, and why they are left out, if they are.

    Left out is who rates the hidden reference below 90 on more than 15 % of the items that they rated, or the 7 kHz
    anchor above 90 on more than 15 %. The standard excepts items that the anchor does not significantly impair: those
    whose median rating of it, over all listeners, is above 90.

    Args:
      ratings: of one MUSHRA study.

    Returns:
      listener -> {"reference_below_90": share, "anchor70_above_90": share, "excluded": reason or ""}; a share is None
      where the listener rated none of it.
    """
    anchored: dict[str, list[float]] = {}
    for rating in ratings:
        if rating.system == MID_ANCHOR:
            anchored.setdefault(rating.item, []).append(rating.score)
    unimpaired = {item for item, scores in anchored.items() if statistics.median(scores) > THRESHOLD}
    found = {}
    for listener in sorted({rating.listener for rating in ratings}):
        own = [rating for rating in ratings if rating.listener == listener]
        low = [rating.score < THRESHOLD for rating in own if rating.system == REFERENCE]
        high = [
            rating.score > THRESHOLD for rating in own if rating.system == MID_ANCHOR and rating.item not in unimpaired
        ]
        reasons = []
        if _too_many(low):
            reasons.append(f"rated the hidden reference below {THRESHOLD:.0f} on {sum(low)} of {len(low)} items")
        if _too_many(high):
            reasons.append(f"rated the 7 kHz anchor above {THRESHOLD:.0f} on {sum(high)} of {len(high)} items")
        found[listener] = {
            "reference_below_90": sum(low) / len(low) if low else None,
            "anchor70_above_90": sum(high) / len(high) if high else None,
            "excluded": "; ".join(reasons),
        }
    return found


def _too_many(failures: Sequence[bool]) -> bool:
    """More than 15 %, in whole numbers: 3 of 20 are not."""
    return 100 * sum(failures) > round(100 * TOLERATED) * len(failures)


def doubts(answers: Sequence[Answer]) -> list[dict[str, str]]:
    """Answers that look as if nobody had listened. They count all the same: whether to leave them out is a decision
    to take before the study.

    Returns:
      {"listener", "item", "doubt"} each; item is "" where it is about all answers of a listener.
    """
    found = []
    for listener in sorted({answer.listener for answer in answers}):
        own = [answer for answer in answers if answer.listener == listener]
        ratings = [answer for answer in own if isinstance(answer, Rating)]
        trials: dict[str, list[Rating]] = {}
        for rating in ratings:
            trials.setdefault(rating.item, []).append(rating)
        for item, signals in sorted(trials.items()):
            if len(signals) > 1 and all(rating.score == TOP for rating in signals):
                doubt = f"rated all {len(signals)} signals 100, where webMUSHRA's sliders stand if nobody moves them"
                found.append((listener, item, doubt))
        if len(ratings) >= FEW and len({rating.score for rating in ratings}) == 1:
            found.append((listener, "", f"gave all {len(ratings)} signals the same rating"))
        sides = [answer.chosen for answer in own if isinstance(answer, Choice)]
        if len(sides) >= FEW and len(set(sides)) == 1:
            found.append((listener, "", f"answered {sides[0]!r} in all {len(sides)} trials"))
    return [dict(zip(("listener", "item", "doubt"), one, strict=True)) for one in found]

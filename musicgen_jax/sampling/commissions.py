"""Scores that a composer is yet to write: whether they can be, and whether a folder has them, is known before."""

import dataclasses
import hashlib
import json
import operator
from typing import Any

from musicgen_jax.nn import modules
from musicgen_jax.priors import trained
from musicgen_jax.sampling import composing, journals, options, performed, requests
from musicgen_jax.scores.score import Score


@dataclasses.dataclass(frozen=True, eq=False)
class Commission:
    """A score for each sample, `performed.Performable`.

    Attributes:
      name: where they come from, for messages.
      composer: who writes them.
      request: what it is asked for.
      prime: how each of them begins.
      silence: seconds before they begin; a recording, which goes on by them, sounds until then.
    """

    name: str
    composer: trained.TrainedPrior
    request: requests.Request
    prime: Score | None = None
    silence: float = 0.0

    @property
    def num_pieces(self) -> int:
        """How many there are."""
        return self.request.num_samples

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides them, as JSON has it."""
        said = {
            option.name: operator.attrgetter(option.field)(self.request)
            for option in options.OPTIONS
            if option.field and option.decides
        }
        # A request that is told nothing of a younger option is still the same.
        said = {name: value for name, value in said.items() if value != options.find(name).default}
        prime = None if self.prime is None else performed.Scores("", (self.prime,)).digest
        text = json.dumps([said, prime, self.silence], sort_keys=True)
        return {
            "seconds": self.silence + self.request.seconds,
            "digest": hashlib.sha256(text.encode()).hexdigest()[:16],
            "composer": modules.fingerprint(*self.composer.weights),
        }

    def validate(self) -> None:
        """Raises UserError where the composer cannot write them."""
        composing.validate(self.composer, self.request, self.prime)


def fulfilled(
    scores: performed.Performable | None, journal: journals.Journal | None = None, *, show_progress: bool = False
) -> performed.Scores | None:
    """The scores, those of a commission composed now.

    Args:
      scores: None stays None.
      journal: as of `composing.compose`.
      show_progress: a bar.
    """
    if not isinstance(scores, Commission):
        return scores
    pieces = composing.compose(
        scores.composer, scores.request, scores.prime, journal=journal, show_progress=show_progress
    ).scores
    if scores.silence:
        pieces = tuple(piece.cut(-scores.silence, scores.request.seconds) for piece in pieces)
    return performed.Scores(scores.name, pieces)

"""What listeners answer, one dataclass a kind of question; statistics know nothing else of a study."""

import dataclasses

# Signals of a MUSHRA trial that are no systems: the hidden reference and its low-pass filtered copies (BS.1534-3).
REFERENCE = "reference"
LOW_ANCHOR = "anchor35"
MID_ANCHOR = "anchor70"
CONTROLS = (REFERENCE, LOW_ANCHOR, MID_ANCHOR)
SCALES = {"mushra": (0.0, 100.0), "mos": (1.0, 5.0)}  # least and greatest score of a design
CHOICES = ("first", "second", "none")


@dataclasses.dataclass(frozen=True)
class Rating:
    """One signal rated on a scale: designs `mushra` and `mos`.

    Attributes:
      listener: who answered, by a name that tells nothing of the person.
      item: the excerpt, the same for all systems that were heard on it.
      system: name of the system; in MUSHRA also "reference", "anchor35" or "anchor70".
      score: MUSHRA 0 (bad) to 100 (excellent); MOS 1 (bad) to 5 (excellent).
      seconds: from when the trial could be heard to the answer.
    """

    listener: str
    item: str
    system: str
    score: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which of two systems a listener prefers: design `ab`.

    Attributes:
      listener: who answered, by a name that tells nothing of the person.
      item: the excerpt that both systems were heard on.
      first: name of the system that was heard as the first of the pair.
      second: name of the other one.
      chosen: "first", "second" or "none", where neither is preferred.
      seconds: from when the trial could be heard to the answer.
    """

    listener: str
    item: str
    first: str
    second: str
    chosen: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Discrimination:
    """Whether a listener told which of A and B is X: design `abx`.

    Attributes:
      listener: who answered, by a name that tells nothing of the person.
      item: the excerpt that both systems were heard on.
      system_a: name of the system heard as A.
      system_b: name of the system heard as B.
      correct: whether X was named rightly.
      seconds: from when the trial could be heard to the answer.
    """

    listener: str
    item: str
    system_a: str
    system_b: str
    correct: bool
    seconds: float


Answer = Rating | Choice | Discrimination

"""study.json: what a listening test consists of. Listeners never get to see it; answers refer to its ids."""

import dataclasses
import functools
import pathlib

from musicgen_jax.listening.ratings import CONTROLS
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import UserError

FORMAT = 1
FILE_NAME, ANSWERS, AUDIO = "study.json", "answers.sqlite", "audio"
DESIGNS = {
    "mushra": "each system is rated against a reference, 0 to 100 (ITU-R BS.1534-3)",
    "mos": "each clip is rated by itself, 1 to 5 (ITU-T P.800)",
    "abx": "two systems, and which of them is heard a third time",
    "ab": "two systems, and which of them is preferred",
}
PRACTICE, TEST, ATTENTION = "practice", "test", "attention"
KINDS = (PRACTICE, TEST, ATTENTION)
CHECK = "attention"  # the system of a clip that three beeps interrupt; no system may have this name
RESERVED = (*CONTROLS, CHECK)
_REMEDY = "pass a folder that `listen --design=...` has finished"


@dataclasses.dataclass(frozen=True)
class Stimulus:
    """One sound file.

    Attributes:
      id: random letters that tell nothing of the system.
      system: name of the system, or one of `RESERVED`.
      file: path in the study's folder.
      gain_db: what level matching did to the clip.
    """

    id: str
    system: str
    file: str
    gain_db: float = 0.0


@dataclasses.dataclass(frozen=True)
class Trial:
    """One question.

    Attributes:
      id: of the trial.
      item: the clip's name, equal for all systems.
      kind: of KINDS; answers to practice and attention trials are no results.
      stimuli: what is rated or compared; of `mos` one, of `ab` and `abx` two.
      given: what is heard beside them: the open reference of `mushra`; of `abx` second copies of the two, in the same
        order, one of which is X.
    """

    id: str
    item: str
    kind: str
    stimuli: tuple[Stimulus, ...]
    given: tuple[Stimulus, ...] = ()


@dataclasses.dataclass(frozen=True)
class HeadphoneTone:
    """Three tones in a file, of which one is the quietest: but only through headphones (`headphones.py`).

    Attributes:
      id: of the trial.
      file: path in the study's folder.
      quietest: which one, from 0.
    """

    id: str
    file: str
    quietest: int


@dataclasses.dataclass(frozen=True)
class Study:
    """All of study.json.

    Attributes:
      format: of the file.
      design: of DESIGNS.
      title: that listeners see.
      consent: text that a listener agrees to; paragraphs end with an empty line.
      seed: of all that is drawn.
      sample_rate: Hz of every file.
      channels: of every clip.
      systems: names, in the order in which they were given; a reference that is rated like a system comes last.
      lufs: loudness that the clips were brought to.
      trials: in no order that a listener hears; `orders.py` draws that.
      headphones: trials of the headphone check, none where it is left out.
      absent: name of an anchor -> why there is none.
      digest: of all that the study was made from; a second run with the same one has nothing to do.
    """

    format: int
    design: str
    title: str
    consent: str
    seed: int
    sample_rate: int
    channels: int
    systems: tuple[str, ...]
    lufs: float
    trials: tuple[Trial, ...]
    headphones: tuple[HeadphoneTone, ...] = ()
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    digest: str = ""

    def files(self) -> dict[str, str]:
        """Id of every stimulus and headphone trial -> its file."""
        stimuli = [one for trial in self.trials for one in (*trial.stimuli, *trial.given)]
        return {one.id: one.file for one in (*stimuli, *self.headphones)}

    def trial(self, id: str) -> Trial | None:
        """The trial of that id; None for what is no trial, such as the consent."""
        return self._by_id.get(id)

    @functools.cached_property
    def _by_id(self) -> dict[str, Trial]:
        return {trial.id: trial for trial in self.trials}


def read(folder: str | pathlib.Path) -> Study:
    """The study in a folder, complete.

    Raises:
      NotFoundError: there is none, or preparing it has not ended.
      UserError: study.json is damaged or of another version, or a file that it names lacks.
    """
    folder = pathlib.Path(folder)
    path = folder / FILE_NAME
    values = files.read_json(path, _REMEDY)
    if values.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {values.get('format')!r}; this version reads {FORMAT}: prepare the study again"
        )
    study = records.parse(Study, values, f"{path}: study")
    if study.design not in DESIGNS or any(trial.kind not in KINDS for trial in study.trials):
        raise UserError(f"{path} is damaged: it has a design or a kind of trial that there is not; prepare it again")
    for name in (ANSWERS, *study.files().values()):
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{path} is damaged: it names {name}, which does not lie in the folder; prepare it again")
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is no whole study: {name} is missing; copy all of the folder, or prepare it again"
            )
    return study


def write(path: pathlib.Path, study: Study) -> None:
    """Writes study.json, whole or not at all."""
    files.write_json(path, dataclasses.asdict(study))

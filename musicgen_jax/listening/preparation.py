"""From folders of clips to a study: level-matched sounds under names that tell nothing, anchors, checks, study.json."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from musicgen_jax.data import audio_io, output_folder
from musicgen_jax.listening import anchors, clips, headphones, levels, storage, study
from musicgen_jax.listening.ratings import REFERENCE
from musicgen_jax.listening.study import ATTENTION, CHECK, PRACTICE, TEST, HeadphoneTone, Stimulus, Study, Trial
from musicgen_jax.runtime.errors import UserError

LISTENERS = 20  # links, where no number is asked for: as many as BS.1534 advises
MAX_SIGNALS = 12  # of a MUSHRA trial, as the standard has it
TRIALS_PER_CHECK = 10
BEEP_HERTZ, BEEP_LEVEL, BEEP_SECONDS, BEEP_GAP_SECONDS = 1000.0, 0.1, 0.12, 0.08
CONSENT = """You will hear short clips of music and say what you think of them. It is best done in a quiet room, through
headphones, at a volume that you find pleasant and then leave as it is.

Your answers are stored under a number, with the time that you took, and without your name. You may stop whenever you
like by closing this page; the same link takes you back to where you were."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a study is made of.

    Attributes:
      design: of `study.DESIGNS`.
      systems: name -> folder of its clips.
      reference: folder of the recordings that the systems were to reproduce, or "". `mushra` needs it; in other designs
        it is one more system.
      title: that listeners see.
      consent: text that they agree to.
      seed: of all that is drawn.
      headphones: whether they are checked.
      max_seconds: the longest clip that is taken.
    """

    design: str
    systems: dict[str, str]
    reference: str = ""
    title: str = "Listening test"
    consent: str = CONSENT
    seed: int = 0
    headphones: bool = True
    max_seconds: float = 12.0


def prepare(settings: Settings, out: str, num_listeners: int) -> Study:
    """Writes a study into the folder `out`: study.json, audio/ and answers.sqlite with the listeners' links.

    The same settings and clips give the same study.json and the same sound files. Where `out` has that study already it
    stays as it is, with all its answers.

    Raises:
      UserError: the design does not fit, the clips do not, or `out` holds something else.
    """
    _require_fit(settings)
    folders = settings.systems | ({REFERENCE: settings.reference} if settings.reference else {})
    items = clips.find(folders)
    rate, channels = clips.require_fit(items)
    digest = _digest(settings, items)
    if (pathlib.Path(out) / study.FILE_NAME).is_file():
        return _same(out, digest)
    with output_folder.claim(out, "preparing a listening test") as folder, output_folder.fill(folder) as place:
        (place.partial / study.AUDIO).mkdir()
        made = _Maker(settings, place.partial, rate, channels).study(items, digest)
        storage.create(place.partial, made, num_listeners)
        study.write(place.partial / study.FILE_NAME, made)  # moves up last: entries do in the order of their names
    return made


def _require_fit(settings: Settings) -> None:
    """Raises UserError where the design cannot be made of these systems."""
    design, systems = settings.design, settings.systems
    for name in systems:
        if name in study.RESERVED:
            raise UserError(f"a system cannot be named {name}: choose another name than {', '.join(study.RESERVED)}")
    if design == "mushra":
        _require_reconstructions(settings)
        if len(systems) > MAX_SIGNALS - 3:
            raise UserError(
                f"{len(systems)} systems: a MUSHRA trial has at most {MAX_SIGNALS} signals, three of them the "
                f"hidden reference and the anchors (ITU-R BS.1534); compare at most {MAX_SIGNALS - 3}"
            )
    elif design in ("ab", "abx") and len(systems) + bool(settings.reference) < 2:
        raise UserError(f"`design`={design} compares two systems: name another one in `systems`, or pass a `reference`")
    if not settings.title.strip() or not settings.consent.strip():
        raise UserError("`title` and `consent` must have text in them: listeners read it")
    if not settings.max_seconds >= clips.MIN_SECONDS:
        raise UserError(f"`max_seconds`={settings.max_seconds} must be at least {clips.MIN_SECONDS:g}")


def _require_reconstructions(settings: Settings) -> None:
    """MUSHRA is of systems that were given a signal to reproduce."""
    why = "MUSHRA asks how near each system comes to a reference (ITU-R BS.1534)"
    if not settings.reference:
        raise UserError(
            f"`design`=mushra without `reference`: {why}. For reconstructions pass the folder of the originals; "
            "generated music has none, compare it by `design`=mos or ab"
        )
    for name, folder in settings.systems.items():
        if (pathlib.Path(folder) / "samples.json").is_file():
            raise UserError(
                f"{name}: {folder} holds generated samples. {why}, and music that a model made up has none: rate it by "
                "`design`=mos, or compare it by `design`=ab"
            )


def _digest(settings: Settings, items: Mapping[str, Mapping[str, pathlib.Path]]) -> str:
    """Of the settings, but for where the folders are, and of every clip's bytes."""
    facts = dataclasses.asdict(settings) | {"systems": list(settings.systems), "reference": bool(settings.reference)}
    hashed = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for item, by_system in items.items():
        for system, path in by_system.items():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            hashed.update(json.dumps([item, system, content]).encode())
    return hashed.hexdigest()


def _same(out: str, digest: str) -> Study:
    """The finished study in `out`, which must be the one that is asked for."""
    found = study.read(out)
    if found.digest != digest:
        raise UserError(f"`out`={out} holds a study of other clips or settings: choose another `out`")
    return found


class _Maker:
    """Writes the sounds of a study, item by item."""

    def __init__(self, settings: Settings, folder: pathlib.Path, sample_rate: int, channels: int) -> None:
        self._settings, self._folder, self._rate, self._channels = settings, folder, sample_rate, channels
        self._mushra = settings.design == "mushra"
        absent = {name: anchors.unavailable(name, sample_rate) for name in anchors.CUTOFFS} if self._mushra else {}
        self._absent = {name: reason for name, reason in absent.items() if reason}
        self._ids: set[str] = set()

    def study(self, items: Mapping[str, Mapping[str, pathlib.Path]], digest: str) -> Study:
        """All of it, but for study.json and the answers."""
        settings = self._settings
        names = list(items)
        num_tests = len(names) * len(self._groups(next(iter(items.values()))))
        num_checks = max(1, round(num_tests / TRIALS_PER_CHECK))
        rng = np.random.default_rng(settings.seed)
        practised = names[int(rng.integers(len(names)))]
        checked = [names[place % len(names)] for place in rng.permutation(max(len(names), num_checks))[:num_checks]]
        trials = []
        for item, by_system in items.items():
            trials += self._trials(item, by_system, item == practised, checked.count(item))
        return Study(
            format=study.FORMAT,
            design=settings.design,
            title=settings.title,
            consent=settings.consent,
            seed=settings.seed,
            sample_rate=self._rate,
            channels=self._channels,
            systems=tuple(name for name in next(iter(items.values())) if not (self._mushra and name == REFERENCE)),
            lufs=levels.TARGET_LUFS,
            trials=tuple(trials),
            headphones=tuple(self._tones()) if settings.headphones else (),
            absent=self._absent,
            digest=digest,
        )

    def _groups(self, systems: Mapping[str, object]) -> list[tuple[str, ...]]:
        """Which systems are heard together, a tuple a trial."""
        if self._mushra:
            return [
                (*self._settings.systems, REFERENCE, *(name for name in anchors.CUTOFFS if name not in self._absent))
            ]
        if self._settings.design == "mos":
            return [(name,) for name in systems]
        return list(itertools.combinations(systems, 2))

    def _trials(
        self, item: str, by_system: Mapping[str, pathlib.Path], practised: bool, num_checks: int
    ) -> list[Trial]:
        """The tests of an item, and what else is made of it."""
        audio: dict[str, np.ndarray] = dict(clips.read_item(by_system, self._rate, self._settings.max_seconds))
        follows = {name: REFERENCE for name in anchors.CUTOFFS if self._mushra and name not in self._absent}
        audio |= {name: anchors.make(audio[REFERENCE], name, self._rate) for name in follows}
        gains = levels.gains(audio, self._rate, item, follows)
        audio = {name: levels.amplified(one, gains[name], self._rate) for name, one in audio.items()}
        groups = self._groups(by_system)
        made = [self._trial(item, TEST, number, group, audio, gains) for number, group in enumerate(groups)]
        for number in range(num_checks):
            made.append(self._trial(item, ATTENTION, number, groups[number % len(groups)], audio, gains))
        if practised:
            chosen = groups if self._settings.design == "mos" else groups[:1]
            made += [self._trial(item, PRACTICE, number, group, audio, gains) for number, group in enumerate(chosen)]
        return made

    def _trial(
        self,
        item: str,
        kind: str,
        number: int,
        group: tuple[str, ...],
        audio: Mapping[str, np.ndarray],
        gains: Mapping[str, float],
    ) -> Trial:
        """One trial and its files; in an attention check the first of the systems is interrupted by beeps."""
        key = f"{item}/{kind}/{number}"
        sounds = [(name, audio[name], gains[name]) for name in group]
        if kind == ATTENTION:
            _, one, gain = sounds[0]
            sounds[0] = (CHECK, interrupted(one, self._rate), gain)
        stimuli = [self._stimulus(f"{key}/{name}", name, one, gain) for name, one, gain in sounds]
        given = []
        if self._mushra:
            given = [self._stimulus(f"{key}/open reference", REFERENCE, audio[REFERENCE], gains[REFERENCE])]
        elif self._settings.design == "abx":
            given = [self._stimulus(f"{key}/{name} as X", name, one, gain) for name, one, gain in sounds]
        return Trial(self._id(key), item, kind, tuple(stimuli), tuple(given))

    def _stimulus(self, key: str, system: str, audio: np.ndarray, gain_db: float) -> Stimulus:
        """Writes a sound. Each has dither of its own: the hidden reference, or X, is no copy of a file beside it."""
        id = self._id(key)
        noise = np.random.default_rng([self._settings.seed, *id.encode()])
        dither = noise.uniform(-0.5, 0.5, (2, *audio.shape)).sum(axis=0) / audio_io.INT16_SCALE  # triangular, one step
        file = f"{study.AUDIO}/{id}.wav"
        audio_io.write_wav(self._folder / file, audio + dither, self._rate)
        return Stimulus(id, system, file, round(gain_db, 3))

    def _tones(self) -> Iterator[HeadphoneTone]:
        """The headphone check, in an order of the seed."""
        for place in np.random.default_rng(self._settings.seed).permutation(len(headphones.ORDERS)):
            quieter, antiphase = headphones.ORDERS[place]
            id = self._id(f"headphones/{quieter}/{antiphase}")
            file = f"{study.AUDIO}/{id}.wav"
            audio_io.write_wav(self._folder / file, headphones.tones(quieter, antiphase, self._rate), self._rate)
            yield HeadphoneTone(id, file, quieter)

    def _id(self, key: str) -> str:
        """Twenty letters that depend on the seed and the key, and tell neither."""
        id = hashlib.sha256(f"{self._settings.seed}/{key}".encode()).hexdigest()[:20]
        assert id not in self._ids, key
        self._ids.add(id)
        return id


def interrupted(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """float [S, C] with three beeps in place of its middle, for attention checks: who listens cannot miss them."""
    time = np.arange(round((3 * BEEP_SECONDS + 2 * BEEP_GAP_SECONDS) * sample_rate)) / sample_rate
    phase = np.mod(time, BEEP_SECONDS + BEEP_GAP_SECONDS) / BEEP_SECONDS
    envelope = np.where(phase < 1, np.sin(np.pi * np.minimum(phase, 1)) ** 2, 0.0)
    beeps = BEEP_LEVEL * envelope * np.sin(2 * np.pi * BEEP_HERTZ * time)
    result, start = audio.copy(), (len(audio) - len(beeps)) // 2
    result[start : start + len(beeps)] = beeps[:, None]
    return result


def parse_systems(texts: list[str]) -> dict[str, str]:
    """{name: folder} of NAME=FOLDER texts, as `systems` has them.

    Raises:
      UserError: one is none, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, folder = (part.strip() for part in text.partition("="))
        if not name or not folder or not all(one.isalnum() or one in "_.+- " for one in name):
            example = "write NAME=FOLDER,NAME=FOLDER; names have letters, digits, spaces and _ . + -"
            raise UserError(f"`systems`: {text!r} is no system: {example}")
        if name in found:
            raise UserError(f"`systems` names {name} twice: give each its own name")
        found[name] = folder
    if not found:
        raise UserError("`systems` is empty: write NAME=FOLDER,NAME=FOLDER")
    return found

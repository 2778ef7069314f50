"""The named timbres of the synthesizer: a few dozen numbers each, all of them differentiable."""

import dataclasses
import functools
import hashlib

import jax
import numpy as np

SINGING = 2  # how often the synthesizer has changed what is heard of the same vowels


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "harmonics",
        "dullness",
        "attack",
        "decay",
        "sustain",
        "release",
        "vibrato_hz",
        "vibrato_cents",
        "detune_cents",
        "vowels",
    ],
    meta_fields=["name"],
)
@dataclasses.dataclass(frozen=True)
class Timbre:
    """How a note sounds. A JAX pytree: every field but the name may be an array that carries gradients.

    Attributes:
      name: the label.
      harmonics: float32 [H], amplitudes of the harmonics at full velocity.
      dullness: how many dB an octave a note of zero velocity loses against one of full velocity.
      attack: seconds, as are decay and release; sustain is a level in [0, 1]. See `envelopes.adsr`.
      decay: seconds.
      sustain: level.
      release: seconds.
      vibrato_hz: rate of the vibrato.
      vibrato_cents: its depth, to either side.
      detune_cents: float32 [U], the players in unison, each this far off the pitch.
      vowels: float32 [V, 2, N], formant frequencies and bandwidths in Hz of the vowels that the notes of a voice sing
        in turn; None for an instrument without formants.
    """

    name: str
    harmonics: jax.typing.ArrayLike
    dullness: jax.typing.ArrayLike
    attack: jax.typing.ArrayLike
    decay: jax.typing.ArrayLike
    sustain: jax.typing.ArrayLike
    release: jax.typing.ArrayLike
    vibrato_hz: jax.typing.ArrayLike
    vibrato_cents: jax.typing.ArrayLike
    detune_cents: jax.typing.ArrayLike
    vowels: jax.typing.ArrayLike | None = None


def _partials(amplitudes: dict[int, float]) -> np.ndarray:
    harmonics = np.zeros(max(amplitudes), np.float32)
    for number, amplitude in amplitudes.items():
        harmonics[number - 1] = amplitude
    return harmonics


def _slope(count: int, exponent: float) -> np.ndarray:
    return (np.arange(1, count + 1) ** -exponent).astype(np.float32)


# Formants F1-F3 of a, e, i, o, u after Peterson & Barney 1952 (men); F4, F5 and the bandwidths after Klatt 1980.
_UPPER_FORMANTS = (3500.0, 4500.0)
_BANDWIDTHS = (80.0, 90.0, 120.0, 175.0, 250.0)
VOWELS = np.array(
    [
        [(*formants, *_UPPER_FORMANTS), _BANDWIDTHS]
        for formants in ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
    ],
    np.float32,
)

ORGAN = Timbre(
    name="organ",
    harmonics=_partials({1: 1.0, 2: 0.8, 3: 0.5, 4: 0.45, 6: 0.25, 8: 0.25, 12: 0.08, 16: 0.06}),
    dullness=0.0,
    attack=0.015,
    decay=0.05,
    sustain=0.95,
    release=0.04,
    vibrato_hz=0.0,
    vibrato_cents=0.0,
    detune_cents=np.array([0.0], np.float32),
)

FLUTE = Timbre(
    name="flute",
    harmonics=_partials({1: 1.0, 2: 0.22, 3: 0.1, 4: 0.03, 5: 0.012}),
    dullness=6.0,
    attack=0.07,
    decay=0.1,
    sustain=0.85,
    release=0.07,
    vibrato_hz=4.8,
    vibrato_cents=9.0,
    detune_cents=np.array([0.0], np.float32),
)

STRINGS = Timbre(
    name="strings",
    harmonics=_slope(32, 1.1),
    dullness=4.0,
    attack=0.11,
    decay=0.25,
    sustain=0.8,
    release=0.09,
    vibrato_hz=5.6,
    vibrato_cents=7.0,
    detune_cents=np.array([-6.0, 0.0, 5.0], np.float32),
)

VOICE = Timbre(
    name="voice",
    harmonics=_slope(40, 1.0),
    dullness=3.0,
    attack=0.06,
    decay=0.15,
    sustain=0.85,
    release=0.07,
    vibrato_hz=5.2,
    vibrato_cents=16.0,
    detune_cents=np.array([0.0], np.float32),
    vowels=VOWELS,
)

ALL = (ORGAN, FLUTE, STRINGS, VOICE)


def digest(timbre: Timbre) -> str:
    """SHA-256 of a timbre's name and numbers, hexadecimal: changes whenever the sound would."""
    sha = hashlib.sha256(f"{timbre.name}{'' if timbre.vowels is None else SINGING}".encode())
    for field, leaf in jax.tree_util.tree_flatten_with_path(timbre)[0]:
        value = np.asarray(leaf, np.float32)
        sha.update(f"{jax.tree_util.keystr(field)}{value.shape}".encode() + value.tobytes())
    return sha.hexdigest()

"""Notes -> waveform: every voice is one f0 track and one gain track, rendered by harmonic oscillators and formants."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.ddsp import envelopes, formants, oscillators, timbres
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import Score

CONTROL_RATE = 250  # Hz, roughly: a control frame is a whole number of samples
FORMANT_SECONDS = 0.0232  # between formant frames, roughly: 512 samples at 22.05 kHz
BUCKET_SECONDS = 21.0  # lengths are rounded up to this, or half of it, so that a corpus compiles a handful of programs
BUCKET_NOTES = 256  # and notes a voice to this
TARGET_RMS = 0.1  # -20 dBFS, whatever the timbre
PEAK_LIMIT = 0.95
VOICES_AT_ONCE = 4  # of a score, so that one program plays any number of them in bounded memory
MAX_SCORE_SECONDS = 1200.0  # of a score: memory is in proportion to it
TINY = 1e-9  # of amplitudes squared: silence
NEVER = 1e6  # seconds; the onset of notes that only fill up a bucket


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["pitch", "onset", "duration", "velocity"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Notes:
    """Notes of several voices, all float32 [V, N], each voice in order of onset.

    A voice is monophonic: a note ends, release included, where the next one of its voice begins.

    Attributes:
      pitch: MIDI note number, fractions allowed; 69 is 440 Hz.
      onset: seconds.
      duration: seconds.
      velocity: in [0, 1], the amplitude.
    """

    pitch: jax.typing.ArrayLike
    onset: jax.typing.ArrayLike
    duration: jax.typing.ArrayLike
    velocity: jax.typing.ArrayLike


def pack(voices: list[np.ndarray]) -> Notes:
    """Puts voices of different lengths into one `Notes`, padded to a whole number of BUCKET_NOTES.

    Args:
      voices: one array [N, 4] a voice, a row a note: pitch, onset, duration, velocity. Any order; a voice may be empty.

    Raises:
      UserError: no voice, an array of another shape, or a value that is not finite or out of range.
    """
    if not voices:
        raise UserError("no voices: a piece needs at least one, which may be empty")
    width = max(1, -(-max(len(voice) for voice in voices) // BUCKET_NOTES)) * BUCKET_NOTES
    table = np.zeros((len(voices), width, 4), np.float32)
    table[..., 1] = NEVER
    for index, voice in enumerate(voices):
        if len(voice) == 0:
            continue
        rows = np.asarray(voice, np.float32).reshape(len(voice), -1)
        if rows.shape[1] != 4 or not np.isfinite(rows).all() or (rows[:, 1:] < 0).any() or (rows[:, 3] > 1).any():
            raise UserError(
                f"voice {index}: a note must be four finite numbers, pitch, onset >= 0, duration >= 0 and velocity in "
                f"[0, 1]; got rows {rows[:2].tolist()}..."
            )
        table[index, : len(rows)] = rows[np.argsort(rows[:, 1], kind="stable")]
    return Notes(*np.moveaxis(table, -1, 0))


def render(notes: Notes, timbre: timbres.Timbre, seconds: float, sample_rate: int) -> np.ndarray:
    """Renders a whole piece at a set loudness, TARGET_RMS, or less where the peak would pass PEAK_LIMIT.

    Args:
      notes: of all voices; see `pack`.
      timbre: for all of them.
      seconds: length of the result; what sounds later is cut off.
      sample_rate: Hz.

    Returns:
      float32 [S], S = round(seconds * sample_rate); silence stays silence.

    Raises:
      UserError: seconds not positive, or sample_rate too low for the control rate.
    """
    return _leveled(_unleveled(notes, timbre, seconds, sample_rate))


def render_score(score: Score, timbre: timbres.Timbre, sample_rate: int, seconds: float | None = None) -> np.ndarray:
    """Renders a score of any number of parts, polyphonic ones too, as `render` does.

    Args:
      score: what sounds from second 0 on.
      timbre: for all parts.
      sample_rate: Hz.
      seconds: length of the result; None is that of the score. What sounds later is cut off.

    Returns:
      float32 [S], S = round(seconds * sample_rate).

    Raises:
      UserError: seconds not positive (a score without notes has none of its own) or above MAX_SCORE_SECONDS, too many
        notes at once, or sample_rate too low for the control rate.
    """
    score = score.clipped(np.inf)
    seconds = score.seconds if seconds is None else seconds
    if seconds > MAX_SCORE_SECONDS:
        raise UserError(
            f"seconds is {seconds:.0f}; at most {MAX_SCORE_SECONDS:.0f} s are rendered at once: cut the score"
        )
    return _leveled(unleveled(score, timbre, seconds, sample_rate))


def unleveled(score: Score, timbre: timbres.Timbre, seconds: float, sample_rate: int) -> np.ndarray:
    """As `render_score`, as loud as its notes are, and of any length that fits into memory."""
    voices = score.voices() or [np.zeros((0, 4), np.float32)]
    audio = 0.0
    for start in range(0, len(voices), VOICES_AT_ONCE):
        group = voices[start : start + VOICES_AT_ONCE]
        group += [np.zeros((0, 4), np.float32)] * (VOICES_AT_ONCE - len(group))
        audio = audio + _unleveled(pack(group), timbre, seconds, sample_rate)
    return audio


def _unleveled(notes: Notes, timbre: timbres.Timbre, seconds: float, sample_rate: int) -> np.ndarray:
    """A whole piece [S] as loud as its notes are. Raises UserError where it has no length."""
    if not seconds > 0:
        raise UserError(f"seconds is {seconds}; a piece must last longer than nothing")
    num_samples = round(seconds * sample_rate)
    bucket = BUCKET_SECONDS / 2 if seconds <= BUCKET_SECONDS / 2 else BUCKET_SECONDS
    padded = int(-(-seconds // bucket) * bucket * sample_rate)
    return np.asarray(synthesize(notes, timbre, padded, sample_rate))[:num_samples]


def _leveled(audio: np.ndarray) -> np.ndarray:
    rms = np.sqrt(np.mean(audio.astype(np.float64) ** 2))
    return audio * gain(rms, np.max(np.abs(audio)))


def gain(rms: float, peak: float) -> np.float32:
    """What brings audio to TARGET_RMS, or to less where its peak would pass PEAK_LIMIT; silence stays silence."""
    return np.float32(min(TARGET_RMS / rms, PEAK_LIMIT / peak) if rms else 1)


@functools.partial(jax.jit, static_argnames=("num_samples", "sample_rate"))
def synthesize(notes: Notes, timbre: timbres.Timbre, num_samples: int, sample_rate: int) -> jax.Array:
    """Sum of all voices, not normalised; differentiable in the notes' velocities and in every number of the timbre.

    Args:
      notes: float32 [V, N] each.
      timbre: how they sound.
      num_samples: static, S.
      sample_rate: Hz, static.

    Returns:
      float32 [S].

    Raises:
      UserError: sample_rate below CONTROL_RATE.
    """
    if sample_rate < CONTROL_RATE:
        raise UserError(f"sample_rate is {sample_rate} Hz; the controls alone run at {CONTROL_RATE} Hz: use more")
    hop_length = round(sample_rate / CONTROL_RATE)
    num_frames = -(-num_samples // hop_length)
    times = np.arange(num_frames, dtype=np.float32) * hop_length / sample_rate
    controls = _controls(notes, timbre, times)
    if timbre.vowels is None:
        return jnp.sum(_players(controls, timbre, hop_length, sample_rate)[:, :num_samples], axis=0)
    sung = _vowels(notes, timbre, times, sample_rate)
    controls = _balanced(controls, timbre, sung, sample_rate)
    audio = _players(controls, timbre, hop_length, sample_rate)[:, :num_samples]
    return jnp.sum(_sing(audio, notes, timbre, sample_rate), axis=0)


def _controls(notes: Notes, timbre: timbres.Timbre, times: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
    """f0 [V, F] in Hz, gain [V, F] and velocity [V, F] at `times` [F] in seconds."""
    index = _sounding(notes, times)
    pitch, onset, duration, velocity, following = (
        jnp.take_along_axis(jnp.asarray(x), index, axis=1)
        for x in (notes.pitch, notes.onset, notes.duration, notes.velocity, _following(notes))
    )
    age = times - onset
    # The key is let go early enough for the release to end before the next note, but after half the note at least.
    room = jnp.minimum(duration, following - onset)
    gate = jnp.maximum(room - timbre.release, room / 2)
    gain = velocity * envelopes.adsr(
        age, gate, timbre.attack, timbre.decay, timbre.sustain, jnp.minimum(timbre.release, room / 2)
    )
    # The vibrato of a voice sets in late and is out of step with that of the others (by the golden ratio).
    turn = timbre.vibrato_hz * times + 0.618 * np.arange(index.shape[0])[:, None]
    vibrato = timbre.vibrato_cents * jnp.clip((age - 0.15) / 0.3, 0.0, 1.0) * jnp.sin(2 * jnp.pi * turn)
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12 + vibrato / 1200), gain, velocity


def _sounding(notes: Notes, times: np.ndarray) -> jax.Array:
    """Index of the note that began last at each time: int32 [V, F]; 0 before the first one."""
    count = jax.vmap(lambda onset: jnp.searchsorted(onset, times, side="right"))(jnp.asarray(notes.onset))
    return jnp.maximum(count - 1, 0)


def _following(notes: Notes) -> jax.Array:
    return jnp.concatenate([notes.onset[:, 1:], jnp.full_like(notes.onset[:, :1], 2 * NEVER)], axis=1)


def _players(
    controls: tuple[jax.Array, jax.Array, jax.Array], timbre: timbres.Timbre, hop_length: int, sample_rate: int
) -> jax.Array:
    """The voices [V, F * hop_length], each played by all its unison players, before any formants."""
    f0, gain, velocity = controls
    octave = jnp.log2(jnp.arange(1.0, jnp.shape(timbre.harmonics)[0] + 1))
    tilt = 10.0 ** (-timbre.dullness * (1 - velocity[..., None]) * octave / 20)
    amplitudes = gain[..., None] * timbre.harmonics * tilt
    # A loop over the players: with a batch axis for them XLA makes code that ran 15 times slower on a CPU.
    audio = jnp.zeros((f0.shape[0], f0.shape[1] * hop_length))
    for cents in jnp.asarray(timbre.detune_cents):
        detuned = envelopes.upsample_linear(f0 * 2.0 ** (cents / 1200), hop_length)
        audio += oscillators.harmonic_oscillators(detuned, amplitudes, sample_rate)
    return audio


def _vowels(notes: Notes, timbre: timbres.Timbre, times: np.ndarray, sample_rate: int) -> tuple[jax.Array, jax.Array]:
    """Formants [V, F, N] at `times` [F] in seconds, and their bandwidths, in Hz: the next vowel at every note."""
    index = _sounding(notes, times)
    vowels = jnp.asarray(timbre.vowels)
    sung = vowels[(index + np.arange(index.shape[0])[:, None]) % vowels.shape[0]]
    # A singer raises the first formant to the fundamental rather than lose the note (soprano tuning); and no formant
    # may pass Nyquist.
    pitch = jnp.take_along_axis(jnp.asarray(notes.pitch), index, axis=1)
    frequencies = jnp.maximum(sung[:, :, 0], 440.0 * 2.0 ** ((pitch[..., None] - 69.0) / 12))
    return jnp.minimum(frequencies, 0.48 * sample_rate), sung[:, :, 1]


def _balanced(
    controls: tuple[jax.Array, jax.Array, jax.Array],
    timbre: timbres.Timbre,
    sung: tuple[jax.Array, jax.Array],
    sample_rate: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The controls of notes that are as loud behind their formants as before them: singers of a choir listen to each
    other, and a note on a formant would else be ten times as loud as one that lies between two."""
    f0, gain, velocity = controls
    number = jnp.arange(1.0, jnp.shape(timbre.harmonics)[0] + 1)
    amplitudes = jnp.where(f0[..., None] * number < sample_rate / 2, timbre.harmonics, 0.0)
    passed = formants.magnitudes(*sung, f0[..., None] * number, sample_rate)
    before, behind = (jnp.sum(x**2, axis=-1) for x in (amplitudes, amplitudes * passed))
    return f0, gain * jnp.sqrt((before + TINY) / (behind + TINY)), velocity


def _sing(audio: jax.Array, notes: Notes, timbre: timbres.Timbre, sample_rate: int) -> jax.Array:
    """Each voice [V, S] through its vowels."""
    hop_length = 2 ** round(np.log2(FORMANT_SECONDS * sample_rate))
    times = np.arange(formants.num_frames(audio.shape[-1], hop_length), dtype=np.float32) * hop_length / sample_rate
    return formants.filter_frames(audio, *_vowels(notes, timbre, times, sample_rate), sample_rate, hop_length)

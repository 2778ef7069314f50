"""The decoder's differentiable synthesizer: latents -> controls at frame rate -> oscillators, noise, formants, reverb.

Engel et al. 2020 (DDSP) drive a synthesizer by a network and learn through it. Here the network reads a stream's
quantized latents, and everything it needs to know is in them: there is no pitch tracker, so there may be many voices.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax import config
from musicgen_jax.ddsp import formants, noise, overlap_add, reverb, voices
from musicgen_jax.nn import parameters, resnet
from musicgen_jax.runtime.errors import UserError

LOWEST_PITCH = 36  # of the oscillators at semitones: MIDI, 65 Hz
LOWEST_HZ, HIGHEST_HZ = 60.0, 1500.0  # fundamentals from which the voices start
FORMANT_HZ = (250.0, 4000.0)  # and the formants
RANGE = 0.4  # how far a fundamental or a formant may move, to either side, as a share of itself
BANDWIDTH_HZ = (80.0, 1000.0)  # narrowest and widest formant
# What comes out is a sum of some hundred sinusoids. Each must start small and move slowly under Adam, whose steps know
# no scale, or the first updates would drown the music in tones; and high harmonics, which are weak in music, slower
# still: harmonic h has the amplitude HARMONICS / h.
HARMONICS = 0.1
NOISE = 0.02
ECHO = 0.001


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Controls:
    """What the synthesizer is told at every frame, float32.

    Attributes:
      f0: [B, F, V], Hz.
      cosine: [B, F, V, H], amplitudes in phase; see `voices.harmonic_voices`.
      sine: [B, F, V, H], amplitudes a quarter of a cycle behind.
      noise: [B, F, M], magnitudes of the noise filter from 0 to Nyquist.
      formant_hz: [B, F, N]; None without formants, as are the next two.
      formant_bandwidth: [B, F, N], Hz.
      formant_gain: [B, F], of what goes through the formants, beside what does not.
    """

    f0: jax.Array
    cosine: jax.Array
    sine: jax.Array
    noise: jax.Array
    formant_hz: jax.Array | None = None
    formant_bandwidth: jax.Array | None = None
    formant_gain: jax.Array | None = None


class DDSPDecoder(nnx.Module):
    """The synthesizer of one stream, and the network that turns the stream's latents into its controls."""

    def __init__(
        self,
        settings: config.DDSPConfig,
        code_width: int,
        hop_length: int,
        sample_rate: int,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.config, self.sample_rate = settings, sample_rate
        self.hop_length = max(settings.hop_length, hop_length)
        self.codes_per_frame = self.hop_length // hop_length
        dilations = [settings.dilation_growth**r for r in range(settings.depth)]
        # XLA's matrix products round differently with the number of frames, its convolutions do not; and a last bit of
        # f0 is another phase at the ends of a window.
        kinds = {"as_products": False, "dtype": dtype, "rngs": rngs}
        self.project = resnet.convolution(self.codes_per_frame * code_width, settings.width, 3, **kinds)
        self.stack = resnet.ResidualStack(settings.width, dilations, **kinds)
        num_controls = sum(int(np.prod(shape)) for shape in self._shapes().values())
        # For the same reason a convolution of one tap, and not `nnx.Linear`.
        init = nnx.initializers.normal(0.01)
        self.controls_of = parameters.layer(
            nnx.Conv(settings.width, num_controls, (1,), kernel_init=init, dtype=dtype, rngs=rngs)
        )
        num_echoes = round(settings.reverb_seconds * sample_rate)
        if num_echoes:
            self.echoes = parameters.parameter(jnp.zeros((num_echoes,)), parameters.VECTOR)
        self.has_echoes = num_echoes > 0

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        settings = self.config
        tones: dict[str, tuple[int, ...]] = {"amplitude": (settings.num_voices,)}
        if settings.oscillators == "voices":
            harmonics = (settings.num_voices, settings.num_harmonics)
            tones = {"f0": harmonics[:1], "cosine": harmonics, "sine": harmonics}
        formants_of = {
            "formant_hz": (settings.num_formants,),
            "formant_bandwidth": (settings.num_formants,),
            "formant_gain": (),
        }
        return tones | {"noise": (settings.num_noise_bands,)} | (formants_of if settings.num_formants else {})

    def controls(self, latents: jax.Array, start: jax.Array | int = 0) -> Controls:
        """Latents [B, T, code_width] -> controls of F = T / codes_per_frame frames.

        Args:
          latents: quantized.
          start: as in `__call__`; the phases of oscillators at semitones depend on it.

        Raises:
          UserError: T is not a whole number of frames.
        """
        batch, length, width = latents.shape
        if length % self.codes_per_frame:
            raise UserError(
                f"{length} codes are not a whole number of frames of {self.codes_per_frame} codes each: pad them"
            )
        frames = latents.reshape(batch, -1, self.codes_per_frame * width)
        raw = self.controls_of(nnx.relu(self.stack(self.project(frames)))).astype(jnp.float32)
        shapes = self._shapes()
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
        parts = {
            name: part.reshape(*raw.shape[:2], *shape)
            for (name, shape), part in zip(shapes.items(), jnp.split(raw, ends[:-1], axis=-1), strict=True)
        }
        if self.config.oscillators == "semitones":
            tones = self._semitones(parts.pop("amplitude"), start // self.codes_per_frame)
        else:
            scale = HARMONICS / np.arange(1, self.config.num_harmonics + 1, dtype=np.float32)
            tones = {name: scale * parts.pop(name) for name in ("cosine", "sine")}
            tones["f0"] = _moved(parts.pop("f0"), LOWEST_HZ, HIGHEST_HZ)
        return self._scaled(**tones, **parts)

    def _semitones(self, raw: jax.Array, first_frame: jax.Array | int) -> dict[str, jax.Array]:
        """Sines that run on from frame to frame, one a semitone, at amplitudes of softplus(raw), [B, F, V].

        The phase at the centre of frame k is k + 1/2 times that of one hop, counted in 2^-32 of a cycle, so that it
        stays exact however long the piece is: the codes need not tell it.
        """
        hz = 440 * 2.0 ** ((LOWEST_PITCH + np.arange(self.config.num_voices) - 69) / 12)
        turn = np.round(hz * self.hop_length / self.sample_rate * 2.0**32)
        whole, half = ((turns % 2.0**32).astype(np.uint32) for turns in (turn, turn // 2))
        frames = jnp.asarray(first_frame, jnp.uint32) + jnp.arange(raw.shape[1], dtype=jnp.uint32)
        turns = frames[:, None] * whole + half
        phase = 2 * np.pi * 2.0**-24 * (turns >> 8).astype(jnp.float32)
        amplitude = HARMONICS * jax.nn.softplus(raw - 3.0)
        return {
            "f0": jnp.broadcast_to(hz.astype(np.float32), raw.shape),
            "cosine": (amplitude * jnp.cos(phase))[..., None],
            "sine": (-amplitude * jnp.sin(phase))[..., None],
        }

    def _scaled(self, f0, cosine, sine, noise, **of_formants) -> Controls:
        # Starts at -65 dB: noise is the last thing that a sound needs.
        noise = NOISE * jax.nn.softplus(noise - 3.0)
        return Controls(f0=f0, cosine=cosine, sine=sine, noise=noise, **self._formants(**of_formants))

    def _formants(self, formant_hz=None, formant_bandwidth=None, formant_gain=None) -> dict[str, jax.Array]:
        if formant_gain is None:
            return {}
        narrowest, widest = BANDWIDTH_HZ
        return {
            "formant_hz": jnp.minimum(_moved(formant_hz, *FORMANT_HZ), 0.45 * self.sample_rate),
            "formant_bandwidth": narrowest + (widest - narrowest) * jax.nn.sigmoid(formant_bandwidth - 2.0),
            "formant_gain": HARMONICS * formant_gain,
        }

    def __call__(self, latents: jax.Array, start: jax.Array | int = 0, key: jax.Array | None = None) -> jax.Array:
        """Latents [B, T, code_width] -> waveform [B, T * hop_length] float32.

        Args:
          latents: quantized.
          start: where the first of them stands in its track, in codes; the noise depends on it, and the phases of
            oscillators at semitones.
          key: draws another noise for every row, so that training cannot learn one by heart; None takes the one noise
            of inference.
        """
        controls = self.controls(latents, start)
        hop_length, batch = self.hop_length, latents.shape[0]
        dry = voices.harmonic_voices(
            controls.f0, controls.cosine, controls.sine, hop_length, self.sample_rate, self.config.overlap
        )
        seeds = jnp.zeros((batch,), jnp.uint32) if key is None else jax.random.bits(key, (batch,), jnp.uint32)
        first_sample = start * (hop_length // self.codes_per_frame)
        breath = noise.white_noise(seeds, first_sample, dry.shape[-1])
        dry += noise.filter_frames(breath, controls.noise, hop_length)
        whole = dry + self._sung(dry, controls) if self.config.num_formants else dry
        return reverb.reverberate(whole, ECHO * self.echoes[...]) if self.has_echoes else whole

    def _sung(self, audio: jax.Array, controls: Controls) -> jax.Array:
        """A waveform [B, S] through the formants, loud as `controls.formant_gain` says: float32 [B, S]."""
        hop_length = self.hop_length
        pieces = overlap_add.cut(audio, hop_length) * overlap_add.hann(2 * hop_length, hop_length)
        audio = overlap_add.overlap_add(pieces * controls.formant_gain[..., None], hop_length)
        # The filter wants a frame at both ends, ours lie in the middle of their strips: half a strip in front, and the
        # outermost frames hold.
        source = jnp.pad(audio, ((0, 0), (hop_length // 2, hop_length - hop_length // 2)))
        held = [(0, 0), (1, 1), (0, 0)]
        sung = formants.filter_frames(
            source,
            jnp.pad(controls.formant_hz, held, mode="edge"),
            jnp.pad(controls.formant_bandwidth, held, mode="edge"),
            self.sample_rate,
            hop_length,
            n_fft=formant_fft(hop_length, self.sample_rate),
        )
        return sung[:, hop_length // 2 : hop_length // 2 + audio.shape[-1]]


def _moved(raw: jax.Array, lowest: float, highest: float) -> jax.Array:
    """Frequencies [..., N] spread evenly in pitch from `lowest` to `highest`, each moved by up to RANGE of itself.

    Softsign, because it is made of exactly rounded operations: a last bit of f0 that depended on where in a vector a
    frame falls, as it does with tanh, would be heard as another phase at the ends of a window.
    """
    centres = np.geomspace(lowest, highest, raw.shape[-1], dtype=np.float32)
    return centres * (1.0 + RANGE * jax.nn.soft_sign(raw))


def formant_fft(hop_length: int, sample_rate: int) -> int:
    """Length of the formants' FFT: time for the narrowest one to ring out (`formants.filter_frames`), in whole hops."""
    return hop_length * max(4, -(-round(4 / BANDWIDTH_HZ[0] * sample_rate) // hop_length))


def receptive_field(settings: config.DDSPConfig, hop_length: int, sample_rate: int) -> tuple[int, int]:
    """How far the synthesizer looks: (before, after), numbers of samples around a sample whose latents can change it.

    Args:
      settings: of the synthesizer.
      hop_length: samples of a frame of the stream.
      sample_rate: Hz.
    """
    frame = max(settings.hop_length, hop_length)
    reach = sum(settings.dilation_growth**r for r in range(settings.depth)) + 1  # frames seen by the controls
    taps = 2 * (settings.num_noise_bands - 1)
    sides = frame * (reach + settings.overlap) + taps
    return sides + formant_fft(frame, sample_rate) + round(settings.reverb_seconds * sample_rate), sides

"""Discriminators and the losses of both players.

The multi-scale STFT discriminator is EnCodec's (Defossez et al. 2022, sections 3.3 and 3.4), those of bands and of
periods are DAC's (Kumar et al. 2023, section 3.3). Their convolutions have no weight normalization: a change of
parametrization, not of what they can say.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax import config
from musicgen_jax.audio import stft
from musicgen_jax.nn import parameters

DILATIONS = (1, 2, 4)  # of the convolutions over time, one after the other
_SILENCE = 1e-4  # what is added to a peak before it is divided by, so that silence stays silent
_EPSILON = 1e-6  # floor of the mean absolute feature that feature matching divides by


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Judgement:
    """What the discriminators make of a batch of waveforms; one entry for each FFT size, then one for each period.

    Attributes:
      logits: float32 [B, T, F] each, of a period [B * period, T]; high where it believes that the audio is real.
      features: outputs of the hidden layers, each as its logits with an axis [C] more.
    """

    logits: list[jax.Array]
    features: list[list[jax.Array]]


class STFTDiscriminator(nnx.Module):
    """2-D convolutions over one complex STFT, its real and imaginary parts as channels.

    3 x 9 taps over time x frequency at first; then dilated over time and strided by 2 over frequency; then two of
    3 x 3. Leaky ReLU of slope 0.2. Hop n_fft / 4.
    """

    def __init__(self, n_fft: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.n_fft = n_fft

        def convolution(inputs: int, outputs: int, taps: int, strides: int = 1, dilation: int = 1) -> nnx.Conv:
            steps = {"strides": (1, strides), "kernel_dilation": (dilation, 1), "padding": "SAME"}
            return parameters.layer(nnx.Conv(inputs, outputs, (3, taps), **steps, dtype=dtype, rngs=rngs))

        dilated = [convolution(width, width, 9, strides=2, dilation=dilation) for dilation in DILATIONS]
        self.hidden = nnx.List([convolution(2, width, 9), *dilated, convolution(width, width, 3)])
        self.out = convolution(width, 1, 3)

    def spectrum(self, audio: jax.Array) -> jax.Array:
        """[B, S] -> [B, T, F, 2] float32, real and imaginary parts; white noise of unit variance keeps it."""
        bins = stft.stft(audio, self.n_fft, self.n_fft // 4, self.n_fft)
        scale = 1 / np.sqrt(np.sum(stft.hann_window(self.n_fft, self.n_fft) ** 2))
        return jnp.stack([bins.real, bins.imag], axis=-1) * scale

    def __call__(self, audio: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """[B, S] -> (logits [B, T, F] float32, features [B, T, F, C] of each hidden layer)."""
        x = self.spectrum(audio)
        features = []
        for layer in self.hidden:
            x = nnx.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.out(x)[..., 0].astype(jnp.float32), features


class BandDiscriminator(STFTDiscriminator):
    """As `STFTDiscriminator`, but the spectrum is cut into bands of frequencies, and each has hidden layers of its own.

    3 x 9 taps over time x frequency, thrice more strided by 2 over frequency, then 3 x 3; of all bands together 3 x 3
    make the logits. Leaky ReLU of slope 0.1.
    """

    def __init__(self, n_fft: int, width: int, edges: tuple[float, ...], *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.n_fft = n_fft
        num_bins = n_fft // 2 + 1
        self.bins = [int(edge * num_bins) for edge in (0, *edges, 1)]

        def convolution(inputs: int, outputs: int, taps: int, strides: int = 1) -> nnx.Conv:
            padding = [(1, 1), (taps // 2, taps // 2)]
            made = nnx.Conv(inputs, outputs, (3, taps), (1, strides), padding=padding, dtype=dtype, rngs=rngs)
            return parameters.layer(made)

        def layers() -> nnx.List:
            strided = [convolution(width, width, 9, strides=2) for _ in range(3)]
            return nnx.List([convolution(2, width, 9), *strided, convolution(width, width, 3)])

        self.bands = nnx.List([layers() for _ in self.bins[1:]])
        self.out = convolution(width, 1, 3)

    def __call__(self, audio: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """[B, S] -> (logits [B, T, F] float32, features [B, T, F, C] of each hidden layer of each band)."""
        spectrum, features, ends = self.spectrum(audio), [], []
        for layers, (low, high) in zip(self.bands, itertools.pairwise(self.bins), strict=True):
            x = spectrum[:, :, low:high]
            for layer in layers:
                x = nnx.leaky_relu(layer(x), 0.1)
                features.append(x)
            ends.append(x)
        return self.out(jnp.concatenate(ends, axis=2))[..., 0].astype(jnp.float32), features


class PeriodDiscriminator(nnx.Module):
    """Convolutions over every `period`-th sample of a waveform, the same for each of the `period` places to begin.

    Five taps strided by 3, four times, from 1 to 32 times `width` channels; five more taps, and three for the logits.
    Leaky ReLU of slope 0.1 (Kong et al. 2020, HiFi-GAN, section 2.3).
    """

    def __init__(self, period: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.period = period

        def convolution(inputs: int, outputs: int, taps: int = 5, strides: int = 1) -> nnx.Conv:
            made = nnx.Conv(inputs, outputs, (taps,), strides, padding=taps // 2, dtype=dtype, rngs=rngs)
            return parameters.layer(made)

        widths = [1, *(width * factor for factor in (1, 4, 16, 32))]
        strided = [convolution(*pair, strides=3) for pair in itertools.pairwise(widths)]
        self.hidden = nnx.List([*strided, convolution(widths[-1], widths[-1])])
        self.out = convolution(widths[-1], 1, taps=3)

    def __call__(self, audio: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """[B, S] -> (logits [B * period, T] float32, features [B * period, T, C] of each hidden layer).

        A waveform of another length than a multiple of the period is mirrored at its end.
        """
        missing = -audio.shape[-1] % self.period
        x = jnp.pad(audio, ((0, 0), (0, missing)), mode="reflect").reshape(len(audio), -1, self.period)
        x, features = x.swapaxes(1, 2).reshape(-1, x.shape[1], 1), []
        for layer in self.hidden:
            x = nnx.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.out(x)[..., 0].astype(jnp.float32), features


class Discriminator(nnx.Module):
    """One discriminator for each FFT size of the config, each hearing another trade of time against frequency, and one
    for each period."""

    def __init__(self, adversarial: config.AdversarialConfig, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        width, kinds = adversarial.width, {"dtype": dtype, "rngs": rngs}
        self.normalize = adversarial.normalize
        if adversarial.bands:
            scales = [BandDiscriminator(n_fft, width, adversarial.bands, **kinds) for n_fft in adversarial.fft_sizes]
        else:
            scales = [STFTDiscriminator(n_fft, width, **kinds) for n_fft in adversarial.fft_sizes]
        self.scales = nnx.List(scales)
        self.periods = nnx.List([PeriodDiscriminator(period, width, **kinds) for period in adversarial.periods])

    def __call__(self, audio: jax.Array) -> Judgement:
        """What each of the discriminators makes of waveforms [B, S] float32."""
        if self.normalize:
            audio = audio - jnp.mean(audio, axis=-1, keepdims=True)
            # No gradient through the peak: where XLA computes a sample twice, none may equal the greatest, and 0 / 0.
            peak = jax.lax.stop_gradient(jnp.max(jnp.abs(audio), axis=-1, keepdims=True))
            audio = 0.8 * audio / (peak + _SILENCE)
        logits, features = zip(*(one(audio) for one in (*self.scales, *self.periods)), strict=True)
        return Judgement(list(logits), list(features))


def frozen(discriminator: Discriminator) -> Discriminator:
    """The same discriminator behind a stop-gradient: what it judges learns, it doesn't."""
    graph, variables = nnx.split(discriminator)
    return nnx.merge(graph, jax.lax.stop_gradient(variables))


def discriminator_loss(real: Judgement, produced: list[Judgement], objective: str = "hinge") -> jax.Array:
    """The discriminators' loss, scalar, D being the logits of the audio x and of what is produced, y.

    "hinge": mean max(0, 1 - D(x)) + mean max(0, 1 + D(y)), averaged over discriminators; "squares": mean (1 - D(x))^2 +
    mean D(y)^2, summed over them.

    Args:
      real: of the audio.
      produced: of its reconstructions, which count alike; however many, they weigh as much as the audio.
      objective: one of `config.OBJECTIVES`.
    """
    squares = objective == "squares"
    truth = [jnp.mean((1 - x) ** 2 if squares else nnx.relu(1 - x)) for x in real.logits]
    lies = [jnp.mean(y**2 if squares else nnx.relu(1 + y)) for judgement in produced for y in judgement.logits]
    return (_mean(truth) + _mean(lies)) * (len(truth) if squares else 1)


def accuracy(real: Judgement, produced: list[Judgement], objective: str = "hinge") -> jax.Array:
    """Share of logits on the right side, the audio and its reconstructions weighing alike; scalar, 0.5 is chance."""
    middle = 0.5 if objective == "squares" else 0.0
    truth = _mean([jnp.mean(logits > middle) for logits in real.logits])
    lies = _mean([jnp.mean(logits < middle) for judgement in produced for logits in judgement.logits])
    return (truth + lies) / 2


def generator_loss(produced: Judgement, objective: str = "hinge") -> jax.Array:
    """The decoder's loss, scalar: mean max(0, 1 - D(y)) averaged over discriminators, or mean (1 - D(y))^2 summed."""
    if objective == "squares":
        return sum(jnp.mean((1 - logits) ** 2) for logits in produced.logits)
    return _mean([jnp.mean(nnx.relu(1 - logits)) for logits in produced.logits])


def feature_matching_loss(real: Judgement, produced: Judgement, objective: str = "hinge") -> jax.Array:
    """How far the features f of two judgements are from each other, f(x) being constant; scalar float32.

    "hinge": mean over layers and discriminators of mean |f(x) - f(y)| / mean |f(x)|; "squares": the sum over them of
    mean |f(x) - f(y)|.
    """
    terms = []
    for real_features, produced_features in zip(real.features, produced.features, strict=True):
        for x, y in zip(real_features, produced_features, strict=True):
            x, y = jax.lax.stop_gradient(x).astype(jnp.float32), y.astype(jnp.float32)
            size = 1.0 if objective == "squares" else jnp.maximum(jnp.mean(jnp.abs(x)), _EPSILON)
            terms.append(jnp.mean(jnp.abs(x - y)) / size)
    return sum(terms) if objective == "squares" else _mean(terms)


def _mean(terms: list[jax.Array]) -> jax.Array:
    return sum(terms) / len(terms)

"""Multi-scale STFT discriminator and the losses of both players (Defossez et al. 2022, EnCodec, sections 3.3 and 3.4).

Unlike EnCodec's, its convolutions have no weight normalization: a change of parametrization, not of what it can say.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax import config
from musicgen_jax.audio import stft
from musicgen_jax.nn import parameters

DILATIONS = (1, 2, 4)  # of the convolutions over time, one after the other
_EPSILON = 1e-6  # floor of the mean absolute feature that feature matching divides by


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Judgement:
    """What the discriminator makes of a batch of waveforms; one entry for each FFT size.

    Attributes:
      logits: float32 [B, T, F] each, positive where it believes that the audio is real.
      features: outputs of the hidden layers, each [B, T, F, C].
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


class Discriminator(nnx.Module):
    """One `STFTDiscriminator` for each FFT size of the config: each hears another trade of time against frequency."""

    def __init__(self, adversarial: config.AdversarialConfig, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        self.scales = nnx.List(
            [STFTDiscriminator(n_fft, adversarial.width, dtype=dtype, rngs=rngs) for n_fft in adversarial.fft_sizes]
        )

    def __call__(self, audio: jax.Array) -> Judgement:
        """What each of the discriminators makes of waveforms [B, S] float32."""
        logits, features = zip(*(scale(audio) for scale in self.scales), strict=True)
        return Judgement(list(logits), list(features))


def frozen(discriminator: Discriminator) -> Discriminator:
    """The same discriminator behind a stop-gradient: what it judges learns, it doesn't."""
    graph, variables = nnx.split(discriminator)
    return nnx.merge(graph, jax.lax.stop_gradient(variables))


def hinge_loss(real: Judgement, produced: list[Judgement]) -> jax.Array:
    """The discriminator's loss, scalar: mean max(0, 1 - D(x)) + mean max(0, 1 + D(y)), averaged over FFT sizes.

    Args:
      real: of the audio.
      produced: of its reconstructions, which count alike; however many, they weigh as much as the audio.
    """
    truth = _mean([jnp.mean(nnx.relu(1 - logits)) for logits in real.logits])
    lies = _mean([jnp.mean(nnx.relu(1 + logits)) for judgement in produced for logits in judgement.logits])
    return truth + lies


def accuracy(real: Judgement, produced: list[Judgement]) -> jax.Array:
    """Share of logits with the right sign, the audio and its reconstructions weighing alike; scalar, 0.5 is chance."""
    truth = _mean([jnp.mean(logits > 0) for logits in real.logits])
    lies = _mean([jnp.mean(logits < 0) for judgement in produced for logits in judgement.logits])
    return (truth + lies) / 2


def generator_loss(produced: Judgement) -> jax.Array:
    """The decoder's hinge loss, scalar: mean max(0, 1 - D(y)), averaged over FFT sizes."""
    return _mean([jnp.mean(nnx.relu(1 - logits)) for logits in produced.logits])


def feature_matching_loss(real: Judgement, produced: Judgement) -> jax.Array:
    """Mean over layers and FFT sizes of mean |f(x) - f(y)| / mean |f(x)|, f(x) being constant; scalar float32."""
    terms = []
    for real_features, produced_features in zip(real.features, produced.features, strict=True):
        for x, y in zip(real_features, produced_features, strict=True):
            x, y = jax.lax.stop_gradient(x).astype(jnp.float32), y.astype(jnp.float32)
            terms.append(jnp.mean(jnp.abs(x - y)) / jnp.maximum(jnp.mean(jnp.abs(x)), _EPSILON))
    return _mean(terms)


def _mean(terms: list[jax.Array]) -> jax.Array:
    return sum(terms) / len(terms)

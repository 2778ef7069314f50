"""SEANet (Tagliasacchi et al. 2020) as EnCodec has it (Defossez et al. 2022, section 3.1): convolutions that change the
rate, residual blocks between them, ELU before each, and an LSTM at the lowest rate.

Activations are [B, T, C]: batch, frames, channels. Where the original normalizes the weights of its convolutions, these
hold the normalized ones: a change of parametrization, not of what they can say.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn.convolution import convolve
from musicgen_jax.nn.parameters import BIAS, MATRIX, NORM, parameter
from musicgen_jax.tokenizers.encodec import lstm

_EPSILON = 1e-5  # of the variance of a norm


def padding_of(settings: config.EncodecConfig, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """How many frames a convolution sees before the first and behind the last of whole strides."""
    total = (taps - 1) * dilation + 1 - stride
    right = 0 if settings.causal else total // 2
    return total - right, right


def trimmed(settings: config.EncodecConfig, stride: int) -> tuple[int, int]:
    """How many samples of what a transposed convolution makes are cut at the beginning and at the end."""
    right = math.ceil(stride * settings.trim_right) if settings.causal else stride // 2
    return stride - right, right


class TimeGroupNorm(nnx.Module):
    """Zero mean and unit variance over all frames and channels of an example, then a scale and a bias a channel."""

    def __init__(self, channels: int):
        self.scale = parameter(jnp.ones(channels, jnp.float32), NORM)
        self.bias = parameter(jnp.zeros(channels, jnp.float32), BIAS)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T, C]."""
        wide = x.astype(jnp.float32)
        wide = wide - jnp.mean(wide, axis=(1, 2), keepdims=True)
        variance = jnp.mean(wide**2, axis=(1, 2), keepdims=True)
        return (wide * jax.lax.rsqrt(variance + _EPSILON) * self.scale[...] + self.bias[...]).astype(x.dtype)


class _Layer(nnx.Module):
    """Kernel [taps, C_in, C_out], bias [C_out], and a norm where the config has norms."""

    def __init__(
        self, settings: config.EncodecConfig, inputs: int, outputs: int, taps: int, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        kernel = nnx.initializers.lecun_normal()(rngs.params(), (taps, inputs, outputs), jnp.float32)
        self.kernel = parameter(kernel, MATRIX, inputs=(-3, -2), outputs=(-1,))
        self.bias = parameter(jnp.zeros(outputs, jnp.float32), BIAS)
        if settings.norm == "time_group":
            self.norm = TimeGroupNorm(outputs)
        self.settings, self.dtype = settings, dtype

    def _finish(self, y: jax.Array) -> jax.Array:
        y = y + self.bias[...].astype(self.dtype)
        return self.norm(y) if hasattr(self, "norm") else y


class Convolution(_Layer):
    """Convolution over time, a frame each `stride` frames; the last frame is whole, filled up with padding."""

    def __init__(
        self,
        settings: config.EncodecConfig,
        inputs: int,
        outputs: int,
        taps: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        super().__init__(settings, inputs, outputs, taps, dtype, rngs)
        self.stride, self.dilation = stride, dilation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C_in] -> [B, ceil(T / stride), C_out]."""
        kernel, length = self.kernel[...].astype(self.dtype), x.shape[1]
        num_frames = -(-length // self.stride)
        left, right = padding_of(self.settings, len(kernel), self.stride, self.dilation)
        x = _padded(x, left, right + num_frames * self.stride - length, self.settings.padding)
        if self.stride == 1:
            return self._finish(convolve(x, kernel, self.dilation)[:, :num_frames])
        # 2 * stride taps: two taps over frames of `stride` samples.
        batch, _, channels = x.shape
        frames = x.reshape(batch, num_frames + 1, self.stride * channels)
        return self._finish(convolve(frames, kernel.reshape(2, self.stride * channels, -1))[:, :num_frames])


class Upsampling(_Layer):
    """Transposed convolution of 2 * stride taps: `stride` frames for each; what is too much is cut off."""

    def __init__(
        self,
        settings: config.EncodecConfig,
        inputs: int,
        outputs: int,
        stride: int,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        super().__init__(settings, inputs, outputs, 2 * stride, dtype, rngs)
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C_in] -> [B, stride * T, C_out]."""
        stride, (batch, length, channels) = self.stride, x.shape
        # Each frame becomes 2 * stride samples: one product; the second half falls on the first of the next frame.
        columns = self.kernel[...].astype(self.dtype).swapaxes(0, 1).reshape(channels, -1)
        first, second = jnp.split(x @ columns, 2, axis=-1)
        first, second = (jnp.pad(part, ((0, 0), ends, (0, 0))) for part, ends in ((first, (0, 1)), (second, (1, 0))))
        y = self._finish((first + second).reshape(batch, (length + 1) * stride, -1))
        left, right = trimmed(self.settings, stride)
        return y[:, left : y.shape[1] - right]


class ResidualBlock(nnx.Module):
    """x + convolutions of ELUs: dilated taps into fewer channels, then one tap back; x through a tap of its own where
    the config says so."""

    def __init__(self, settings: config.EncodecConfig, width: int, dilation: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        inner, kinds = width // settings.compress, {"dtype": dtype, "rngs": rngs}
        self.dilated = Convolution(settings, width, inner, settings.residual_kernel, dilation=dilation, **kinds)
        self.project = Convolution(settings, inner, width, 1, **kinds)
        if settings.shortcut == "convolution":
            self.shortcut = Convolution(settings, width, width, 1, **kinds)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T, C]."""
        y = self.project(nnx.elu(self.dilated(nnx.elu(x))))
        return y + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Stage(nnx.Module):
    """The residual blocks at one rate and the convolution that leads to it (decoder) or from it (encoder)."""

    def __init__(
        self,
        settings: config.EncodecConfig,
        width: int,
        stride: int,
        *,
        upsampling: bool,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        kinds = {"dtype": dtype, "rngs": rngs}
        if upsampling:
            self.change = Upsampling(settings, 2 * width, width, stride, **kinds)
        dilations = [settings.dilation_growth**r for r in range(settings.residual_layers)]
        self.blocks = nnx.List([ResidualBlock(settings, width, dilation, **kinds) for dilation in dilations])
        if not upsampling:
            self.change = Convolution(settings, width, 2 * width, 2 * stride, stride=stride, **kinds)
        self.upsampling = upsampling

    def __call__(self, x: jax.Array) -> jax.Array:
        """Encoder: [B, T, width] -> [B, ceil(T / stride), 2 * width]; decoder: [B, T, 2 * width] -> [B, stride * T,
        width]."""
        if self.upsampling:
            x = self.change(nnx.elu(x))
        for block in self.blocks:
            x = block(x)
        return x if self.upsampling else self.change(nnx.elu(x))


class Encoder(nnx.Module):
    """Waveform -> latents, one a frame."""

    def __init__(self, settings: config.EncodecConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        kinds = {"dtype": dtype, "rngs": rngs}
        self.channels, self.dtype, width = settings.channels, dtype, settings.filters
        self.read = Convolution(settings, settings.channels, width, settings.kernel, **kinds)
        self.stages = nnx.List(
            [
                Stage(settings, width * 2**index, stride, upsampling=False, **kinds)
                for index, stride in enumerate(settings.strides)
            ]
        )
        width *= 2 ** len(settings.strides)
        self.memory = lstm.LSTM(width, settings.lstm_layers, **kinds) if settings.lstm_layers else None
        self.project = Convolution(settings, width, settings.quantizer.code_width, settings.last_kernel, **kinds)

    def __call__(self, audio: jax.Array) -> jax.Array:
        """[B, S], or [B, S, C] of several channels -> [B, ceil(S / hop_length), code_width] float32."""
        x = (audio[..., None] if self.channels == 1 else audio).astype(self.dtype)
        x = self.read(x)
        for stage in self.stages:
            x = stage(x)
        if self.memory is not None:
            x, _ = self.memory(x)
        return self.project(nnx.elu(x)).astype(jnp.float32)


class Decoder(nnx.Module):
    """Latents -> waveform: the encoder's mirror image. What comes before the higher rates, the memory, and these are
    two parts: `remember` and `render`."""

    def __init__(self, settings: config.EncodecConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        kinds = {"dtype": dtype, "rngs": rngs}
        self.channels, self.dtype = settings.channels, dtype
        width = settings.filters * 2 ** len(settings.strides)
        self.project = Convolution(settings, settings.quantizer.code_width, width, settings.kernel, **kinds)
        self.memory = lstm.LSTM(width, settings.lstm_layers, **kinds) if settings.lstm_layers else None
        self.stages = nnx.List(
            [
                Stage(settings, settings.filters * 2**index, settings.strides[index], upsampling=True, **kinds)
                for index in reversed(range(len(settings.strides)))
            ]
        )
        self.out = Convolution(settings, settings.filters, settings.channels, settings.last_kernel, **kinds)

    def remember(
        self, latents: jax.Array, state: lstm.State | None = None, kept: jax.Array | None = None
    ) -> tuple[jax.Array, lstm.State]:
        """[B, T, code_width] -> (frames [B, T, D], the state behind them); `state` and `kept` as `lstm.LSTM` has."""
        x = self.project(latents.astype(self.dtype))
        return (x, ()) if self.memory is None else self.memory(x, state, kept)

    def render(self, x: jax.Array) -> jax.Array:
        """Frames [B, T, D] of `remember` -> float32 [B, T * hop_length], or [B, T * hop_length, C]."""
        for stage in self.stages:
            x = stage(x)
        audio = self.out(nnx.elu(x)).astype(jnp.float32)
        return audio[..., 0] if self.channels == 1 else audio

    def __call__(self, latents: jax.Array) -> jax.Array:
        """[B, T, code_width] -> float32 [B, T * hop_length], or [B, T * hop_length, C]."""
        return self.render(self.remember(latents)[0])


def _padded(x: jax.Array, left: int, right: int, mode: str) -> jax.Array:
    """[B, T, C] -> [B, left + T + right, C]. What is too short to be reflected is first filled up with zeros, as many
    of which are cut off at the end again."""
    missing = max(0, max(left, right) - x.shape[1] + 1) if mode == "reflect" else 0
    x = jnp.pad(x, ((0, 0), (0, missing), (0, 0)))
    x = jnp.pad(x, ((0, 0), (left, right), (0, 0)), mode=mode)
    return x[:, : x.shape[1] - missing]

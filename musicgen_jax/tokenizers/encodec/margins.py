"""How far encoder and decoder look, in whole frames.

Of convolutions that is exact. An LSTM remembers all that came before it, the less the longer ago: its share is
`MEMORY_SECONDS`, behind which its state has forgotten with which it began.
"""

from musicgen_jax import config
from musicgen_jax.tokenizers.chunked import Margin
from musicgen_jax.tokenizers.encodec import seanet

MEMORY_SECONDS = 2.0


def of_encoder(settings: config.EncodecConfig) -> Margin:
    """How many samples before and after the samples of a frame decide its codes.

    With LSTMs that is a tolerance and no identity: of MEMORY_SECONDS the forget gates, whose product is what is left of
    an older state, leave less than rounding does unless they stand open nearly all the time.
    """
    convolutions = _of_encoder(settings)
    return Margin(convolutions.before + _memory(settings), convolutions.after)


def of_decoder(settings: config.EncodecConfig) -> Margin:
    """How many samples before and after a sample have codes that it depends on, as exactly as `of_encoder`."""
    rendering, remembering = of_rendering(settings), of_remembering(settings)
    before = rendering.before + remembering.before + _memory(settings)
    return Margin(before, rendering.after + remembering.after)


def of_remembering(settings: config.EncodecConfig) -> Margin:
    """How many samples before and after a frame have codes that the decoder's first convolution sees; exact."""
    left, right = seanet.padding_of(settings, settings.kernel, 1, 1)
    return Margin(left * settings.hop_length, right * settings.hop_length)


def of_rendering(settings: config.EncodecConfig) -> Margin:
    """How many samples before and after a sample belong to frames behind the LSTM that it depends on; exact."""
    first, last = _convolved((0, settings.hop_length - 1), settings, settings.last_kernel)
    for stride in settings.strides:  # the decoder's strides, from its end
        first, last = _blocks((first, last), settings)
        left, _ = seanet.trimmed(settings, stride)
        first, last = (first + left) // stride - 1, (last + left) // stride
    return Margin(max(0, -first) * settings.hop_length, max(0, last) * settings.hop_length)


def _of_encoder(settings: config.EncodecConfig) -> Margin:
    first, last = _convolved((0, 0), settings, settings.last_kernel)
    for stride in reversed(settings.strides):
        first, last = _convolved((first, last), settings, 2 * stride, stride)
        first, last = _blocks((first, last), settings)
    first, last = _convolved((first, last), settings, settings.kernel)
    return Margin(max(0, -first), max(0, last + 1 - settings.hop_length)).whole(settings.hop_length)


def _blocks(seen: tuple[int, int], settings: config.EncodecConfig) -> tuple[int, int]:
    for r in reversed(range(settings.residual_layers)):
        seen = _convolved(seen, settings, settings.residual_kernel, dilation=settings.dilation_growth**r)
    return seen


def _convolved(
    seen: tuple[int, int], settings: config.EncodecConfig, taps: int, stride: int = 1, dilation: int = 1
) -> tuple[int, int]:
    """First and last frame that a convolution needs for its own frames from seen[0] to seen[1]."""
    left, _ = seanet.padding_of(settings, taps, stride, dilation)
    return seen[0] * stride - left, seen[1] * stride - left + (taps - 1) * dilation


def _memory(settings: config.EncodecConfig) -> int:
    """Samples, whole frames."""
    hop = settings.hop_length
    return round(MEMORY_SECONDS * settings.sample_rate / hop) * hop if settings.lstm_layers else 0

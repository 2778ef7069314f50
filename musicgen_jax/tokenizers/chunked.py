"""Encoding and decoding of any length in bounded memory, equal to the whole-file result.

A window reaches beyond what is kept of it by the receptive field, so that every code (or sample) that is kept has seen
what it would have seen in the whole file. The convolutions pad with zeros at every layer, so what stands behind a
file's end is not the same as nothing: no window is ever padded. The first one begins where the file begins and the last
one ends where it ends; a file shorter than the usual window is cut into windows of the next smaller size (few sizes,
each compiled once), and one that is shorter than the smallest is taken whole, at its own length.
"""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.tokenizers.vqvae import ddsp_decoder, encoder


@dataclasses.dataclass(frozen=True)
class Margin:
    """How far a window must reach beyond what is kept of it; samples, multiples of the top hop length.

    Attributes:
      before: into the past.
      after: into the future.
    """

    before: int
    after: int

    @property
    def smallest_window(self) -> int:
        """Samples of a window half of which is overlap; smaller ones would not be worth their while."""
        return 2 * (self.before + self.after)


@dataclasses.dataclass(frozen=True)
class Span:
    """A window and the part of it that is kept; samples counted from the beginning of the file.

    Attributes:
      start: where the window begins.
      kept_from: first sample kept: where the window before it left off.
      kept_to: end of what is kept.
    """

    start: int
    kept_from: int
    kept_to: int

    def kept(self, hop_length: int = 1) -> slice:
        """What is kept of the window's own samples, or of its codes."""
        return slice((self.kept_from - self.start) // hop_length, (self.kept_to - self.start) // hop_length)


def encoder_margin(vqvae_config: config.VQVAEConfig) -> Margin:
    """Samples before and behind those of a code that the encoder of the widest tier looks at."""
    fields = [encoder.receptive_field(tier) for tier in vqvae_config.streams.values()]
    return _whole_hops(vqvae_config, *(max(side) for side in zip(*fields, strict=True)))


def decoder_margin(vqvae_config: config.VQVAEConfig, tier: str) -> Margin:
    """Samples before and behind a sample whose codes the tier's decoder looks at.

    The convolutions mirror the encoder and add one 3-tap convolution over samples. What a code has a part in behind
    itself is what a sample looks at before itself.
    """
    after, before = (side + 1 for side in encoder.receptive_field(vqvae_config.streams[tier]))
    if vqvae_config.has_ddsp:
        hop, sample_rate = vqvae_config.hop_lengths[tier], vqvae_config.sample_rate
        fields = ddsp_decoder.receptive_field(vqvae_config.ddsp, hop, sample_rate)
        before, after = max(before, fields[0]), max(after, fields[1])
    return _whole_hops(vqvae_config, before, after)


def _whole_hops(vqvae_config: config.VQVAEConfig, before: int, after: int) -> Margin:
    """Rounded up, so that all tiers' windows begin and end between two codes of the top tier."""
    hop = max(vqvae_config.hop_lengths.values())
    return Margin(-(-before // hop) * hop, -(-after // hop) * hop)


def window_samples(vqvae_config: config.VQVAEConfig, seconds: float, margin: Margin) -> int:
    """Length of a window: about `seconds`, a multiple of the top hop length, no less than the smallest.

    Raises:
      UserError: `seconds` is infinite or not a number.
    """
    config.require(bool(np.isfinite(seconds)), f"--window_seconds={seconds}: must be finite")
    hop = max(vqvae_config.hop_lengths.values())
    return -(-max(round(seconds * vqvae_config.sample_rate), margin.smallest_window) // hop) * hop


def fitting_window(length: int, window: int, margin: Margin) -> int:
    """`window`, or the smallest window doubled as often as `length` allows, or a `length` that is too short for all."""
    if length >= window or length < margin.smallest_window:
        return min(length, window)
    size = margin.smallest_window
    while 2 * size <= length:
        size *= 2
    return size


def spans(length: int, window: int, margin: Margin) -> Iterator[Span]:
    """Windows whose kept parts follow each other from 0 to `length`; the last one is moved back to end with it.

    Args:
      length: samples, no fewer than `window`.
      window: samples; more than both margins, or `length`.
      margin: what is not kept at a window's ends, unless the file itself begins or ends there.
    """
    start = done = 0
    while done < length:
        start = min(start, length - window)
        stop = length if start + window == length else start + window - margin.after
        yield Span(start, done, stop)
        done, start = stop, stop - margin.before


def encode(
    encode_window: Callable[[np.ndarray], dict[str, jax.Array]],
    blocks: Iterator[np.ndarray],
    vqvae_config: config.VQVAEConfig,
    window: int,
) -> dict[str, np.ndarray]:
    """Codes of a waveform that arrives in blocks.

    The waveform's end is padded with zeros to a multiple of the top hop length, so that the tiers stay aligned.

    Args:
      encode_window: jitted {tier: codes [1, T, Q]} of a waveform [1, S].
      blocks: float32 arrays [S], in order.
      vqvae_config: hop lengths and receptive field.
      window: samples of a window, from `window_samples`.

    Returns:
      {tier: int16 [ceil(S / top hop) * top hop / hop, Q]}.
    """
    none = np.zeros((0, vqvae_config.quantizer.num_codebooks), np.int16)
    parts = {tier: [none] for tier in vqvae_config.streams}
    for audio, span in _windows(blocks, vqvae_config, window):
        for tier, codes in encode_window(audio[None]).items():
            kept = np.asarray(codes)[0, span.kept(vqvae_config.hop_lengths[tier])]
            parts[tier].append(kept.astype(np.int16))
    return {tier: np.concatenate(codes) for tier, codes in parts.items()}


def _windows(
    blocks: Iterator[np.ndarray], vqvae_config: config.VQVAEConfig, window: int
) -> Iterator[tuple[np.ndarray, Span]]:
    """`spans` of a waveform whose length shows only at its end, each with its audio float32 [S]."""
    margin, hop = encoder_margin(vqvae_config), max(vqvae_config.hop_lengths.values())
    buffer, origin = np.zeros(0, np.float32), 0  # buffer[0] is sample `origin` of the waveform
    start = done = 0  # where the next window begins; samples whose codes are kept already
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        # A window is taken only when more follows: the last one is moved back so as to end with the waveform, which
        # takes it back into the window before it at most; so that one is kept.
        while origin + len(buffer) > start + window:
            buffer, origin = buffer[start - origin :], start
            stop = start + window - margin.after
            yield buffer[:window], Span(start, done, stop)
            done, start = stop, stop - margin.before
    length = -(-(origin + len(buffer)) // hop) * hop
    buffer = np.pad(buffer, (0, length - origin - len(buffer)))
    if done:
        yield buffer[-window:], Span(length - window, done, length)
        return
    size = fitting_window(length, window, margin)
    for span in spans(length, size, margin):
        yield buffer[span.start : span.start + size], span


def decode(
    decode_window: Callable[[np.ndarray, int], jax.Array],
    codes: np.ndarray,
    tier: str,
    vqvae_config: config.VQVAEConfig,
    window: int,
) -> Iterator[np.ndarray]:
    """Waveform of one tier's codes int [T, Q'], Q' <= Q: consecutive float32 blocks [S], T * hop_length samples in all.

    Args:
      decode_window: jitted (codes [1, N, Q'] int32, index of the first of them in the track) -> waveform
        [1, N * hop_length]. The index is never negative.
      codes: of one track.
      tier: which tier they are of.
      vqvae_config: hop lengths and receptive field.
      window: samples of a window, from `window_samples`.
    """
    hop, margin = vqvae_config.hop_lengths[tier], decoder_margin(vqvae_config, tier)
    frame = max(hop, vqvae_config.ddsp.hop_length) // hop if vqvae_config.has_ddsp else 1
    config.require(
        len(codes) % frame == 0,
        f"{len(codes)} codes of the {tier} tier: the synthesizer of this tokenizer takes them {frame} at a time; cut "
        "or pad them",
    )
    size = fitting_window(len(codes) * hop, window, margin)
    for span in spans(len(codes) * hop, size, margin):
        first = span.start // hop
        part = codes[first : first + size // hop].astype(np.int32)
        yield np.asarray(decode_window(part[None], first))[0, span.kept()]

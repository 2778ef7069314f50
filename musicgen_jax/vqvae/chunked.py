"""Encoding and decoding of any length in bounded memory, equal to the whole-file result.

A chunk reaches beyond its borders by the receptive field, so that every code (or sample) that is kept has seen what it
would have seen in the whole file.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.vqvae import encoder


def margin_samples(vqvae_config: config.VQVAEConfig) -> int:
    """Receptive field of the widest tier, rounded up to a multiple of the top hop length."""
    hop = vqvae_config.top.hop_length
    reach = max(encoder.receptive_field(vqvae_config.tier(tier)) for tier in config.TIERS)
    return -(-reach // hop) * hop


def window_samples(vqvae_config: config.VQVAEConfig, seconds: float) -> int:
    """Length of a chunk: about `seconds`, a multiple of the top hop length, at least four margins."""
    hop = vqvae_config.top.hop_length
    wanted = max(round(seconds * vqvae_config.sample_rate), 4 * margin_samples(vqvae_config))
    return -(-wanted // hop) * hop


def encode(
    encode_window: Callable[[np.ndarray], dict[str, jax.Array]],
    blocks: Iterator[np.ndarray],
    vqvae_config: config.VQVAEConfig,
    window: int,
) -> dict[str, np.ndarray]:
    """Codes of a waveform that arrives in blocks.

    The waveform's end is padded with zeros to a multiple of the top hop length (to a whole window if it is shorter than
    one), and codes that begin behind the padded end are dropped, so that the tiers stay aligned.

    Args:
      encode_window: jitted {tier: codes [1, T]} of a waveform [1, window].
      blocks: float32 arrays [S], in order.
      vqvae_config: hop lengths and receptive field.
      window: samples of a chunk, from `window_samples`.

    Returns:
      {tier: int16 [ceil(S / top hop) * top hop / hop]}.
    """
    margin, top_hop = margin_samples(vqvae_config), vqvae_config.top.hop_length
    parts: dict[str, list[np.ndarray]] = {tier: [] for tier in config.TIERS}
    done = 0  # samples whose codes are in `parts`

    def take(audio: np.ndarray, start: int, stop: int) -> None:
        """Encodes a window that begins at sample `start` and keeps the codes of [done, stop)."""
        nonlocal done
        for tier, codes in encode_window(audio[None]).items():
            hop = vqvae_config.hop_lengths[tier]
            kept = np.asarray(codes)[0, (done - start) // hop : (stop - start) // hop]
            parts[tier].append(kept.astype(np.int16))
        done = stop

    step = window - 2 * margin
    buffer, origin = np.zeros(0, np.float32), 0  # buffer[0] is sample `origin` of the waveform
    upcoming = 0  # where the next window begins
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        # A window is encoded only when more follows: the last one is moved back so as to end with the waveform, which
        # takes it back into the window before it at most; so that one is kept.
        while origin + len(buffer) > upcoming + window:
            take(buffer[upcoming - origin :][:window], upcoming, upcoming + window - margin)
            buffer, origin = buffer[upcoming - origin :], upcoming
            upcoming += step
    length = -(-(origin + len(buffer)) // top_hop) * top_hop
    buffer = np.pad(buffer, (0, max(length, window) - origin - len(buffer)))
    take(buffer[-window:], max(length - window, 0), length)
    return {tier: np.concatenate(codes) for tier, codes in parts.items()}


def decode(
    decode_window: Callable[[np.ndarray], jax.Array],
    codes: np.ndarray,
    tier: str,
    vqvae_config: config.VQVAEConfig,
    window: int,
) -> np.ndarray:
    """Waveform of one tier's codes: int [T] -> float32 [T * hop_length].

    Args:
      decode_window: jitted codes [1, T] -> waveform [1, T * hop_length]; called with the window's length, or with T if
        the whole is shorter.
      codes: of one track.
      tier: which tier they are of.
      vqvae_config: hop lengths and receptive field.
      window: samples of a chunk.
    """
    hop = vqvae_config.hop_lengths[tier]
    size, margin = window // hop, margin_samples(vqvae_config) // hop
    if len(codes) <= size:
        return np.asarray(decode_window(codes[None]))[0]
    parts, done, start = [], 0, 0
    while done < len(codes):
        start = min(start, len(codes) - size)
        last = start + size == len(codes)
        stop = len(codes) if last else start + size - margin
        audio = np.asarray(decode_window(codes[None, start : start + size]))[0]
        parts.append(audio[(done - start) * hop : (stop - start) * hop])
        done, start = stop, start + size - 2 * margin
    return np.concatenate(parts)

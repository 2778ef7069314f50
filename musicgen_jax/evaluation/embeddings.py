"""An embedding of audio without weights, for the Fréchet distance between sets of recordings."""

import jax
import jax.numpy as jnp
import numpy as np
import soxr

from musicgen_jax.audio import mel
from musicgen_jax.runtime.errors import UserError

NAME = "log-mel-statistics"
SAMPLE_RATE = 16_000
FRAME_SECONDS, FRAME_HOP_SECONDS = 1.0, 0.5
NUM_MELS, N_FFT, HOP_LENGTH = 64, 1024, 256
DIMENSIONS = 2 * NUM_MELS
BATCH_FRAMES = 32


def log_mel_statistics(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mean and standard deviation over time of 64 log-mel bands, once per frame of 1 s, every 0.5 s.

    This is *not* VGGish and no learned embedding: it hears timbre, level and how much they move, and is deaf to melody
    and rhythm. Its Fréchet distances must not be compared with published FAD values.

    The audio is resampled to 16 kHz first, so any rate works and content above 8 kHz is not heard; log-mel with FFT
    1024, hop 256, floor at magnitude 1e-4. A remainder of less than half a second at the end is left out.

    Args:
      audio: float [S], mono, in [-1, 1].
      sample_rate: Hz.

    Returns:
      float32 [N, 128], the 64 means before the 64 deviations; N = 1 + floor((seconds - 1) / 0.5).

    Raises:
      UserError: not mono, shorter than one second, or a sample is not finite.
    """
    waveform = np.asarray(audio, np.float32)
    if waveform.ndim != 1:
        raise UserError(f"audio of shape {waveform.shape}: the embedding takes one mono waveform [S]")
    if not np.all(np.isfinite(waveform)):
        raise UserError(f"{np.count_nonzero(~np.isfinite(waveform))} samples are not finite: they cannot be embedded")
    if len(waveform) < FRAME_SECONDS * sample_rate:
        raise UserError(
            f"audio of {len(waveform) / sample_rate:.2f} s is shorter than one frame of {FRAME_SECONDS:g} s: "
            "use longer clips"
        )
    frames = _frames(waveform, sample_rate)
    batches = []
    for start in range(0, len(frames), BATCH_FRAMES):
        # Every batch has the same shape, so that clips of any length share one compilation.
        batch = np.zeros((BATCH_FRAMES, frames.shape[1]), np.float32)
        part = frames[start : start + BATCH_FRAMES]
        batch[: len(part)] = part
        batches.append(np.asarray(_frame_statistics(batch))[: len(part)])
    return np.concatenate(batches)


def _frames(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """[S] at any rate -> overlapping frames [N, S] at 16 kHz."""
    # Counted before resampling, whose output may be a sample longer or shorter.
    num_frames = 1 + int((len(waveform) / sample_rate - FRAME_SECONDS) / FRAME_HOP_SECONDS)
    frame_samples, hop_samples = int(FRAME_SECONDS * SAMPLE_RATE), int(FRAME_HOP_SECONDS * SAMPLE_RATE)
    needed = frame_samples + (num_frames - 1) * hop_samples
    if sample_rate != SAMPLE_RATE:
        waveform = soxr.resample(waveform, sample_rate, SAMPLE_RATE, quality="HQ")
    waveform = np.pad(waveform, (0, max(0, needed - len(waveform))))[:needed]
    return np.lib.stride_tricks.sliding_window_view(waveform, frame_samples)[::hop_samples]


@jax.jit
def _frame_statistics(frames: jax.Array) -> jax.Array:
    """[B, S] at 16 kHz -> [B, 2 * M]."""
    log_mel = mel.log_mel(
        frames,
        sample_rate=SAMPLE_RATE,
        n_fft=N_FFT,
        hop_length=HOP_LENGTH,
        window_length=N_FFT,
        num_mels=NUM_MELS,
        floor=1e-4,
    )
    # The STFT pads with zeros at both ends; frames that see the padding would hear an attack that is not there.
    edge = N_FFT // 2 // HOP_LENGTH
    inner = log_mel[:, edge : 1 + (frames.shape[1] - N_FFT // 2) // HOP_LENGTH]
    return jnp.concatenate([jnp.mean(inner, axis=1), jnp.std(inner, axis=1)], axis=-1)

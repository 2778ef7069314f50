"""An embedding of audio without weights: how loud each band of a second is, and how much that moves."""

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.audio import mel
from musicgen_jax.evaluation.embeddings import embedding

NUM_MELS, N_FFT, HOP_LENGTH, FLOOR = 64, 1024, 256, 1e-4
BATCH_FRAMES = 32


class LogMelStatistics(embedding.Embedding):
    """Mean and standard deviation over time of 64 log-mel bands, once per frame of 1 s, every 0.5 s.

    This is *not* VGGish and no learned embedding: it hears timbre, level and how much they move, and is deaf to melody
    and rhythm. Its Fréchet distances must not be compared with published FAD values.

    The audio is resampled to 16 kHz first, so any rate works and content above 8 kHz is not heard; log-mel with FFT
    1024, hop 256, floor at magnitude 1e-4. A frame has the 64 means before the 64 deviations; a remainder of less than
    half a second at the end is left out: N = 1 + floor((seconds - 1) / 0.5).
    """

    name = "log-mel-statistics"
    sample_rate = 16_000
    window_seconds, hop_seconds = 1.0, 0.5
    dimensions = 2 * NUM_MELS
    version = embedding.version_of(f"{name} 1: {sample_rate} {NUM_MELS} {N_FFT} {HOP_LENGTH} {FLOOR}")

    def embed(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        waveform = embedding.checked(self, audio, sample_rate)
        return embedding.in_batches(_frame_statistics, self._frames(waveform, sample_rate), BATCH_FRAMES)

    def _frames(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """[S] at any rate -> overlapping frames [N, S] at 16 kHz."""
        # Counted before resampling, whose output may be a sample longer or shorter.
        num_frames = 1 + int((len(waveform) / sample_rate - self.window_seconds) / self.hop_seconds)
        frame_samples, hop_samples = (int(s * self.sample_rate) for s in (self.window_seconds, self.hop_seconds))
        needed = frame_samples + (num_frames - 1) * hop_samples
        waveform = embedding.resampled(waveform, sample_rate, self.sample_rate)
        waveform = np.pad(waveform, (0, max(0, needed - len(waveform))))[:needed]
        return np.lib.stride_tricks.sliding_window_view(waveform, frame_samples)[::hop_samples]


@jax.jit
def _frame_statistics(frames: jax.Array) -> jax.Array:
    """[B, S] at 16 kHz -> [B, 2 * M]."""
    log_mel = mel.log_mel(
        frames,
        sample_rate=LogMelStatistics.sample_rate,
        n_fft=N_FFT,
        hop_length=HOP_LENGTH,
        window_length=N_FFT,
        num_mels=NUM_MELS,
        floor=FLOOR,
    )
    # The STFT pads with zeros at both ends; frames that see the padding would hear an attack that is not there.
    edge = N_FFT // 2 // HOP_LENGTH
    inner = log_mel[:, edge : 1 + (frames.shape[1] - N_FFT // 2) // HOP_LENGTH]
    return jnp.concatenate([jnp.mean(inner, axis=1), jnp.std(inner, axis=1)], axis=-1)

"""musicnn's taggers of music as embeddings (Pons and Serra 2019, arXiv:1909.06654), with the weights of its package.

The published models are two kinds of network, trained on two sets of tags, MagnaTagATune (MTT) and the Million Song
Dataset (MSD). A frame is what the last layer before the tags sees.
"""

import functools

import jax
import numpy as np

from musicgen_jax.audio import mel
from musicgen_jax.evaluation.embeddings import embedding, musicnn_networks, tensor_bundle
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import NotFoundError, UserError

N_FFT, HOP_LENGTH, NUM_MELS = 512, 256, 96
PATCH = 187  # spectra of a frame
BATCH_PATCHES = 4
REMEDY = "`make embeddings` fetches the models; pass the folder of one, such as embeddings/MTT_musicnn"
# Version of the published models -> their name: which kind of network, trained on which tags.
PUBLISHED = {
    "2b8a92c01b89127d": "musicnn-MTT",
    "290eb93e4accb138": "musicnn-MSD",
    "5615fbb7d7f46699": "musicnn-vgg-MTT",
    "b3347b06bbbd430d": "musicnn-vgg-MSD",
}


class MusicNN(embedding.Embedding):
    """One of musicnn's networks. Its distance is FD-musicnn..., which is not comparable with FAD.

    Patches of 187 spectra (2.99 s), one behind the other as the package cuts them; what is left at the end is left out.

    Args:
      folder: of the model's checkpoint: .index and .data-00000-of-00001.

    Raises:
      NotFoundError: there is no checkpoint.
      UserError: it is damaged, or of another network.
    """

    sample_rate = 16_000
    window_seconds = (PATCH - 1) * HOP_LENGTH / sample_rate
    hop_seconds = PATCH * HOP_LENGTH / sample_rate

    def __init__(self, folder: files.Path):
        try:
            tensors = tensor_bundle.read(folder, REMEDY)
        except NotFoundError as error:
            raise NotFoundError(f"{error}: {REMEDY}") from error
        network, self._weights = musicnn_networks.of_tensors(tensors, folder, REMEDY)
        how = f"musicnn 1: {network.name} {N_FFT} {HOP_LENGTH} {NUM_MELS} {PATCH}"
        self.version = embedding.version_of(how, sorted(self._weights.items()))
        self.name = PUBLISHED.get(self.version, network.name)
        self.dimensions = network.dimensions
        self._run = jax.jit(network.run)

    def embed(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        waveform = embedding.resampled(embedding.checked(self, audio, sample_rate), sample_rate, self.sample_rate)
        spectra = log_mel(waveform)
        patches = spectra[: len(spectra) // PATCH * PATCH].reshape(-1, PATCH, NUM_MELS)
        return embedding.in_batches(functools.partial(self._run, self._weights), patches, BATCH_PATCHES)


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """What musicnn's networks see: waveform [S] at 16 kHz -> float32 [1 + S // 256, 96].

    log10(10000 x + 1) of the powers x of 96 Slaney mel bands, which the package rounds to float16; the waveform is
    mirrored at its ends.
    """
    if len(waveform) <= N_FFT // 2:
        raise UserError(f"{len(waveform)} samples at 16 kHz: musicnn hears no fewer than {N_FFT // 2 + 1}")
    padded = np.pad(waveform.astype(np.float64), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP_LENGTH]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    bands = power @ mel.filterbank(MusicNN.sample_rate, N_FFT, NUM_MELS)
    return np.log10(10_000 * bands.astype(np.float16).astype(np.float32) + 1)

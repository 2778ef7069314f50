"""VGGish (Hershey et al. 2017, arXiv:1609.09430), the embedding of Fréchet Audio Distance (Kilgour et al. 2019).

Weights are read from a file of torchvggish's names, which hold what Google published.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.conversion import checkpoint_files, weight_table
from musicgen_jax.evaluation.embeddings import embedding
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

FRAME, HOP, N_FFT = 400, 160, 512  # samples of a spectrum
NUM_MELS, MIN_HZ, MAX_HZ = 64, 125.0, 7500.0
LOG_OFFSET = 0.01
PATCH = 96  # spectra of a frame
BATCH_PATCHES = 10
# Layers of torchvggish's module `features` that are convolutions -> their channels in and out.
CONVOLUTIONS = {0: (1, 64), 3: (64, 128), 6: (128, 256), 8: (256, 256), 11: (256, 512), 13: (512, 512)}
POOLED = (0, 3, 8, 13)  # those behind which the map is halved
DENSE = {0: (512 * 4 * 6, 4096), 2: (4096, 4096), 4: (4096, 128)}  # of its module `embeddings`


class VGGish(embedding.Embedding):
    """The 128 numbers before the last ReLU, one behind the other each 0.96 s; no PCA, no quantization.

    The published FAD of Google's own code hears windows of 1 s each 0.5 s, at another level: its values differ a little
    from these, and from those of other packages.

    Args:
      path: torchvggish's .pth, for which torch is needed, or the same tensors in a .safetensors file.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is damaged, or holds other tensors; or the library that reads it is not installed.
    """

    name = "vggish"
    sample_rate = 16_000
    window_seconds = (FRAME + (PATCH - 1) * HOP) / sample_rate
    hop_seconds = PATCH * HOP / sample_rate
    dimensions = DENSE[4][1]
    distance = "FAD"

    def __init__(self, path: files.Path):
        tensors = checkpoint_files.read(pathlib.Path(path))
        # A state dict of the whole module has the PCA, which is not applied.
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("pproc.")}
        try:
            self._weights = weight_table.to_native(TABLE, tensors, ABSTRACT)
        except UserError as error:
            raise UserError(f"{path} is not VGGish's: {error}") from error
        leaves = [(jax.tree_util.keystr(at), leaf) for at, leaf in jax.tree_util.tree_leaves_with_path(self._weights)]
        self.version = embedding.version_of(
            f"vggish 1: {FRAME} {HOP} {N_FFT} {NUM_MELS} {MIN_HZ} {MAX_HZ} {LOG_OFFSET} {PATCH}", leaves
        )

    def embed(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        waveform = embedding.resampled(embedding.checked(self, audio, sample_rate), sample_rate, self.sample_rate)
        spectra = log_mel(waveform)
        patches = spectra[: len(spectra) // PATCH * PATCH].reshape(-1, PATCH, NUM_MELS)
        return embedding.in_batches(functools.partial(_network, self._weights), patches, BATCH_PATCHES)


TABLE = [
    weight_table.Weight(f"{module}.{layer}.{torch_name}", (module, layer, name), axes if name == "kernel" else None)
    for module, layers, axes in (("features", CONVOLUTIONS, (2, 3, 1, 0)), ("embeddings", DENSE, (1, 0)))
    for layer in layers
    for torch_name, name in (("weight", "kernel"), ("bias", "bias"))
]


def _layers(widths: dict[int, tuple[int, int]], taps: tuple[int, ...]) -> dict[int, dict[str, jax.ShapeDtypeStruct]]:
    return {
        layer: {
            "kernel": jax.ShapeDtypeStruct((*taps, *width), jnp.float32),
            "bias": jax.ShapeDtypeStruct(width[1:], jnp.float32),
        }
        for layer, width in widths.items()
    }


ABSTRACT = {"features": _layers(CONVOLUTIONS, (3, 3)), "embeddings": _layers(DENSE, ())}


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """What VGGish sees: waveform [S] at 16 kHz -> float32 [1 + (S - 400) // 160, 64].

    log(x + 0.01) of 64 mel bands x of magnitudes; windows of 25 ms (periodic Hann, FFT 512) each 10 ms, none beyond the
    ends.
    """
    frames = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64), FRAME)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    magnitude = np.abs(np.fft.rfft(frames * window, N_FFT))
    return np.log(magnitude @ _filterbank() + LOG_OFFSET).astype(np.float32)


@functools.cache
def _filterbank() -> np.ndarray:
    """[257, 64]: triangles of height 1 that are straight on the mel axis, 1127 ln(1 + f / 700)."""
    bins = _mel(np.arange(N_FFT // 2 + 1) * VGGish.sample_rate / N_FFT)[:, None]
    edges = np.linspace(_mel(MIN_HZ), _mel(MAX_HZ), NUM_MELS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    filters = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    filters[0] = 0  # the mean is not heard
    return filters


def _mel(hz: float | np.ndarray) -> float | np.ndarray:
    return 1127 * np.log1p(np.asarray(hz) / 700)


@jax.jit
def _network(weights: weight_table.Tree, patches: jax.Array) -> jax.Array:
    """Log-mel patches [B, 96, 64] -> [B, 128]."""
    x = patches[..., None]
    for layer in CONVOLUTIONS:
        x = jax.lax.conv_general_dilated(
            x,
            weights["features"][layer]["kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest",
        )
        x = jax.nn.relu(x + weights["features"][layer]["bias"])
        if layer in POOLED:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = x.reshape(len(x), -1)
    for layer in DENSE:
        x = jax.nn.relu(x) if layer else x
        dense = weights["embeddings"][layer]
        x = jnp.dot(x, dense["kernel"], precision="highest") + dense["bias"]
    return x

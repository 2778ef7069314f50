"""What the waveform and spectral losses are divided by: mean energies of audio, of a batch or of the training data."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.audio import spectral_losses
from musicgen_jax.data import audio_dataset, loader, shards

MEAN_SQUARE_FLOOR = 1e-8  # -80 dB below full scale


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AudioStatistics:
    """Means over all samples, or over all bins and frames.

    Attributes:
      mean_square: of the samples.
      mean_abs: of the samples.
      spectral_powers: mean |STFT|^2 of each of `spectral_losses.resolutions`; empty where no spectrum is compared.
    """

    mean_square: float | jax.Array
    mean_abs: float | jax.Array
    spectral_powers: tuple[float | jax.Array, ...]


def of_audio(audio: jax.Array, magnitudes: list[jax.Array]) -> AudioStatistics:
    """Statistics of [B, S] and of its magnitudes, each a little more than it is: safe to divide by at silence."""
    return AudioStatistics(
        mean_square=jnp.mean(audio**2) + MEAN_SQUARE_FLOOR,
        mean_abs=jnp.mean(jnp.abs(audio)) + math.sqrt(MEAN_SQUARE_FLOOR),
        spectral_powers=tuple(jnp.mean(magnitude**2) + MEAN_SQUARE_FLOOR for magnitude in magnitudes),
    )


def measure(directory: str, num_samples: int, data: config.DataConfig, loss: config.LossConfig) -> AudioStatistics:
    """Statistics of the train split, as training clips show it: the silence that pads short tracks counts.

    Measured are the first clips that training will see, up to `loss.data_seconds` of them or about as much as there
    is: a function of the data, of `data.seed` and of the clip length, the same on every host and after every restart.

    Args:
      directory: audio shards.
      num_samples: of a training clip.
      data: seed of the order and of the crops.
      loss: how much to measure, and whether spectra are compared.

    Raises:
      UserError: the split is silent.
    """
    sample_rate = shards.read_metadata(directory)["sample_rate"]
    source, transform = audio_dataset.random_clips(directory, "train", num_samples)
    clips = loader.training_dataset(source, transform, dataclasses.replace(data, batch_size=1), 0, 1)
    clips_per_record = math.ceil(shards.SEGMENT_SECONDS * sample_rate / num_samples)
    wanted = math.ceil(loss.data_seconds * sample_rate / num_samples)
    count = min(wanted, len(source) * clips_per_record)

    means = _mean((clips[index]["audio"] for index in range(count)), loss)  # one in memory at a time
    config.require(
        means.mean_square > 2 * MEAN_SQUARE_FLOOR,
        f"the train split of {directory} is silent ({count * num_samples / sample_rate:.1f} s measured, below -80 dB): "
        "loss.normalization=data has nothing to divide by; look at the data, or use loss.normalization=batch",
    )
    return means


def with_statistics(
    batches: Callable[[], Iterator[loader.Batch]], loss: config.LossConfig
) -> Callable[[], Iterator[loader.Batch]]:
    """The batches of a validation pass, each with the `statistics` of all of them, which are the same every time.

    Divided by these, the terms of an evaluation are ratios of sums over the pass, and no means of ratios.
    """

    @functools.cache
    def statistics() -> AudioStatistics:
        return _mean((batch["audio"] for batch in batches()), loss)

    return lambda: ({**batch, "statistics": statistics()} for batch in batches())


def _mean(audio: Iterator[jax.Array], loss: config.LossConfig) -> AudioStatistics:
    """Statistics of all clips, which come [B, S] at a time; summed in float64, so that no length rounds clips away."""
    compares_spectra = loss.spectral > 0 or loss.log_spectral > 0

    @jax.jit
    def measured(clips: jax.Array) -> AudioStatistics:
        return of_audio(clips, spectral_losses.magnitudes(clips) if compares_spectra else [])

    total, count = None, 0
    for clips in audio:
        found = jax.tree.map(lambda mean, clips=clips: len(clips) * np.float64(mean), jax.device_get(measured(clips)))
        total, count = found if total is None else jax.tree.map(np.add, total, found), count + len(clips)
    return jax.tree.map(lambda value: float(value / count), total)

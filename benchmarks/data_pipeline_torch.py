"""Random clips of recordings as a data set of torch: what one writes who has files and a DataLoader."""

import pathlib

import numpy as np
import soundfile
import soxr
import torch


class Clips(torch.utils.data.Dataset):
    """Clips of recordings, each drawn in proportion to its length; item i draws anew each time.

    Args:
      paths: of the recordings.
      num_samples: of a clip.
      sample_rate: Hz of a clip.
      clips: items of an epoch.
    """

    def __init__(self, paths: list[pathlib.Path], num_samples: int, sample_rate: int, clips: int = 10_000):
        self._infos = [(str(path), soundfile.info(path)) for path in paths]
        lengths = np.array([info.duration for _, info in self._infos])
        self._share, self._num_samples, self._rate = np.cumsum(lengths / lengths.sum()), num_samples, sample_rate
        self._clips = clips

    def __len__(self) -> int:
        return self._clips

    def __getitem__(self, index: int) -> torch.Tensor:
        path, info = self._infos[min(int(np.searchsorted(self._share, torch.rand(()).item())), len(self._infos) - 1)]
        frames = -(-self._num_samples * info.samplerate // self._rate)
        start = int(torch.randint(max(info.frames - frames, 0) + 1, ()))
        audio, _ = soundfile.read(path, frames, start, dtype="float32", always_2d=True)
        clip = audio.mean(axis=1)
        if info.samplerate != self._rate:
            clip = soxr.resample(clip, info.samplerate, self._rate)
        clip = np.pad(clip[: self._num_samples], (0, max(self._num_samples - len(clip), 0)))
        return torch.from_numpy(clip)

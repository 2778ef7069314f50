"""The first sound of a tokenizer: a few seconds of a held-out recording, and what each stream's codes make of them."""

import pathlib
from collections.abc import Iterator

import numpy as np

from musicgen_jax.data import audio_dataset, audio_io, shards
from musicgen_jax.tokenizers.tokenizer import Tokenizer

SECONDS = 8.0
SPLITS = ("test", "validation", "train")  # of a data set too small to hold anything out, what it was trained on
FOLDER = "reconstruction"


def write(tokenizer: Tokenizer, data: str, workdir: pathlib.Path) -> tuple[str, str]:
    """Writes original.wav, and a wav of each stream's name, of the beginning of the first held-out track.

    Args:
      tokenizer: any.
      data: folder of prepare_data, at the tokenizer's sample rate.
      workdir: of the tokenizer; its folder `reconstruction` gets the files, and loses former ones of these names.

    Returns:
      (id of the track, its split): "test", else "validation", else "train".
    """
    names, sample_rate = shards.split_names(data), tokenizer.layout.sample_rate
    split = next(split for split in SPLITS if split in names)
    facts, blocks = next(audio_dataset.read_tracks(data, split))
    audio = _beginning(blocks, round(SECONDS * sample_rate))
    sounds = {"original": audio}
    for tier, codes in tokenizer.encode(iter([audio])).items():
        sounds[tier] = tokenizer.decode(codes, tier)[: len(audio)]
    folder = workdir / FOLDER
    folder.mkdir(exist_ok=True)
    for name, sound in sounds.items():
        audio_io.write_wav(folder / f"{name}.wav", sound, sample_rate)
    return facts["track_id"], split


def _beginning(blocks: Iterator[np.ndarray], num_samples: int) -> np.ndarray:
    """The first `num_samples` of consecutive blocks [S], or all where there are fewer."""
    kept: list[np.ndarray] = []
    for block in blocks:
        kept.append(block)
        if sum(map(len, kept)) >= num_samples:
            break
    return np.concatenate(kept)[:num_samples]

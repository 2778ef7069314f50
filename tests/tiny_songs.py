"""Songs as codes that the words decide: the vowel of each syllable, sung in one of a few ways that chance decides."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
import tiny_runs

from musicgen_jax import config
from musicgen_jax.codes import lyric_windows
from musicgen_jax.data import lyrics
from musicgen_jax.sharding import meshes
from musicgen_jax.training import state

VOWELS = "aeiou"
WAYS = 3  # to sing a vowel, each a code of its own
MODEL = dataclasses.replace(
    tiny_runs.prior_config("top"),
    num_codes=WAYS * len(VOWELS),
    lyrics=True,
    lyrics_dropout=0.2,
    lyrics_margin=0.4,
    lyric_tokens=32,
    characters=tuple(sorted("\n lmaeiou")),
    codes_per_second=10.0,
    transformer=config.TransformerConfig(num_layers=2, width=32, num_heads=4, head_dim=8, mlp_width=64, remat="none"),
    conditioner=config.ConditionerConfig(width=16, depth=2),
)
OPTIMIZER = config.OptimizerConfig(
    name="muon", peak_learning_rate=1.6e-2, warmup_steps=20, b2=0.98, decay="cosine", final_fraction=0.02
)


@dataclasses.dataclass(frozen=True, eq=False)
class Song:
    """Syllables and the frames at which they begin, the first one at 0.

    Attributes:
      starts: int [N].
      words: of each, a consonant and a vowel.
      num_frames: of all.
    """

    starts: np.ndarray
    words: tuple[str, ...]
    num_frames: int

    @property
    def lrc(self) -> str:
        """The words with their times."""
        times = self.starts / MODEL.codes_per_second
        return lyrics.to_lrc(list(zip(times.tolist(), self.words, strict=True)), self.num_frames / 10)

    @property
    def vowels(self) -> np.ndarray:
        """The vowel of every frame by its number, int [T]."""
        of_words = np.array([VOWELS.index(word[1]) for word in self.words])
        return of_words[np.searchsorted(self.starts, np.arange(self.num_frames), side="right") - 1]


def song(rng: np.random.Generator, num_frames: int = MODEL.context) -> Song:
    """Syllables of two to four frames each."""
    starts = np.cumsum(rng.integers(2, 5, num_frames))
    starts = np.concatenate([[0], starts[starts < num_frames]])
    words = tuple(rng.choice(list("lm")) + rng.choice(list(VOWELS)) for _ in starts)
    return Song(starts, words, num_frames)


def batch(model: config.PriorConfig, step: int) -> dict[str, np.ndarray]:
    """Windows that begin with their songs."""
    rng = np.random.default_rng(step)
    songs = [song(rng) for _ in range(tiny_runs.BATCH_SIZE)]
    told = lyric_windows.of_windows(model, [lyrics.parse(one.lrc, 1.0) for one in songs], [0.0] * len(songs))
    codes = np.stack([one.vowels for one in songs])[..., None] * WAYS
    codes += rng.integers(WAYS, size=codes.shape)
    return tiny_runs.prior_batch(model, step) | told | {"codes": codes.astype(np.int32)}


def fitted(
    task: state.Task, settings: config.OptimizerConfig, num_steps: int, batch_of: Callable[[int], dict[str, np.ndarray]]
) -> state.TrainState:
    """The state after so many steps, from the parameters that training begins with."""
    mesh = meshes.single_device_mesh()
    current, train_step = tiny_runs.start(task, config.TrainingConfig(num_steps=num_steps), mesh, settings)
    first = jax.jit(task.functional.init)(jax.random.key(0))[0]
    placed = jax.tree.map(lambda old, new: jax.device_put(np.array(new), old.sharding), current.params, first)
    current = dataclasses.replace(current, params=placed)
    for step in range(num_steps):
        current, _ = train_step(current, batch_of(step))
    return current


def trained(model: config.PriorConfig, num_steps: int) -> tuple[state.Task, dict]:
    """(task, parameters) of a prior after so many steps on `batch`."""
    task = tiny_runs.prior_task(model)
    return task, fitted(task, OPTIMIZER, num_steps, functools.partial(batch, model)).params

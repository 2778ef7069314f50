"""Scores, data sets of them and composers small enough for a test."""

import functools
import pathlib
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config, kinds
from musicgen_jax.data import preparation, track
from musicgen_jax.nn import modules
from musicgen_jax.priors import trained
from musicgen_jax.scores.grid import CELLS, GridTokens
from musicgen_jax.scores.score import Score

GRID = GridTokens(4, 40, 79)
NUM_SCORES = 10
BAR, UPBEAT, PHRASE = 3 * CELLS, CELLS, 24  # sixteenths


@functools.cache
def score(index: int) -> Score:
    """Four voices that repeat two bars of three quarters behind an upbeat of one, with a fermata every second bar."""
    rng = np.random.default_rng(index)
    bars = 4 + 2 * (index % 4)
    phrase = rng.integers(0, 5, (PHRASE // CELLS, 4)) + np.array([72, 66, 58, 46])
    quarters = np.concatenate([phrase[-1:], np.tile(phrase, (bars // 2, 1))])
    tokens = GRID.from_pitches(np.repeat(quarters, CELLS, axis=0))
    made = GRID.decode(tokens, quarter_seconds=0.5 + 0.05 * (index % 3))
    ends = UPBEAT + PHRASE * np.arange(1, bars // 2 + 1)
    fermatas = made.second_at(np.stack([ends - CELLS, ends], axis=1) / CELLS)
    return Score(made.notes, made.quarters, np.arange(bars + 1) * BAR / CELLS - 2, fermatas)


def tracks(count: int = NUM_SCORES) -> list[track.Track]:
    """Tracks without audio, of genres "dance" and "hymn" by turns."""
    return [
        track.Track(
            track_id=f"piece{index:02d}",
            path=f"piece{index:02d}.mid",
            group=f"piece{index:02d}",
            hash=f"{index:064x}",
            labels={"genre": ("dance", "hymn")[index % 2], "artist": "unknown"},
            duration=score(index).seconds,
            sample_rate=0,
            channels=0,
            blocks=None,
            score=score(index),
            score_kind="exact",
        )
        for index in range(count)
    ]


def prepare(directory: pathlib.Path, count: int = NUM_SCORES) -> str:
    """Writes a prepared data set of `tracks` and returns its path."""
    source = types.SimpleNamespace(tracks=lambda *_: (tracks(count), []))
    preparation.prepare(preparation.Settings("midi", "", 4000, seed=3), source, str(directory), num_workers=0)
    return str(directory)


def model_config(tokens: str = "grid", **changes: Any) -> config.ComposerConfig:
    """Two layers of width 16 over windows of 64 tokens; fields of the config or of its Transformer by name."""
    settings = {"num_layers": 2, "width": 16, "num_heads": 2, "head_dim": 8, "mlp_width": 24, "remat": "none"}
    settings |= {name: changes.pop(name) for name in list(changes) if name in (*settings, "dropout", "layer")}
    fields = {
        "tokens": tokens,
        "context": 64,
        "num_codes": 42 if tokens == "grid" else 388,
        "lowest_pitch": 40,
        "highest_pitch": 79,
        "codes_per_second": 24.0,
        "track_seconds": 10.0,
        "labels": ("genre", "artist"),
        "vocabularies": {"genre": ("unknown", "dance", "hymn"), "artist": ("unknown",)},
        "timing_bins": 5,
        "max_seconds": 30.0,
        "bar_steps": BAR,
        "upbeat_steps": UPBEAT,
        "fermata_steps": CELLS,
        "phrase_steps": (PHRASE, PHRASE, PHRASE + CELLS),
        "transformer": config.TransformerConfig(**settings),
    }
    return config.ComposerConfig(**(fields | changes))


def composer_of(
    model: config.ComposerConfig, init: Callable[[modules.Functional], tuple[modules.Tree, modules.Tree]]
) -> trained.TrainedPrior:
    """A composer whose weights init(its functional) makes."""
    functional = kinds.KINDS["composer"].functional(config.ComposerTraining(model=model))
    return trained.TrainedPrior(model, functional, init(functional), "")


def nothing(functional: modules.Functional) -> tuple[modules.Tree, modules.Tree]:
    """Weights that are all 0: every token is as likely."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(functional.init, jax.random.key(0)))

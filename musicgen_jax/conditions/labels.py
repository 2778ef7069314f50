"""Whose music and of which kind: one artist and one genre a track."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import tables
from musicgen_jax.sharding import rules

UNKNOWN = 0  # index of `config.UNKNOWN_LABEL`, which comes first in every vocabulary: what stands for a hidden label


class Labels(nnx.Module):
    """Embedding of the genre plus embedding of the artist, the same at every position."""

    stream, is_memory = 0x1ABE1, False

    def __init__(self, model: config.PriorConfig, axis_rules: rules.AxisRules | None = None, *, rngs: nnx.Rngs):
        self.rules = axis_rules or rules.AxisRules()
        self.genre = tables.table(max(len(model.genres), 1), model.transformer.width, rngs)
        self.artist = tables.table(max(len(model.artists), 1), model.transformer.width, rngs)

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> Condition:
        """Embeds the labels.

        Args:
          batch: `genre`, `artist` int32 [B], indices in the config's vocabularies.
          hidden: bool [B], windows that are told the unknown label instead.

        Returns:
          added float32 [B, 1, D].
        """
        genre, artist = batch["genre"], batch["artist"]
        if hidden is not None:
            genre, artist = (jnp.where(hidden, UNKNOWN, indices) for indices in (genre, artist))
        rows = tables.lookup(self.genre[...], genre, self.rules) + tables.lookup(self.artist[...], artist, self.rules)
        return Condition(added=rows[:, None])


class StartLabels(nnx.Module):
    """Artist and genre words of a published prior make the vector before the first token."""

    def __init__(self, model: config.JukeboxPriorConfig, *, rngs: nnx.Rngs):
        width, std = model.transformer.width, model.transformer.init_std / 2
        self.genre = tables.table(model.num_genres, width, rngs, std)
        self.artist = tables.table(model.num_artists, width, rngs, std)

    def __call__(self, batch: dict[str, jax.Array]) -> Condition:
        """`artist` int32 [B], `genres` int32 [B, max_genres] with -1 in empty places -> start [B, D] float32."""
        genres = batch["genres"]
        words = jnp.where(genres[..., None] == -1, 0.0, tables.existing_rows(self.genre[...], genres))
        return Condition(start=tables.existing_rows(self.artist[...], batch["artist"]) + words.sum(axis=1))

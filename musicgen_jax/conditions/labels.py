"""What is said of a track in words, such as its genre and its artist: one value a label."""

import functools
import operator

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import tables
from musicgen_jax.sharding import rules

UNKNOWN = 0  # index of `config.UNKNOWN_LABEL`, which comes first in every vocabulary: what stands for a hidden label


def table_of(label: str) -> str:
    """Name of the parameter that has a label's embeddings: one that a dict of modules has no attribute of."""
    return f"of_{label}"


def stored_path(path: tuple) -> tuple:
    """Where a checkpoint has a parameter of `Labels`, by its path in it; those of the oldest lay beside others."""
    old = path[0] == "tables" and path[1] in (table_of("genre"), table_of("artist"))
    return (path[1].removeprefix(table_of("")), *path[2:]) if old else path


class Labels(nnx.Module):
    """Sum of the embeddings of a track's labels, the same at every position."""

    stream, is_memory = 0x1ABE1, False

    def __init__(self, model: config.PriorConfig, axis_rules: rules.AxisRules | None = None, *, rngs: nnx.Rngs):
        self.rules = axis_rules or rules.AxisRules()
        self.names, self.width = model.labels, model.transformer.width
        sizes = {name: max(len(model.vocabularies.get(name, ())), 1) for name in self.names}
        self.tables = nnx.Dict({table_of(name): tables.table(size, self.width, rngs) for name, size in sizes.items()})

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> Condition:
        """Embeds the labels.

        Args:
          batch: `labels` int32 [B, L], for each of the config's labels the index in its vocabulary.
          hidden: bool [B], windows that are told the unknown label instead.

        Returns:
          added float32 [B, 1, D].
        """
        told = batch["labels"]
        if hidden is not None:
            told = jnp.where(hidden[:, None], UNKNOWN, told)
        rows = [
            tables.lookup(self.tables[table_of(name)][...], told[:, index], self.rules)
            for index, name in enumerate(self.names)
        ]
        added = functools.reduce(operator.add, rows) if rows else jnp.zeros((len(told), self.width))
        return Condition(added=added[:, None])


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

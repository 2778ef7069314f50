"""What a prior is told besides its own past: labels, timing, and the codes of the tier above."""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import parameters, resnet
from musicgen_jax.priors import code_embedding
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import weights

UNKNOWN = 0  # index of `config.UNKNOWN_LABEL`, which comes first in every vocabulary


def embedding(num: int, width: int, rngs: nnx.Rngs) -> nnx.Param:
    """Table [num, width], normal with standard deviation 0.02; divided over "width" only, since `num` may be odd."""
    table = nnx.initializers.normal(0.02)(rngs.params(), (num, width))
    return parameters.parameter(table, parameters.EMBEDDING, (None, "width"))


def lookup(table: jax.Array, indices: jax.Array, axis_rules: rules.AxisRules) -> jax.Array:
    """table[indices]: [K, D] and int32 [...] -> [..., D].

    The table is collected first, as any matrix is where "fsdp" divides it: looked up in pieces, the rows would come out
    divided over their width, and XLA would have to copy them whole to divide them over the batch.
    """
    return rules.constrain(table, axis_rules, (None, "residual"))[indices]


def without_labels(batch: dict[str, jax.Array], hidden: jax.Array) -> dict[str, jax.Array]:
    """The batch with genre and artist unknown where `hidden`, bool [B]."""
    return batch | {name: jnp.where(hidden, UNKNOWN, batch[name]) for name in ("genre", "artist")}


class LabelConditioner(nnx.Module):
    """Sum of embeddings: genre, artist, total length, and at every position the elapsed share of the track."""

    def __init__(self, model: config.PriorConfig, axis_rules: rules.AxisRules | None = None, *, rngs: nnx.Rngs):
        self.config, self.rules = model, axis_rules or rules.AxisRules()
        width, bins = model.transformer.width, model.timing_bins
        self.genre = embedding(max(len(model.genres), 1), width, rngs)
        self.artist = embedding(max(len(model.artists), 1), width, rngs)
        self.total = embedding(bins, width, rngs)
        self.elapsed = embedding(bins, width, rngs)

    def __call__(self, genre: jax.Array, artist: jax.Array, start: jax.Array, length: jax.Array) -> jax.Array:
        """Embeds labels and timing.

        Args:
          genre, artist: int32 [B], indices in the config's vocabularies.
          start: int32 [B], position of the window's first code in its track.
          length: int32 [B], codes of the whole track.

        Returns:
          float32 [B, T, D].
        """
        settings, bins = self.config, self.config.timing_bins
        seconds = length / settings.codes_per_second
        total = jnp.clip((seconds / settings.max_seconds * bins).astype(jnp.int32), 0, bins - 1)
        share = (start[:, None] + jnp.arange(settings.context)) / jnp.maximum(length[:, None], 1)
        elapsed = jnp.clip((share * bins).astype(jnp.int32), 0, bins - 1)
        of_track = [(self.genre, genre), (self.artist, artist), (self.total, total)]
        whole = sum(lookup(table[...], indices, self.rules) for table, indices in of_track)
        return whole[:, None] + lookup(self.elapsed[...], elapsed, self.rules)


class UpsamplerConditioner(nnx.Module):
    """Codes of the tier above -> one vector for each code of this tier.

    Embedding, non-causal dilated residual blocks (the whole window above is known before this tier is sampled),
    doubling of the length until the rates agree, projection, norm. The residual blocks are the tokenizer's.
    """

    def __init__(
        self,
        model: config.PriorConfig,
        *,
        codebooks: Mapping[str, jax.typing.ArrayLike] = MappingProxyType({}),
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        settings = model.conditioner
        doublings = model.upsampling.bit_length() - 1
        config.require(2**doublings == model.upsampling, f"model.upsampling={model.upsampling}: must be a power of two")
        dilations = [settings.dilation_growth ** (r % settings.dilation_cycle) for r in range(settings.depth)]
        codebook = codebooks.get(config.TIER_ABOVE[model.tier])
        table = code_embedding.initial(codebook, model.num_codes, settings.width, rngs)
        self.codes = parameters.parameter(table, parameters.EMBEDDING)
        self.stack = resnet.ResidualStack(settings.width, dilations, dtype=dtype, rngs=rngs)
        self.upsampling = nnx.List(
            [resnet.Upsampling(settings.width, settings.width, dtype=dtype, rngs=rngs) for _ in range(doublings)]
        )
        self.project = weights.Linear(settings.width, model.transformer.width, dtype=dtype, rngs=rngs)
        self.norm = parameters.layer(nnx.LayerNorm(model.transformer.width, dtype=dtype, rngs=rngs))
        self.dtype = dtype

    def __call__(self, above: jax.Array) -> jax.Array:
        """int32 [B, T / upsampling] -> [B, T, D] in the compute dtype."""
        x = self.stack(self.codes[...][above].astype(self.dtype))
        for upsampling in self.upsampling:
            x = upsampling(x)
        return self.norm(self.project(x))

"""The published priors at reduced size, and weights drawn by name: the same in any program that knows the names."""

import functools
import pathlib
import zlib

import jax
import numpy as np
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conversion import jukebox_prior, weight_table
from musicgen_jax.nn import modules
from musicgen_jax.priors import jukebox

KINDS = ("upsampler_bottom", "upsampler_middle", "5b", "5b_lyrics", "1b_lyrics")
GOLDEN_FILE = pathlib.Path(__file__).resolve().parents[1] / "golden" / "jukebox_priors.npz"
GOLDEN = slice(0, None, 3)  # positions whose logits are in it
# Enough layers for the first of every kind of attention but the dense one of 1b, which is the 48th layer.
LAYERS = {"upsampler_bottom": 4, "upsampler_middle": 4, "5b": 4, "5b_lyrics": 19, "1b_lyrics": 16}


def model_config(kind: str, num_layers: int | None = None, **changes) -> config.JukeboxPriorConfig:
    """A released prior with 8 rows of 4 codes (1b: 4 rows of 7, 6 of them characters) and everything else small."""
    released = jukebox_prior.RELEASED[kind]
    lyrics = {"5b_lyrics": 12, "1b_lyrics": 6}.get(kind, 0)
    num_rows = 4 if kind == "1b_lyrics" else 8
    heads = {"5b": 3, "5b_lyrics": 3, "1b_lyrics": 2}.get(kind, 1)
    transformer = config.JukeboxTransformerConfig(
        num_layers=num_layers or LAYERS[kind],
        width=24,
        num_heads=heads,
        attention_width=6,
        mlp_width=24,
        num_rows=num_rows,
        layers=released.transformer.layers,
    )
    return config.JukeboxPriorConfig(
        tier=released.tier,
        context=22 if kind == "1b_lyrics" else 32,
        num_codes=11,
        sample_rate=1000,
        upsampling=released.upsampling,
        num_genres=7,
        num_artists=5,
        max_genres=min(released.max_genres, 3),
        timing_bins=8,
        min_seconds=1.5,
        max_seconds=40.0,
        lyrics=released.lyrics,
        lyric_tokens=lyrics,
        lyric_vocabulary=9,
        merged=released.merged,
        scaled_residuals=released.scaled_residuals,
        remat=False,
        transformer=transformer,
        conditioner=config.ConditionerConfig(width=10, depth=4, dilation_growth=3, dilation_cycle=3),
        lyric_encoder=config.JukeboxTransformerConfig(
            num_layers=4, width=16, num_heads=2, attention_width=4, mlp_width=16, num_rows=3
        ),
        **changes,
    )


def published_weights(model: config.JukeboxPriorConfig, abstract: modules.Tree, seed: int = 0) -> dict[str, np.ndarray]:
    """{published name: array}: what a file of this prior would hold, had it been trained to noise."""
    table = jukebox_prior.weights(model)
    shapes = {weight.name: weight.published_shape(weight_table.leaf(abstract, weight.path).shape) for weight in table}
    drawn = {name: draw(name, shape, seed) for name, shape in shapes.items()}
    if not model.merged:
        drawn["prior.x_out.weight"] = drawn["prior.x_emb.weight"]
    return drawn


def draw(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Normal values of a size that keeps every layer's part in the result visible."""
    values = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape)
    if name.endswith(".w"):
        values *= shape[0] ** -0.5
    elif len(shape) == 3:
        values *= (shape[1] * shape[2]) ** -0.5
    elif len(shape) == 2:
        values *= 0.5
    else:
        is_scale = name.endswith("weight")  # of a norm: a bias is called bias or b
        values = is_scale + 0.1 * values
    return values.astype(np.float32)


def batch_of(model: config.JukeboxPriorConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Two windows."""
    rng = np.random.default_rng(seed)
    genres = rng.integers(0, model.num_genres, (2, model.max_genres))
    genres[1, 1:] = -1
    batch = {
        "codes": rng.integers(0, model.num_codes, (2, model.context, 1)),
        "artist": rng.integers(0, model.num_artists, 2),
        "genres": genres,
        "total": np.array([15013, 39999]),
        "offset": np.array([3001, 17000]),
        "length": np.array([5000, 5000]),
    }
    if model.upsampling:
        batch["above"] = rng.integers(0, model.num_codes, (2, model.context // model.upsampling, 1))
    if model.lyrics != "none":
        batch["lyrics"] = rng.integers(0, model.lyric_vocabulary, (2, model.lyric_tokens))
    return {name: value.astype(np.int32) for name, value in batch.items()}


class Model:
    """A prior of reduced size with drawn weights.

    `logits(batch)` are those of all tokens; `run` compiles any function of the module.
    """

    def __init__(self, model: config.JukeboxPriorConfig, seed: int = 0):
        self.config = model
        self.functional = modules.Functional(lambda rngs: jukebox.JukeboxPrior(model, rngs=rngs))
        abstract = {"params": nnx.to_pure_dict(self.functional.abstract_params)}
        self.published = published_weights(model, abstract, seed)
        self.params = weight_table.to_native(jukebox_prior.weights(model), self.published, abstract)["params"]
        self._joint = jax.jit(
            lambda params, batch: (prior := self.functional.bind(params, {})).joint_logits(
                batch["codes"], prior.condition(batch)
            )
        )

    def logits(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """[2, prefix + T, V]; compiled once."""
        return np.asarray(self._joint(self.params, batch))

    def codes_of(self, logits: np.ndarray) -> np.ndarray:
        """The part of the codes, [2, T, K]."""
        return logits[:, self.config.prefix :, self.config.code_shift :]

    def run(self, function, *args):
        """function(module, *args), compiled."""
        return jax.jit(lambda params, *args: function(self.functional.bind(params, {}), *args))(self.params, *args)


@functools.cache
def cached(kind: str, num_layers: int | None = None) -> Model:
    """One model of each kind for all tests."""
    return Model(model_config(kind, num_layers))

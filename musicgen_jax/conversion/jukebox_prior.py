"""Published priors of Jukebox: which of their arrays lies where in `priors.jukebox`, and which of them a file is."""

import dataclasses
import re
from collections.abc import Mapping

from musicgen_jax import config
from musicgen_jax.conversion.weight_table import Path, Weight, convolution, upsampling

_TRANSFORMER_1B = config.JukeboxTransformerConfig(
    num_layers=72,
    width=2048,
    num_heads=2,
    attention_width=512,
    mlp_width=2048,
    num_rows=64,
    layers="factored_prime",
    init_scale=0.2,
)
_TRANSFORMER_5B = config.JukeboxTransformerConfig()
_UPSAMPLER = config.JukeboxPriorConfig(
    tier="bottom",
    upsampling=4,
    transformer=config.JukeboxTransformerConfig(
        width=1920, num_heads=1, attention_width=480, mlp_width=1920, init_scale=0.4
    ),
)
_LYRIC_ENCODER = config.JukeboxTransformerConfig(
    num_layers=18, width=1280, num_heads=4, attention_width=320, mlp_width=1280, num_rows=32, init_scale=0.7
)
# What was released. Read it only: a config is mutable.
RELEASED = {
    "upsampler_bottom": _UPSAMPLER,
    "upsampler_middle": dataclasses.replace(_UPSAMPLER, tier="middle", scaled_residuals=True),
    "5b": config.JukeboxPriorConfig(merged=True, transformer=_TRANSFORMER_5B),
    "5b_lyrics": config.JukeboxPriorConfig(
        merged=True,
        min_seconds=23.8,
        lyrics="encoder",
        lyric_tokens=512,
        transformer=dataclasses.replace(_TRANSFORMER_5B, num_layers=79, layers="factored_cross"),
        lyric_encoder=_LYRIC_ENCODER,
    ),
    "1b_lyrics": config.JukeboxPriorConfig(
        context=6144,
        num_genres=604,
        num_artists=7898,
        max_genres=1,
        timing_bins=64,
        min_seconds=17.84,
        lyrics="prefix",
        lyric_tokens=384,
        lyric_vocabulary=79,
        transformer=_TRANSFORMER_1B,
    ),
}


def weights(model: config.JukeboxPriorConfig) -> list[Weight]:
    """Every array of the published file of a prior; a tied output matrix stands there under a second name."""
    table = [
        *_stack("prior", ("params", "stack"), model.transformer),
        *_labels(model),
        Weight("prior.x_out.weight", ("params", "head") if model.merged else ("params", "stack", "tokens")),
    ]
    if model.upsampling:
        table += _upsampler(model)
    if model.lyrics == "encoder":
        table += _lyric_encoder(model)
    return table


def _labels(model: config.JukeboxPriorConfig) -> list[Weight]:
    tables = {"bow_genre_emb": "genre", "artist_emb": "artist"}
    if not model.upsampling:
        tables |= {"total_length_emb": "total", "absolute_pos_emb": "absolute", "relative_pos_emb": "relative"}
    return [Weight(f"y_emb.{name}.emb.weight", ("params", "labels", ours)) for name, ours in tables.items()]


def _linear(name: str, path: Path) -> list[Weight]:
    return [Weight(f"{name}.w", (*path, "kernel")), Weight(f"{name}.b", (*path, "bias"))]


def _norm(name: str, path: Path) -> list[Weight]:
    return [Weight(f"{name}.weight", (*path, "scale")), Weight(f"{name}.bias", (*path, "bias"))]


def _stack(name: str, path: Path, settings: config.JukeboxTransformerConfig) -> list[Weight]:
    table = [
        Weight(f"{name}.x_emb.weight", (*path, "tokens")),
        Weight(f"{name}.pos_emb.pos_emb", (*path, "positions")),
    ]
    for layer, pattern in enumerate(settings.kinds):
        theirs, ours = f"{name}.transformer._attn_mods.{layer}", (*path, "blocks", layer)
        packed = {"c_attn": "query", "c_enc_kv": "key_value"} if pattern == "cross" else {"c_attn": "qkv"}
        for matrix, attribute in (packed | {"c_proj": "out"}).items():
            table += _linear(f"{theirs}.attn.{matrix}", (*ours, "attention", attribute))
        table += _norm(f"{theirs}.ln_0", (*ours, "attention_norm"))
        table += _linear(f"{theirs}.mlp.c_fc", (*ours, "hidden"))
        table += _linear(f"{theirs}.mlp.c_proj", (*ours, "out"))
        table += _norm(f"{theirs}.ln_1", (*ours, "mlp_norm"))
    return table


def _upsampler(model: config.JukeboxPriorConfig) -> list[Weight]:
    name, path = "conditioner_blocks.0", ("params", "upsampler")
    table = [
        Weight(f"{name}.x_emb.weight", (*path, "codes")),
        *convolution(f"{name}.cond.model.0", (*path, "project")),
        *_norm(f"{name}.ln", (*path, "norm")),
    ]
    for step in range(model.upsampling.bit_length() - 1):
        theirs = f"{name}.cond.model.{step + 1}"
        for r in range(model.conditioner.depth):
            ours = (*path, "stacks", step, "blocks", r)
            # Trained with gradient checkpointing, which renames the list of blocks.
            table += convolution(f"{theirs}.0.blocks.{r}.model.1", (*ours, "dilated"))
            table += convolution(f"{theirs}.0.blocks.{r}.model.3", (*ours, "project"))
        table += upsampling(f"{theirs}.1", (*path, "upsampling", step))
    return table


def _lyric_encoder(model: config.JukeboxPriorConfig) -> list[Weight]:
    path = ("params", "lyrics")
    return [
        *_stack("prime_prior", (*path, "stack"), model.lyric_encoder),
        Weight("prime_prior.start_token", (*path, "stack", "start")),
        *_linear("prime_state_proj", (*path, "project")),
        *_norm("prime_state_ln", (*path, "norm")),
        Weight("prime_x_out.weight", (*path, "head")),
    ]


def infer_config(shapes: Mapping[str, tuple[int, ...]], *, tier: str = "top") -> config.JukeboxPriorConfig:
    """Which released prior a file holds, with the sizes of its arrays.

    Shapes tell sizes; the number of heads and of rows, the order of the layers, the ranges of durations and the length
    of the lyrics are the release's. A fine-tuned prior with other labels is understood, too.

    Args:
      shapes: {published name: shape} of the file.
      tier: of the prior; the two upsamplers have the same arrays, and only the middle one scales its residual blocks.

    Raises:
      UserError: the file is no prior, or not one of that tier.
    """
    config.require("prior.x_emb.weight" in shapes, "the file holds no prior: it has no prior.x_emb.weight")
    upsampler = "conditioner_blocks.0.x_emb.weight" in shapes
    tiers = ("middle", "bottom") if upsampler else ("top",)
    kind = "an upsampler" if upsampler else "a top prior"
    config.require(tier in tiers, f"tier={tier}: the file holds {kind}, so the tier must be {' or '.join(tiers)}")
    if upsampler:
        released = RELEASED[f"upsampler_{tier}"]
    elif "prime_prior.x_emb.weight" in shapes:
        released = RELEASED["5b_lyrics"]
    else:  # of the two others, one has more tokens than codes
        joint = _size(shapes, "prior.x_emb.weight", 0) > RELEASED["5b"].num_codes
        released = RELEASED["1b_lyrics" if joint else "5b"]
    return _resized(released, shapes)


def _resized(released: config.JukeboxPriorConfig, shapes: Mapping[str, tuple[int, ...]]) -> config.JukeboxPriorConfig:
    """The released config with what the shapes tell; names that are missing are reported when the file is read."""
    sizes = {
        "num_genres": _size(shapes, "y_emb.bow_genre_emb.emb.weight", released.num_genres),
        "num_artists": _size(shapes, "y_emb.artist_emb.emb.weight", released.num_artists),
        "timing_bins": _size(shapes, "y_emb.total_length_emb.emb.weight", released.timing_bins),
        "context": _size(shapes, "prior.pos_emb.pos_emb", released.prefix + released.context) - released.prefix,
        "num_codes": _size(shapes, "prior.x_emb.weight", 0) - released.code_shift,
    }
    return dataclasses.replace(
        released,
        **sizes,
        transformer=_resized_transformer(released.transformer, shapes, "prior"),
        lyric_encoder=_resized_transformer(released.lyric_encoder, shapes, "prime_prior"),
    )


def _resized_transformer(
    settings: config.JukeboxTransformerConfig, shapes: Mapping[str, tuple[int, ...]], name: str
) -> config.JukeboxTransformerConfig:
    layers = [int(found[1]) for key in shapes if (found := re.match(rf"{name}\.transformer\._attn_mods\.(\d+)\.", key))]
    first = f"{name}.transformer._attn_mods.0"
    return dataclasses.replace(
        settings,
        # A key may say any number.
        num_layers=min(max(layers) + 1, len(shapes)) if layers else settings.num_layers,
        width=_size(shapes, f"{name}.x_emb.weight", settings.width, axis=1),
        attention_width=_size(shapes, f"{first}.attn.c_proj.w", settings.attention_width),
        mlp_width=_size(shapes, f"{first}.mlp.c_proj.w", settings.mlp_width),
    )


def _size(shapes: Mapping[str, tuple[int, ...]], name: str, default: int, axis: int = 0) -> int:
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) else default  # one of another rank is reported when the file is read

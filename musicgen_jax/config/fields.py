"""What every config shares: the rule that a value must keep, what a checkpoint compares, what older ones mean."""

from typing import Any

from musicgen_jax.runtime.errors import UserError

UNKNOWN_LABEL = "unknown"

# Paths in a model's config. Checkpoints need not agree on levers: they change memory and speed, not the mathematics.
LEVERS = (
    "loss_chunk",
    "lyric_tokens",
    "remat",
    "score_notes",
    "text_tokens",
    "transformer/attention",
    "transformer/remat",
)
# Fields younger than some checkpoints, with the value that is meant where a checkpoint does not have them.
YOUNGER = {
    "above_dropout": 0.0,
    "ddsp/oscillators": "voices",
    **dict.fromkeys((f"{stream}/features" for stream in ("top", "middle", "bottom", "residual")), "waveform"),
    "label_dropout": 0.0,
    "label_tracks": 1,
    "label_values": 0,
    "lyric_tokens": 0,
    "lyrics": False,
    "lyrics_aligned": False,
    "lyrics_dropout": 0.0,
    "lyrics_margin": 2.0,
    "most_guidance": 5.0,
    "num_codebooks": 1,
    "pattern": "delay",
    "quantization/activations": "float",
    "quantization/weights": "float",
    "quantizer/codebook_dropout": 0.0,
    "quantizer/num_codebooks": 1,
    "score": False,
    "score_ahead": 0.0,
    "score_dropout": 0.0,
    "score_notes": 0,
    "text": False,
    "text_dropout": 0.0,
    "text_encoder": "",
    "text_tokens": 0,
    "text_width": 0,
    "timing_dropout": 0.0,
    "transformer/beyond": "zero",
    "transformer/layer": "relative",
    "transformer/window": 0,
}

# Fields of a run itself, as of a model in YOUNGER.
YOUNGER_OF_RUNS = {"unknown_labels": 0.0}

MAX_SEED = 2**32 - 1  # jax.random.key takes 32 bits of a seed: others would mean the same as some smaller one


def require_range(name: str, value: float, least: float, most: float) -> None:
    """Raises UserError unless least <= value <= most, as no NaN is; the most keeps a slip of the keyboard from
    filling the memory."""
    require(value >= least, f"{name}={value}: must be at least {least}")
    require(value <= most, f"{name}={value}: must be at most {most}")


def require(condition: bool, message: str) -> None:
    """Raises UserError(message) unless `condition` holds."""
    if not condition:
        raise UserError(message)


def of_today(model: dict[str, Any]) -> dict[str, Any]:
    """The config of a model as JSON, where it is older than some of its fields and their values depend on others."""
    # A diffusion model's own part said so before config.json had a word for the kind of its model.
    changed = {name: value for name, value in model.items() if (name, value) != ("kind", "diffusion")}
    if "tier" in model and "upsampling" in model and "above" not in model:
        # There were hierarchical VQ-VAEs alone, of these three streams.
        above = {"middle": "top", "bottom": "middle"}.get(str(model["tier"]), "")
        changed["above"] = above if model["upsampling"] else ""
    if "tier" in model and "genres" in model:
        # There were two labels, each with a field of its own.
        changed["vocabularies"] = {"genre": changed.pop("genres"), "artist": changed.pop("artists", [])}
        changed["labels"] = ["genre", "artist"]
    transformer = model.get("transformer")
    if isinstance(transformer, dict) and isinstance(transformer.get("remat"), bool):
        # Before there were policies: whether the backward pass recomputes.
        changed["transformer"] = transformer | {"remat": "full" if transformer["remat"] else "none"}
    return changed

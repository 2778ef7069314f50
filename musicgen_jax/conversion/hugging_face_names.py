"""The key grammar of the original Jukebox files and that of Hugging Face's `JukeboxModel`, translated both ways.

The arrays are the same, axis for axis; only the names differ. A rule is a pair of templates, original and Hugging Face.
In a template <a>, <b>, <n>, <r>, <s> and <last> stand for a number, <2s+1> and its like for that arithmetic of the
number s, <end> for weight or bias, <matrix> for a linear map of a transformer layer, <label> for genre or artist,
<time> for a position in the track.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable

from musicgen_jax.conversion import weight_table

_FIELD = re.compile(r"<(?:2(?P<step>s)(?P<offset>[+-]\d)?|(?P<field>\w+))>")
_MEANING = {
    "end": "weight|bias",
    "matrix": r"attn\.c_attn|attn\.c_enc_kv|attn\.c_proj|mlp\.c_fc|mlp\.c_proj",
    "label": "bow_genre_emb|artist_emb",
    "time": "total_length_emb|absolute_pos_emb|relative_pos_emb",
}
_RESIDUAL = ((1, "conv1d_1"), (3, "conv1d_2"))


def _up_block(original: str, hugging_face: str, residual: str) -> list[tuple[str, str]]:
    """The block that decoders and conditioners are made of; `residual` names the list of residual blocks."""
    return [
        (f"{original}.0.<end>", f"{hugging_face}.proj_in.<end>"),
        *(
            (
                f"{original}.<s>.0.{residual}.<r>.model.{number}.<end>",
                f"{hugging_face}.upsample_block.<2s-2>.resnet_block.<r>.{name}.<end>",
            )
            for number, name in _RESIDUAL
        ),
        (f"{original}.<s>.1.<end>", f"{hugging_face}.upsample_block.<2s-1>.<end>"),
    ]


def _down_block(original: str, hugging_face: str) -> list[tuple[str, str]]:
    """The block that encoders are made of; the original numbers its projection after the last step."""
    return [
        (f"{original}.<last>.<end>", f"{hugging_face}.proj_out.<end>"),
        (f"{original}.<s>.0.<end>", f"{hugging_face}.downsample_block.<2s>.<end>"),
        *(
            (
                f"{original}.<s>.1.model.<r>.model.{number}.<end>",
                f"{hugging_face}.downsample_block.<2s+1>.resnet_block.<r>.{name}.<end>",
            )
            for number, name in _RESIDUAL
        ),
    ]


def _transformer(original: str, hugging_face: str) -> list[tuple[str, str]]:
    layer = "transformer._attn_mods.<n>"
    return [
        (f"{original}.x_emb.weight", f"{hugging_face}.embed_tokens.weight"),
        (f"{original}.x_out.weight", f"{hugging_face}.fc_proj_out.weight"),
        (f"{original}.pos_emb.pos_emb", f"{hugging_face}.pos_emb.pos_emb"),
        (f"{original}.start_token", f"{hugging_face}.start_token"),
        (f"{original}.{layer}.<matrix>.w", f"{hugging_face}.{layer}.<matrix>.weight"),
        (f"{original}.{layer}.<matrix>.b", f"{hugging_face}.{layer}.<matrix>.bias"),
        (f"{original}.{layer}.ln_<r>.<end>", f"{hugging_face}.{layer}.layer_norm_<r>.<end>"),
    ]


_ENCODER_BLOCK = "encoders.<a>.level_blocks.<b>"
_DECODER_BLOCK = "decoders.<a>.level_blocks.<b>"
_RULES = [
    *_down_block(f"{_ENCODER_BLOCK}.model", _ENCODER_BLOCK),
    *_up_block(f"{_DECODER_BLOCK}.model", _DECODER_BLOCK, "model"),
    ("decoders.<a>.out.<end>", "decoders.<a>.out.<end>"),
    ("bottleneck.level_blocks.<a>.k", "bottleneck.level_blocks.<a>.codebook"),
    *_transformer("prior", "prior"),
    *_transformer("prime_prior", "encoder"),
    ("prime_state_proj.w", "encoder.proj_in.weight"),
    ("prime_state_proj.b", "encoder.proj_in.bias"),
    ("prime_state_ln.<end>", "encoder.final_layer_norm.<end>"),
    ("prime_x_out.weight", "encoder.lm_head.weight"),
    ("y_emb.<label>.emb.weight", "metadata_embedding.<label>.weight"),
    ("y_emb.<time>.emb.weight", "metadata_embedding.<time>.emb.weight"),
    ("conditioner_blocks.0.x_emb.weight", "conditioner_blocks.embed_tokens.weight"),
    ("conditioner_blocks.0.ln.<end>", "conditioner_blocks.layer_norm.<end>"),
    # Jukebox names this list `blocks`: its conditioners were trained with gradient checkpointing.
    *_up_block("conditioner_blocks.0.cond.model", "conditioner_blocks.upsampler", "blocks"),
]


def hugging_face_name(name: str) -> str:
    """Hugging Face's name for one in the original grammar, within its model; one that no rule knows stays as it is."""
    return next((found for rule in _RULES if (found := _translate(name, *rule, {}))), name)


def rename(table: Iterable[weight_table.Weight]) -> list[weight_table.Weight]:
    """A table of weights with the names that Hugging Face's files have for them, instead of the original ones."""
    return [dataclasses.replace(weight, name=hugging_face_name(weight.name)) for weight in table]


def are_used(names: Iterable[str]) -> bool:
    """Whether the keys of one model are Hugging Face's rather than the original ones."""
    return any(name.endswith((".codebook", ".embed_tokens.weight", "conv1d_1.weight")) for name in names)


def original_names(names: Iterable[str]) -> dict[str, str]:
    """{Hugging Face's name: name in the original grammar} of the keys of one model; unknown ones stay as they are."""
    names = list(names)
    # How many steps an encoder block has shows in its other keys: two entries of the list belong to a step.
    last: dict[str, int] = {}
    for name in names:
        block, found, rest = name.partition(".downsample_block.")
        if found and rest.partition(".")[0].isdecimal():
            last[block] = max(last.get(block, 0), int(rest.partition(".")[0]) // 2 + 1)
    return {
        name: next(
            (
                found
                for original, hugging_face in _RULES
                if (found := _translate(name, hugging_face, original, {"last": last.get(name.split(".proj_out.")[0])}))
            ),
            name,
        )
        for name in names
    }


def _translate(name: str, source: str, target: str, known: dict[str, int | None]) -> str | None:
    """`name` written after the template `target`, if it follows the template `source`."""
    pattern, offset = _pattern(source)
    match = pattern.fullmatch(name)
    if match is None:
        return None
    values = known | match.groupdict()
    if offset is not None:
        step, odd = divmod(int(values["s"]) - offset, 2)
        if odd:
            return None
        values["s"] = step

    def value(field: re.Match) -> str:
        return str(2 * int(values["s"]) + int(field["offset"] or 0) if field["step"] else values[field["field"]])

    return _FIELD.sub(value, target)


@functools.cache
def _pattern(template: str) -> tuple[re.Pattern, int | None]:
    """The template as a regular expression, and the offset of its 2s+offset, if it has one."""
    offsets = [int(field["offset"] or 0) for field in _FIELD.finditer(template) if field["step"]]
    parts, end = [], 0
    for field in _FIELD.finditer(template):
        name = "s" if field["step"] else field["field"]
        parts += [re.escape(template[end : field.start()]), f"(?P<{name}>{_MEANING.get(name, '[0-9]+')})"]
        end = field.end()
    return re.compile("".join(parts) + re.escape(template[end:])), next(iter(offsets), None)

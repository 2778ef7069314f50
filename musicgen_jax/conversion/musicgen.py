"""MusicGen's published models <-> native folders of a codec, a prior and a text encoder, ready to be sampled.

Read are Hugging Face's composites, one file or an index of several with config.json and spiece.model beside them, and
audiocraft's state_dict.bin with compression_state_dict.bin beside it, whose text encoder is published elsewhere.
"""

import dataclasses
import json
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import yaml

from musicgen_jax import config, kinds, pretrained
from musicgen_jax.conversion import (
    checkpoint_files,
    encodec,
    encodec_settings,
    encodec_weights,
    musicgen_tensors,
    native,
    t5,
    weight_table,
)
from musicgen_jax.runtime import buckets, console, files, records
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.text import tokens

LICENCE = (
    "MusicGen's published weights are under CC-BY-NC 4.0: neither they nor anything made from them may be used "
    "commercially. The licence stays with the converted files."
)
FOLDERS = {"tokenizer": "vqvae", "prior": "codes", "text": "text_encoder"}
WHOLE_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "state_dict.bin")
CODEC = "compression_state_dict.bin"  # beside audiocraft's state_dict.bin
WINDOW_SECONDS = 30.0  # of training
CHROMA_HOP = 4096  # samples of a frame of melody, at the codec's rate
_HEAD_DIM = 64  # of all published models
_AUDIOCRAFT = "transformer.layers."  # a name of theirs begins so
_UNUSED = (r".*embed_positions\.weights$", r"condition_provider\.conditioners\.self_wav\.(?!output_proj\.).*")

Tensors = Mapping[str, Any]


def import_checkpoint(checkpoint: pathlib.Path, out: pathlib.Path, window_seconds: float = WINDOW_SECONDS) -> None:
    """Published model -> the folders vqvae, codes (the prior) and text_encoder in `out`.

    Args:
      checkpoint: a file that `checkpoint_files.read` takes, or the folder that has one of `WHOLE_FILES`. A file without
        codec (audiocraft's) takes it from `CODEC` beside it; one without text encoder is read without: convert that
        of its name to text_encoder, by --source=t5.
      out: new or empty.
      window_seconds: how much music the prior was trained to hear together.

    Raises:
      NotFoundError: no such file, or no spiece.model beside a composite.
      UserError: it holds something else; every missing, unexpected and mis-shaped key is listed.
    """
    files.output_folder(out)
    path = _file_in(checkpoint)
    tensors, beside = checkpoint_files.read_wrapped(path, "best_state")
    own = {name: tensor for name, tensor in tensors.items() if not any(re.match(one, name) for one in _UNUSED)}
    parts = _split(own)
    text = beside.get("xp.cfg")
    told = _of_audiocraft(text, path) if isinstance(text, str) else _read_config(path.parent)
    model = infer_config(parts["prior"], told)
    weight_table.require_none(musicgen_tensors.differences(_table(parts["prior"], model), parts["prior"]))
    with files.all_or_nothing(out):
        if parts["text"]:
            _write_text(parts["text"], path.parent, out / FOLDERS["text"])
        _write_codec(parts["tokenizer"], told, path, out / FOLDERS["tokenizer"])
        _write_prior(parts["prior"], model, out, window_seconds)


def export_checkpoint(folder: pathlib.Path, checkpoint: pathlib.Path) -> None:
    """Native folders -> a composite of Hugging Face in .safetensors, with config.json and spiece.model beside it; or
    audiocraft's file of the prior alone, in .bin.

    Raises:
      NotFoundError: a folder is not there.
      UserError: `checkpoint` exists or has another extension; the prior has parts that MusicGen has not.
    """
    checkpoint_files.check_new(checkpoint)
    prior = pretrained.load_prior(str(folder / FOLDERS["prior"]))
    model = prior.config
    _require_published(model, prior.functional)
    if checkpoint.suffix != ".safetensors":
        tensors = musicgen_tensors.to_published(musicgen_tensors.audiocraft(model), prior.weights[0])
        about = {"xp.cfg": to_audiocraft(model), "version": "1.3.0", "exported": True}
        checkpoint_files.export(checkpoint, tensors, "best_state", about)
        return
    run, params, codec_buffers = pretrained.load_encodec_weights(str(folder / FOLDERS["tokenizer"]))
    encoder = pretrained.load_text_encoder(str(folder / FOLDERS["text"]))
    tensors = musicgen_tensors.to_published(musicgen_tensors.hugging_face(model), prior.weights[0])
    plain = weight_table.to_published(encodec_weights.weights(run.model), {"params": params, "buffers": codec_buffers})
    codec = encodec_weights.published(plain, run.model, False)
    tensors |= {f"audio_encoder.{name}": one for name, one in codec.items()}
    tensors |= {f"{t5.PART}{name}": one for name, one in t5.to_published(encoder).items()}
    checkpoint_files.export(checkpoint, tensors)
    about = to_hugging_face(model, encodec_settings.to_hugging_face(run.model), t5.published(encoder.config))
    files.write_json(checkpoint.with_name("config.json"), about)
    shutil.copyfile(folder / FOLDERS["text"] / tokens.FILE_NAME, checkpoint.with_name(tokens.FILE_NAME))


def infer_config(tensors: Tensors, told: Mapping[str, Any]) -> config.MusicgenConfig:
    """The sizes of a prior: of its tensors, and what those do not tell of config.json.

    Args:
      tensors: of the prior, under Hugging Face's names or audiocraft's.
      told: of config.json; {} takes what all published models have.

    Raises:
      UserError: they are those of no MusicGen.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    original = _is_audiocraft(tensors)
    table = "emb" if original else "decoder.model.decoder.embed_tokens"
    layer = "transformer.layers" if original else "decoder.model.decoder.layers"
    hidden, first = ("linear1" if original else "fc1"), next(iter(shapes), "nothing")
    for name in (f"{table}.0.weight", f"{layer}.0.{hidden}.weight"):
        rule = f"there is no matrix {name}; the first key is {first}"
        config.require(len(shapes.get(name, ())) == 2, f"the file holds no MusicGen: {rule}")
    rows, width = shapes[f"{table}.0.weight"]
    layers = [int(found[1]) for name in shapes if (found := re.match(rf"{re.escape(layer)}\.(\d{{1,4}})\.", name))]
    books = sum(re.fullmatch(rf"{re.escape(table)}\.\d+\.weight", name) is not None for name in shapes)
    texts, melodies = (
        ("condition_provider.conditioners.description.output_proj", "condition_provider.conditioners.self_wav")
        if original
        else ("enc_to_dec_proj", "audio_enc_to_dec_proj")
    )
    decoder = records.check(dict[str, Any], told.get("decoder", {}), "config.json: decoder")
    heads = records.check(int, decoder.get("num_attention_heads", max(width // _HEAD_DIM, 1)), "num_attention_heads")
    melody = any(name.startswith(melodies) for name in shapes)
    stereo = decoder.get("audio_channels", 2 if books == 8 else 1) == 2
    model = config.MusicgenConfig(
        num_codes=rows - 1,
        num_codebooks=books,
        pattern="stereo_delay" if stereo else "delay",
        text_width=(*shapes.get(f"{texts}.weight", ()), 1, 1)[1],
        text_padding="zeros" if original else "masked",
        melody=melody,
        chroma_frames=records.check(int, told.get("chroma_length", 235), "chroma_length") if melody else 0,
        transformer=config.MusicgenTransformerConfig(
            num_layers=min(max(layers, default=0) + 1, len(shapes)),  # a key may say any number
            width=width,
            num_heads=heads,
            head_dim=max(width // max(heads, 1), 1),
            mlp_width=shapes[f"{layer}.0.{hidden}.weight"][0],
        ),
    )
    model.validate()
    return model


def _file_in(path: pathlib.Path) -> pathlib.Path:
    """The file itself, or that of `WHOLE_FILES` which lies in a folder."""
    if not path.is_dir():
        return path
    found = [path / name for name in WHOLE_FILES if pathlib.Path(buckets.fetched(path / name)).is_file()]
    config.require(bool(found), f"{path} holds none of {', '.join(WHOLE_FILES)}: pass the folder of a published model")
    return found[0]


def _read_config(folder: pathlib.Path) -> dict[str, Any]:
    path = pathlib.Path(buckets.fetched(folder / "config.json"))
    return files.read_json(path, "copy it from where the weights were published: it says what the codec is")


def _of_audiocraft(text: str, path: pathlib.Path) -> dict[str, Any]:
    """What a file of audiocraft says of itself in YAML, in the words of Hugging Face's config.json."""
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{path}: its xp.cfg is no YAML; fetch the file again") from error
    where = f"{path}: xp.cfg"
    tree = records.check(dict[str, Any], values, where)
    sizes = records.check(dict[str, Any], tree.get("transformer_lm"), f"{where}: transformer_lm")
    delays: Any = tree
    for key in ("codebooks_pattern", "delay", "delays"):
        delays = records.check(dict[str, Any], delays, f"{where}: codebooks_pattern").get(key, {})
    delays = list(records.check(tuple[int, ...], delays, f"{where}: codebooks_pattern.delay.delays"))
    known = {"delay": list(range(len(delays))), "stereo_delay": [book // 2 for book in range(len(delays))]}
    rule = f"must be one after the other, {known['delay']}, or two by two, {known['stereo_delay']}"
    config.require(delays in known.values(), f"{where}: delays={delays}: {rule}")
    heads = records.check(int, sizes.get("num_heads"), f"{where}: transformer_lm.num_heads")
    stereo = len(delays) > 1 and delays == known["stereo_delay"]
    return {"decoder": {"num_attention_heads": heads, "audio_channels": 2 if stereo else 1}}


def _is_audiocraft(tensors: Tensors) -> bool:
    return any(name.startswith(_AUDIOCRAFT) for name in tensors)


def _table(tensors: Tensors, model: config.MusicgenConfig) -> list[musicgen_tensors.Tensor]:
    return (musicgen_tensors.audiocraft if _is_audiocraft(tensors) else musicgen_tensors.hugging_face)(model)


def _split(tensors: Tensors) -> dict[str, dict[str, Any]]:
    """{"tokenizer", "prior", "text"} -> tensors, under names of their own."""
    prefixes = {"audio_encoder.": "tokenizer", t5.PART: "text"}
    parts: dict[str, dict[str, Any]] = {"tokenizer": {}, "prior": {}, "text": {}}
    for name, tensor in tensors.items():
        prefix = next((one for one in prefixes if name.startswith(one)), "")
        parts[prefixes.get(prefix, "prior")][name.removeprefix(prefix)] = tensor
    return parts


def _write_text(tensors: Tensors, folder: pathlib.Path, out: pathlib.Path) -> None:
    t5.require_vocabulary(folder)
    model = t5.infer_config(tensors, t5.read_published(folder))
    weight_table.require_none(t5.differences(model, tensors))
    t5.write(model, tensors, folder, out)


def _write_codec(tensors: Tensors, told: Mapping[str, Any], path: pathlib.Path, out: pathlib.Path) -> None:
    if not tensors:
        encodec.import_checkpoint(path.with_name(CODEC), out)
        return
    values = records.check(dict[str, Any], told.get("audio_encoder"), f"{path.parent}/config.json: audio_encoder")
    shapes = {name: tuple(tensor.shape) for name, tensor in encodec_weights.plain(tensors).items()}
    encodec.import_tensors(tensors, encodec_settings.of_hugging_face(values, shapes, str(path)), out)


def _write_prior(tensors: Tensors, model: config.MusicgenConfig, out: pathlib.Path, window_seconds: float) -> None:
    """Writes the prior of the codec, and of the text encoder if there is one, that lie in `out` already."""
    layout = pretrained.load_vqvae(str(out / FOLDERS["tokenizer"])).layout
    stream, text = layout.streams[0], out / FOLDERS["text"]
    channels = 2 if model.pattern == "stereo_delay" else 1
    config.require(
        (stream.num_codes, channels * stream.num_codebooks) == (model.num_codes, model.num_codebooks),
        f"the codec makes {stream}, and the prior is of {model.num_codebooks} codes of {model.num_codes}: they are not "
        "of the same model",
    )
    rate = layout.frames_per_second(stream.name)
    model = dataclasses.replace(
        model,
        tier=stream.name,
        context=round(window_seconds * rate),
        codes_per_second=rate,
        track_seconds=window_seconds,
        vqvae=layout.fingerprint,
        chroma_seconds=model.chroma_frames * CHROMA_HOP / layout.sample_rate,
        text_encoder=pretrained.load_text_encoder(str(text)).fingerprint if text.is_dir() else "",
    )
    run = config.MusicgenTraining(model=model)
    functional = kinds.of(run).functional(run)
    abstract = native.abstract(functional)
    console.say_devices()
    count = sum(leaf.size for leaf in jax.tree.leaves(abstract["params"]))
    folder = out / FOLDERS["prior"]
    print(f"{files.describe_path(folder)}: {count:,} parameters, takes up to {8e-9 * count:.2f} GB of memory")
    params = musicgen_tensors.to_native(_table(tensors, model), tensors, abstract["params"])
    native.write(folder, run, model, {"params": params})


def _require_published(model: config.MusicgenConfig, functional: Any) -> None:
    """Raises UserError for a prior with parts that the published formats have no place for."""
    config.require(
        isinstance(model, config.MusicgenConfig) and model.quantization.weights == "float",
        "only a MusicGen of float weights is written: pass a folder of convert or train_prior, not of compress",
    )
    table = musicgen_tensors.hugging_face(model)
    known = {region.path for tensor in table for region in tensor.regions}
    paths = jax.tree_util.tree_leaves_with_path(native.abstract(functional)["params"])
    others = sorted({".".join(own) for path, _ in paths if (own := tuple(part.key for part in path)) not in known})
    config.require(not others, f"MusicGen's files have no place for {', '.join(others)}: it was told more than text")


def to_hugging_face(model: config.MusicgenConfig, codec: dict, text: dict) -> dict[str, Any]:
    """The config.json of a composite, around those of its codec and text encoder."""
    settings, name = model.transformer, "musicgen_melody" if model.melody else "musicgen"
    special = {"pad_token_id": model.num_codes, "bos_token_id": model.num_codes}
    decoder = {
        "model_type": f"{name}_decoder",
        "vocab_size": model.num_codes,
        "num_codebooks": model.num_codebooks,
        "audio_channels": 2 if model.pattern == "stereo_delay" else 1,
        "num_hidden_layers": settings.num_layers,
        "hidden_size": settings.width,
        "num_attention_heads": settings.num_heads,
        "ffn_dim": settings.mlp_width,
        "activation_function": "gelu",
        "scale_embedding": False,
        **special,
    }
    architecture = "MusicgenMelody" if model.melody else "Musicgen"
    about = {
        "architectures": [f"{architecture}ForConditionalGeneration"],
        "model_type": name,
        "is_encoder_decoder": True,
    }
    melody = {"num_chroma": config.PITCH_CLASSES, "chroma_length": model.chroma_frames} if model.melody else {}
    return about | melody | {"text_encoder": text, "audio_encoder": codec, "decoder": decoder}


def to_audiocraft(model: config.MusicgenConfig) -> str:
    """The YAML in which a file of audiocraft says which model it holds; JSON is YAML."""
    settings, books = model.transformer, range(model.num_codebooks)
    delays = [book // 2 for book in books] if model.pattern == "stereo_delay" else list(books)
    sizes = {
        "dim": settings.width,
        "num_heads": settings.num_heads,
        "num_layers": settings.num_layers,
        "hidden_scale": settings.mlp_width // settings.width,
        "n_q": model.num_codebooks,
        "card": model.num_codes,
    }
    return json.dumps(
        {"transformer_lm": sizes, "codebooks_pattern": {"modeling": "delay", "delay": {"delays": delays}}}
    )

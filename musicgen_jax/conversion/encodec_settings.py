"""EnCodec's settings, from what published files say of themselves: Hugging Face's config.json, audiocraft's YAML."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import yaml

from musicgen_jax import config
from musicgen_jax.config import encodec
from musicgen_jax.runtime import buckets, files, records
from musicgen_jax.runtime.errors import UserError

_NORMS = {"none": "none", "weight_norm": "none", "time_group_norm": "time_group"}  # theirs -> ours
Shapes = Mapping[str, tuple[int, ...]]


def of_file(checkpoint: pathlib.Path, plain: Mapping[str, Any], beside: Mapping[str, Any]) -> config.EncodecConfig:
    """The settings that a published file tells, or config.json beside it.

    Args:
      checkpoint: the file.
      plain: its tensors, of `encodec_weights.plain`; their shapes are read.
      beside: what else the file holds, of `checkpoint_files.read_wrapped`.

    Raises:
      UserError: nothing says what it is, or that contradicts the tensors.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in plain.items()}
    text = beside.get("xp.cfg")
    if isinstance(text, str):
        return of_audiocraft(text, shapes, str(checkpoint))
    path = pathlib.Path(buckets.fetched(checkpoint.parent / "config.json"))
    if not path.is_file():
        return of_shapes(shapes, str(checkpoint))
    values = files.read_json(path)
    values = values.get("audio_encoder", values)  # that of a MusicGen has the codec's as a part
    config.require(
        isinstance(values, dict) and values.get("model_type") == "encodec",
        f"{path} is of no EnCodec: its model_type must be 'encodec'; pass the file of one, with its config.json beside "
        "it",
    )
    return of_hugging_face(values, shapes, str(checkpoint))


def of_shapes(shapes: Shapes, where: str) -> config.EncodecConfig:
    """The settings of an original file, which holds weights alone: those of 24 kHz are mono, those of 48 kHz stereo.

    Args:
      shapes: {name of `encodec_weights.plain`: shape}.
      where: the file, in messages.

    Raises:
      UserError: it is neither.
    """
    first = shapes.get("encoder.layers.0.conv.weight", ())
    known = {(32, 1, 7): "24khz", (32, 2, 7): "48khz"}
    config.require(
        first in known,
        f"{where} holds weights alone, and not those of the published models of 24 or 48 kHz: its first convolution is "
        f"of the shape {list(first)}. Pass Hugging Face's file with config.json beside it, or audiocraft's "
        "compression_state_dict.bin, which say what they are",
    )
    settings = encodec.published(known[first])
    settings.quantizer = _quantizer_of(shapes, where)
    return settings


def of_hugging_face(values: Mapping[str, Any], shapes: Shapes, where: str) -> config.EncodecConfig:
    """The settings that a config.json of `EncodecModel` tells; the codebooks are those that the file has.

    Args:
      values: from config.json. What it leaves out is as in the 24 kHz model, the library's default.
      shapes: as `of_shapes`.
      where: the file, in messages.

    Raises:
      UserError: a value is missing or of another type, or there is no such norm.
    """
    read = _Reader(values, where)
    norm = read("norm_type", str, "weight_norm")
    config.require(norm in _NORMS, f"{where}: norm_type is {norm!r}: must be one of {', '.join(_NORMS)}")
    settings = config.EncodecConfig(
        sample_rate=read("sampling_rate", int, 24_000),
        channels=read("audio_channels", int, 1),
        filters=read("num_filters", int, 32),
        strides=tuple(reversed(read("upsampling_ratios", tuple[int, ...], [8, 5, 4, 2]))),
        kernel=read("kernel_size", int, 7),
        last_kernel=read("last_kernel_size", int, 7),
        residual_kernel=read("residual_kernel_size", int, 3),
        residual_layers=read("num_residual_layers", int, 1),
        dilation_growth=read("dilation_growth_rate", int, 2),
        compress=read("compress", int, 2),
        shortcut="convolution" if read("use_conv_shortcut", bool, True) else "identity",
        lstm_layers=read("num_lstm_layers", int, 2),
        causal=read("use_causal_conv", bool, True),
        padding=read("pad_mode", str, "reflect"),
        trim_right=float(read("trim_right_ratio", float, 1.0)),
        norm=_NORMS[norm],
        normalize=read("normalize", bool, False),
        chunk_seconds=float(read("chunk_length_s", float, 0.0)),
        chunk_overlap=float(read("overlap", float, 0.0)),
        quantizer=_quantizer_of(shapes, where),
    )
    _check_shortcuts(settings, shapes, where)
    settings.validate()
    return settings


def of_audiocraft(text: str, shapes: Shapes, where: str) -> config.EncodecConfig:
    """The settings that the YAML in a file of audiocraft tells, its `xp.cfg`; arguments and errors as
    `of_hugging_face`."""
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{where}: its xp.cfg is no YAML; fetch the file again") from error
    tree = records.check(dict[str, Any], values, f"{where}: xp.cfg")
    seanet = _Reader(tree, f"{where}: xp.cfg", "seanet")
    norm = seanet("norm", str)
    config.require(norm in _NORMS, f"{where}: seanet.norm is {norm!r}: must be one of {', '.join(_NORMS)}")
    settings = config.EncodecConfig(
        sample_rate=_Reader(tree, f"{where}: xp.cfg")("sample_rate", int),
        channels=seanet("channels", int),
        filters=seanet("n_filters", int),
        strides=tuple(reversed(seanet("ratios", tuple[int, ...]))),
        kernel=seanet("kernel_size", int),
        last_kernel=seanet("last_kernel_size", int),
        residual_kernel=seanet("residual_kernel_size", int),
        residual_layers=seanet("n_residual_layers", int),
        dilation_growth=seanet("dilation_base", int),
        compress=seanet("compress", int),
        shortcut="identity" if seanet("true_skip", bool) else "convolution",
        lstm_layers=seanet("lstm", int),
        causal=seanet("causal", bool),
        padding=seanet("pad_mode", str),
        trim_right=float(_Reader(tree, f"{where}: xp.cfg", "seanet.decoder")("trim_right_ratio", float, 1.0)),
        norm=_NORMS[norm],
        normalize=_Reader(tree, f"{where}: xp.cfg", "encodec")("renormalize", bool, False),
        quantizer=_quantizer_of(shapes, where),
    )
    _check_shortcuts(settings, shapes, where)
    settings.validate()
    return settings


def to_hugging_face(settings: config.EncodecConfig) -> dict[str, Any]:
    """The config.json of `EncodecModel` for these settings; inverse of `of_hugging_face`."""
    # That library finds the number of codebooks from it, rounding down.
    bits = (settings.quantizer.num_codes - 1).bit_length() * settings.quantizer.num_codebooks
    kilobits = (-(-settings.sample_rate // settings.hop_length) * bits + 0.001) / 1000
    return {
        "architectures": ["EncodecModel"],
        "model_type": "encodec",
        "target_bandwidths": [kilobits],
        "sampling_rate": settings.sample_rate,
        "audio_channels": settings.channels,
        "normalize": settings.normalize,
        "chunk_length_s": settings.chunk_seconds or None,
        "overlap": settings.chunk_overlap if settings.chunk_seconds else None,
        "hidden_size": settings.quantizer.code_width,
        "codebook_dim": settings.quantizer.code_width,
        "codebook_size": settings.quantizer.num_codes,
        "num_filters": settings.filters,
        "num_residual_layers": settings.residual_layers,
        "upsampling_ratios": list(reversed(settings.strides)),
        "norm_type": "time_group_norm" if settings.norm == "time_group" else "weight_norm",
        "kernel_size": settings.kernel,
        "last_kernel_size": settings.last_kernel,
        "residual_kernel_size": settings.residual_kernel,
        "dilation_growth_rate": settings.dilation_growth,
        "use_causal_conv": settings.causal,
        "pad_mode": settings.padding,
        "compress": settings.compress,
        "num_lstm_layers": settings.lstm_layers,
        "trim_right_ratio": settings.trim_right,
        "use_conv_shortcut": settings.shortcut == "convolution",
    }


def to_audiocraft(settings: config.EncodecConfig) -> str:
    """The YAML of a file of audiocraft for these settings; inverse of `of_audiocraft`."""
    width, norm = settings.quantizer.code_width, "time_group_norm" if settings.norm == "time_group" else "weight_norm"
    common = {"sample_rate": settings.sample_rate, "channels": settings.channels}
    seanet = {
        "dimension": width,
        "channels": settings.channels,
        "causal": settings.causal,
        "n_filters": settings.filters,
        "n_residual_layers": settings.residual_layers,
        "ratios": list(reversed(settings.strides)),
        "activation": "ELU",
        "activation_params": {"alpha": 1.0},
        "norm": norm,
        "norm_params": {},
        "kernel_size": settings.kernel,
        "residual_kernel_size": settings.residual_kernel,
        "last_kernel_size": settings.last_kernel,
        "dilation_base": settings.dilation_growth,
        "pad_mode": settings.padding,
        "true_skip": settings.shortcut == "identity",
        "compress": settings.compress,
        "lstm": settings.lstm_layers,
        "disable_norm_outer_blocks": 0,
        "encoder": {},
        "decoder": {"trim_right_ratio": settings.trim_right, "final_activation": None},
    }
    own = {"autoencoder": "seanet", "quantizer": "rvq", "causal": settings.causal, "renormalize": settings.normalize}
    quantizer = {"n_q": settings.quantizer.num_codebooks, "bins": settings.quantizer.num_codes, "q_dropout": False}
    parts = {"device": "cpu", "compression_model": "encodec", **common}
    return yaml.safe_dump(parts | {"encodec": own | common, "seanet": seanet, "rvq": quantizer}, sort_keys=False)


class _Reader:
    """Values of one part of a tree of settings, whose text may name others of the tree: ${encodec.channels}."""

    def __init__(self, tree: Mapping[str, Any], where: str, part: str = ""):
        self._tree, self._where, self._part = tree, where, part

    def __call__(self, name: str, kind: Any, default: Any = None) -> Any:
        """A value of a type. Without a `default`, UserError where there is none."""
        path = f"{self._part}.{name}" if self._part else name
        value = self._find(path)
        config.require(
            value is not None or default is not None,
            f"{self._where} does not say {path}: pass the file and its settings as they were published",
        )
        if value is None:
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        return records.check(kind, value, f"{self._where}: {path}")

    def _find(self, path: str) -> Any:
        for _ in range(10):  # names of names; more would be a circle
            value: Any = self._tree
            for key in path.split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
            named = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
            if named is None:
                return value
            path = named[1]
        return None


def _quantizer_of(shapes: Shapes, where: str) -> config.QuantizerConfig:
    """Of the codebooks that a file has: the bit rates of its settings count 10 bits a code, whatever it has."""
    found = [shape for name, shape in shapes.items() if re.fullmatch(r"quantizer\.layers\.\d+\.codebook\.embed", name)]
    config.require(
        bool(found) and len(set(found)) == 1 and len(found[0]) == 2,
        f"{where} holds {len(found)} codebooks of the shapes {sorted(set(found))}: EnCodec has some of one shape",
    )
    (num_codes, width), *_ = found
    return config.QuantizerConfig(num_codes=num_codes, num_codebooks=len(found), code_width=width)


def _check_shortcuts(settings: config.EncodecConfig, shapes: Shapes, where: str) -> None:
    """Two published configs of the 32 kHz model disagree about this, of which one does not fit the weights."""
    has = any(".shortcut." in name for name in shapes)
    wanted = settings.shortcut == "convolution"
    config.require(
        has == wanted,
        f"{where} {'has' if has else 'lacks'} the convolutions of shortcuts, and its settings say "
        f"{'that there are' if wanted else 'that there are none'} (use_conv_shortcut, true_skip): take weights and "
        "config.json from one revision",
    )

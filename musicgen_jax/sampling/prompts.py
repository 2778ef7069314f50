"""What new music starts from: codes of a recording, of a file of codes, or of former samples."""

import dataclasses
import hashlib
import os
import pathlib
import reprlib
from typing import Any

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import code_file
from musicgen_jax.codes.layout import Layout
from musicgen_jax.data import audio_io
from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.runtime import console, files
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers.tokenizer import Tokenizer

CODES_SUFFIX, SAMPLES_SUFFIX = ".codes", ".npz"
SAMPLES_INFO = "samples.json"  # beside the codes of former samples


@dataclasses.dataclass(frozen=True)
class Prompt:
    """Codes of one or several pieces of equal length; sample i takes piece i modulo their number.

    Attributes:
      name: where they come from, for messages.
      codes: {stream: int32 [N, T, Q]} of the same stretch, whole frames of the coarsest stream.
      seconds: their length.
    """

    name: str
    codes: dict[str, np.ndarray]
    seconds: float

    @property
    def digest(self) -> str:
        """Hexadecimal digest of the codes, 16 characters."""
        digest = hashlib.sha256()
        for tier, codes in self.codes.items():
            shape = codes.shape if codes.shape[2] > 1 else codes.shape[:2]  # as it was before there were several
            digest.update(f"{tier}{shape}".encode() + codes.tobytes())
        return digest.hexdigest()[:16]

    def rows(self, tier: str, num_samples: int) -> np.ndarray:
        """Codes of one stream for every sample, int32 [num_samples, T, Q]."""
        return self.codes[tier][np.arange(num_samples) % len(self.codes[tier])]


def load(source: str | os.PathLike[str] | np.ndarray, tokenizer: Tokenizer, timbre: str = "") -> Prompt:
    """Reads a prompt.

    Args:
      source: a recording (wav, flac, ogg, mp3 of any rate), a file that extract_codes --file wrote (.codes), the
        codes.npz of former samples, or a waveform at the tokenizer's rate: an array or list of floats [S], of one or
        two channels [S, C], whose mean counts, or of several pieces [N, S]; or a MIDI file or a score, which the
        synthesizer plays. What follows the last whole code of the top tier is left out: padded, it would sound like an
        end.
      tokenizer: the VQ-VAE of the priors.
      timbre: of the synthesizer, by name; another name, such as a genre that is none, is its first.

    Raises:
      NotFoundError: there is no such file.
      UserError: the file is of no such kind, damaged, of another tokenizer, or shorter than a code of the top tier; or
        the waveform is of integers, NaN or infinite.
    """
    written = score_of(source)
    if written is not None:
        return played(*written, tokenizer, timbre)
    if not isinstance(source, str | os.PathLike):
        return _encode("prompt: the waveform", waveform(source), tokenizer)
    path = files.local_path(source, "prompt")
    suffix = path.suffix.lower()
    if suffix == CODES_SUFFIX:
        return _from_code_file(path, tokenizer)
    if suffix == SAMPLES_SUFFIX:
        return _from_samples(path, tokenizer)
    known = (CODES_SUFFIX, SAMPLES_SUFFIX, *audio_io.EXTENSIONS, *midi.SUFFIXES)
    config.require(suffix in known, f"`prompt`={path}: the name must end in one of {', '.join(known)}")
    with audio_io.open_audio(path) as file:
        blocks = list(audio_io.mono_blocks(file, tokenizer.layout.sample_rate))
        for warning in file.warnings:
            console.say(f"note: {file.name}: {warning}")
    audio = np.concatenate([np.zeros(0, np.float32), *blocks])
    return _encode(files.describe_path(path), audio, tokenizer)


def score_of(source: Any) -> tuple[str, Score] | None:
    """(name, score) of a prompt that is a MIDI file or a score; None of any other.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is damaged, or holds no note.
    """
    name, found = "the score", source
    if isinstance(source, str | os.PathLike):
        path = files.local_path(source, "prompt")
        if path.suffix.lower() not in midi.SUFFIXES:
            return None
        name, found = files.describe_path(path), midi.read(path, apply_sustain=True)
    if not isinstance(found, Score):
        return None
    config.require(not found.empty, f"`prompt`={name}: there is no note to play")
    return name, found


def played(name: str, score: Score, tokenizer: Tokenizer, timbre: str = "") -> Prompt:
    """The prompt that the synthesizer makes of a score; arguments and errors as of `load`."""
    voice = next((one for one in timbres.ALL if one.name == timbre), timbres.ALL[0])
    return _encode(name, synthesizer.render_score(score, voice, tokenizer.layout.sample_rate), tokenizer)


def _encode(name: str, audio: np.ndarray, tokenizer: Tokenizer) -> Prompt:
    hop = tokenizer.layout.hop_length
    with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite
        rows = np.atleast_2d(audio).astype(np.float32)
    config.require(bool(np.isfinite(rows).all()), f"{name} holds samples that are NaN or infinite")
    rows = rows[:, : rows.shape[1] // hop * hop]
    encoded = [tokenizer.encode(iter([row])) for row in rows]
    codes = {tier: np.stack([one[tier] for one in encoded]) for tier in tokenizer.layout.names if encoded}
    return _checked(name, codes, tokenizer.layout)


def waveform(source: Any, name: str = "prompt") -> np.ndarray:
    """Floats [S] or [N, S] of an array of NumPy or JAX, or lists; channels [S, C] are mixed.

    Raises:
      UserError: it is none; the message begins with the argument's `name`.
    """
    try:
        audio = np.asarray(source)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{name}={reprlib.repr(source)}: must be a path, or a waveform as an array of floats"
        ) from error
    floats = jax.dtypes.issubdtype(audio.dtype, np.floating)
    config.require(
        floats, f"{name}: the waveform is of {audio.dtype}: pass floats, where full scale is from -1 to 1, or a path"
    )
    config.require(
        audio.ndim in (1, 2),
        f"{name}: the waveform has shape {audio.shape}: pass [S], [S, 2], or [N, S] for several pieces",
    )
    channels = audio.ndim == 2 and 1 <= audio.shape[1] <= audio_io.MAX_CHANNELS
    return audio.astype(np.float64).mean(axis=1) if channels else audio


def _from_code_file(path: pathlib.Path, tokenizer: Tokenizer) -> Prompt:
    recording = code_file.read(path)
    _require_tokenizer(path, recording.layout.fingerprint, tokenizer.fingerprint)
    code_file.require_fit(recording, tokenizer.layout, path)
    layout = tokenizer.layout
    samples = recording.num_samples // layout.hop_length * layout.hop_length
    codes = {name: one[None, : samples // layout.stream(name).hop_length] for name, one in recording.codes.items()}
    return _checked(str(path), codes, tokenizer.layout)


def _from_samples(path: pathlib.Path, tokenizer: Tokenizer) -> Prompt:
    if not path.is_file():
        raise NotFoundError(f"no such file: {path}; pass the codes.npz that sample wrote")
    info = path.with_name(SAMPLES_INFO)
    config.require(
        info.is_file(),
        f"{path} has no {SAMPLES_INFO} beside it, which tells the tokenizer of its codes: pass the codes.npz of a "
        "complete folder of sample",
    )
    facts, stored = files.read_json(info), files.read_arrays(path)
    codes = {tier: stored[tier] for tier in tokenizer.layout.names if tier in stored}
    for tier, array in codes.items():
        codes[tier] = array = array[..., None] if array.ndim == 2 else array  # older: of the one codebook
        fits = array.ndim == 3 and array.shape[2] == tokenizer.layout.stream(tier).num_codebooks
        sound = fits and len(array) > 0 and np.issubdtype(array.dtype, np.integer)
        config.require(sound, f"{path} is damaged: {tier} must be integers [N, T, Q], N at least 1")
    config.require(len({len(array) for array in codes.values()}) <= 1, f"{path}: its tiers differ in number of samples")
    _require_tokenizer(path, facts.get("vqvae_fingerprint", "unknown"), tokenizer.fingerprint)
    return _checked(str(path), codes, tokenizer.layout)


def _require_tokenizer(path: pathlib.Path, found: str, wanted: str) -> None:
    config.require(
        found == wanted,
        f"`prompt`={path}: its codes are of the tokenizer {found}, and `vqvae` is {wanted}: pass the recording itself, "
        "or codes of this tokenizer",
    )


def _checked(name: str, codes: dict[str, np.ndarray], layout: Layout) -> Prompt:
    """The prompt of these codes, integers [N, T, Q] of any of the streams."""
    config.require(bool(codes), f"{name} holds codes of no tier")
    lengths = {tier: array.shape[1] * layout.stream(tier).hop_length for tier, array in codes.items()}
    samples = next(iter(lengths.values()))
    hop, coarsest = layout.hop_length, layout.names[0]
    config.require(samples >= hop, f"{name}: shorter than one code of the {coarsest} tier, {hop} samples")
    config.require(set(lengths.values()) == {samples}, f"{name}: its tiers differ in length: {lengths} samples")
    for tier, array in codes.items():
        num_codes, num_codebooks = layout.stream(tier).num_codes, layout.stream(tier).num_codebooks
        rule = f"{name}: codes of the {tier} tier are of {array.shape[2]} codebooks, and all {num_codebooks} are needed"
        config.require(array.shape[2] == num_codebooks, rule)
        inside = array.min() >= 0 and array.max() < num_codes
        config.require(inside, f"{name}: codes of the {tier} tier are outside of [0, {num_codes})")
    return Prompt(name, {tier: array.astype(np.int32) for tier, array in codes.items()}, samples / layout.sample_rate)

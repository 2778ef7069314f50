"""A folder of samples: NNN.wav, codes.npz and samples.json with every setting and seed. Or codes as a wav file."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.audio import signal_checks
from musicgen_jax.codes import code_file
from musicgen_jax.data import audio_io
from musicgen_jax.nn import modules
from musicgen_jax.priors import trained
from musicgen_jax.runtime import console, files, folder_lock, progress_report, records
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import commissions, hierarchy, journals, options, performed, prompts, requests
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers.tokenizer import Tokenizer

INFO_NAME = prompts.SAMPLES_INFO
RINGING_SECONDS = 0.5  # that a note may be heard after its end
MAX_WAV_BYTES = 2**32 - 2**16  # a wav file counts its bytes in 32 bits


def sample_to_folder(
    tokenizer: Tokenizer,
    priors: Mapping[str, trained.TrainedPrior],
    request: requests.Request,
    out: str,
    models: dict[str, str],
    prompt: prompts.Prompt | None = None,
    scores: performed.Performable | None = None,
) -> None:
    """Samples, decodes the finest tier, and writes the folder; does nothing where it holds this request already.

    Every finished window is kept in OUT/.musicgen_jax.partial: the same call goes on where an interrupted one was.

    Args:
      tokenizer: the VQ-VAE whose codes the priors model.
      priors: by tier.
      request: what to sample.
      out: the folder.
      models: flag name -> workdir, kept in samples.json.
      prompt: what the music starts from, as `request.mode` says.
      scores: what the samples perform, composed here where it is not written yet; NNN.mid is that of NNN.wav.

    Raises:
      UserError: the request does not fit the models; or `out` holds the samples of another request, whole or begun, or
        other things, or another process writes there.
    """
    folder = own_folder(out)
    request.validate(tokenizer.layout, priors, prompt, scores)
    facts = _facts(tokenizer, priors, request, prompt, scores)
    if not is_complete(folder, facts):
        with folder_lock.hold(folder, "sampling"):
            if not is_complete(folder, facts):  # another process may have done it until now
                _sample(folder, tokenizer, priors, request, facts, models, prompt, scores)
                return
    journals.remove(folder)
    print(f"{files.describe_path(out)} is complete already, with the same settings; nothing to do")


def own_folder(out: str | os.PathLike[str]) -> pathlib.Path:
    """The folder, if it is new, empty, or of an earlier call: whole or begun. Raises UserError otherwise."""
    key = "vqvae_fingerprint"
    return files.output_folder(out, {INFO_NAME: key, f"{journals.FOLDER_NAME}/{journals.FACTS_NAME}": key})


def _sample(
    folder: pathlib.Path,
    tokenizer: Tokenizer,
    priors: Mapping[str, trained.TrainedPrior],
    request: requests.Request,
    facts: dict,
    models: dict[str, str],
    prompt: prompts.Prompt | None,
    scores: performed.Performable | None,
) -> None:
    journal = journals.Journal(folder, facts)
    written = commissions.fulfilled(scores, journal, show_progress=True)
    sampler = hierarchy.Hierarchy(tokenizer.layout, priors, request, prompt, scores=written, journal=journal)
    codes, finest = sampler.complete(), sampler.finest
    with files.replaced(folder / "codes.npz", aside=journal.folder) as file:
        np.savez_compressed(file, **{tier: array.astype(np.int16) for tier, array in codes.items()})
    samples = []
    for index, sample in enumerate(codes[finest]):
        name, audio = f"{index:03d}.wav", tokenizer.decode(sample, finest)
        about = {"seed": request.seed_of(index), "index": index, **request.told_of(index)}
        rate, played = tokenizer.layout.sample_rate, None if written is None else written.of(index)
        samples.append(write_sample(folder, name, audio, rate, aside=journal.folder, score=played) | about)
        if played is not None:
            samples[-1]["score"] = f"{index:03d}.mid"
            played = played.clipped(len(audio) / rate)
            with files.replaced(folder / samples[-1]["score"], aside=journal.folder) as file:
                file.write(midi.to_bytes(played))
    sources = {"prompt": prompt, "score": scores}
    start = {name: facts[name] | {"from": source.name} for name, source in sources.items() if source is not None}
    info = facts | start | {"request": dataclasses.asdict(request), "models": models}
    info |= {"sample_rate": tokenizer.layout.sample_rate, "decoded_tier": finest, "samples": samples}
    # Last and at once: a folder with samples.json is complete.
    files.write_json(folder / INFO_NAME, info)
    journals.remove(folder)
    print(f"{files.describe_path(folder)}: {len(samples)} samples of {request.seconds:g} s")


def write_sample(
    folder: pathlib.Path,
    name: str,
    audio: np.ndarray,
    sample_rate: int,
    aside: pathlib.Path | None = None,
    score: Score | None = None,
) -> dict[str, Any]:
    """Writes one sample; returns its `file`, and what `signal_checks` says of what a player gets: `signal`, `flags`.

    Args:
      folder: where.
      name: of the file.
      audio: float32 [S], or of two channels [S, 2].
      sample_rate: Hz.
      aside: folder of the file that is not yet whole.
      score: what is performed: it says whether anything should sound at the end.
    """
    audio_io.write_wav(folder / name, audio, sample_rate, aside=aside)
    sounds = None if score is None else score.seconds > len(audio) / sample_rate - RINGING_SECONDS
    mono = audio if audio.ndim == 1 else audio.mean(axis=1)
    signal = dataclasses.asdict(signal_checks.check(np.clip(mono, -1, 1), sample_rate, sounds))
    flags = list(signal.pop("flags"))
    if flags:
        console.say(f"note: {folder / name}: {signal_checks.describe(flags)}")
    return {"file": name, "flags": flags, "signal": signal}


def is_complete(folder: pathlib.Path, facts: dict) -> bool:
    """Whether the folder holds these samples already. Raises UserError where it holds those of another request."""
    if not (folder / INFO_NAME).is_file():
        return False
    _require_same(folder, facts)
    return True


def _facts(
    tokenizer: Tokenizer,
    priors: Mapping[str, trained.TrainedPrior],
    request: requests.Request,
    prompt: prompts.Prompt | None,
    scores: performed.Performable | None,
) -> dict:
    """All that decides the samples, as JSON gives it back. Models and prompts are their contents, not their names."""
    facts = {
        "request": options.completed(dataclasses.asdict(request)),
        "prompt": None if prompt is None else {"seconds": prompt.seconds, "digest": prompt.digest},
        "score": None if scores is None else scores.facts,
        "vqvae_fingerprint": tokenizer.fingerprint,
        "prior_fingerprints": {tier: modules.fingerprint(*prior.weights) for tier, prior in priors.items()},
        "activations": {tier: prior.config.quantization.activations for tier, prior in priors.items()},
    }
    if request.texts:
        encoders = [prior.text_encoder.fingerprint for prior in priors.values() if prior.text_encoder is not None]
        facts["text_encoder_fingerprint"] = encoders[0] if encoders else ""
    return json.loads(json.dumps(facts))


def decode_to_wav(tokenizer: Tokenizer, codes: str, tier: str | None, out: str) -> None:
    """Writes the sound of a file of codes as a 16-bit wav, block by block: memory does not grow with its length.

    Args:
      tokenizer: the one that made the codes.
      codes: file that `extraction.extract_file` wrote.
      tier: which codes to decode; None for the finest in the file.
      out: wav file to write; absent. It has as many samples as the recording had at the tokenizer's rate.

    Raises:
      NotFoundError: there is no such file of codes.
      UserError: there is something in the place of `out`.
      UserError: the codes are of another tokenizer or lack the tier; the file is damaged; `out` does not end in .wav.
    """
    config.require(out.lower().endswith(".wav"), f"`out`={out}: what is written is a wav file: end its name in .wav")
    with code_file.new_file(out) as partial:
        recording = code_file.read(codes)
        tier = tier or recording.finest
        _require_decodable(recording, tokenizer, codes, tier)
        left = recording.num_samples  # the last code may reach beyond the recording's end
        with (
            files.blamed_on(out),
            open(partial, "wb") as file,
            audio_io.new_wav(file, recording.layout.sample_rate) as wav,
            progress_report.Progress("decode", recording.seconds, "audio-s") as progress,
        ):
            for block in tokenizer.decode_blocks(recording.codes[tier], tier):
                kept = block[:left]
                wav.writeframes(audio_io.to_int16(kept).tobytes())
                left -= len(kept)
                progress.update(len(kept) / recording.layout.sample_rate)
    print(f"{files.describe_path(out)}: {recording.seconds:.2f} s of the {tier} tier")


def _require_decodable(recording: code_file.Recording, tokenizer: Tokenizer, path: str, tier: str) -> None:
    config.require(
        recording.layout.fingerprint == tokenizer.fingerprint,
        f"{path} was made with the tokenizer {recording.layout.fingerprint}, and `vqvae` is {tokenizer.fingerprint}: "
        "pass the one that made it",
    )
    code_file.require_fit(recording, tokenizer.layout, path)
    there = ", ".join(recording.codes)
    config.require(tier in recording.codes, f"`tier`={tier}: {path} has codes of these tiers only: {there}")
    config.require(
        2 * recording.num_samples <= MAX_WAV_BYTES,
        f"{path}: its {recording.seconds / 3600:.1f} hours are more than a wav file holds",
    )


def read(folder: str) -> tuple[dict, list[np.ndarray]]:
    """(samples.json, the waveforms float32 [S] in its order).

    Raises:
      NotFoundError: no complete sampling run in `folder`.
      UserError: samples.json is damaged, or names a file that does not lie beside it.
    """
    info, names = read_info(folder)
    path = pathlib.Path(folder)
    for name in names:
        config.require((path / name).is_file(), f"{path / INFO_NAME} names {name!r}, which is no file beside it")
    return info, [audio_io.read_audio(path / name, info["sample_rate"]) for name in names]


def read_info(folder: str) -> tuple[dict, list[str]]:
    """(samples.json, the names of the files that it says lie beside it).

    Raises:
      NotFoundError: there is no samples.json.
      UserError: it is damaged, or names what cannot lie beside it.
    """
    path = pathlib.Path(folder) / INFO_NAME
    info = files.read_json(path, "pass a folder that sample wrote")
    sample_rate = records.check(int, info.get("sample_rate"), f"{path}: sample_rate")
    least, most = code_file.SAMPLE_RATES
    config.require(
        least <= sample_rate <= most, f"{path}: sample_rate is {sample_rate} and must be in [{least}, {most}] Hz"
    )
    samples = records.check(tuple[dict[str, Any], ...], info.get("samples"), f"{path}: samples")
    names = [records.check(str, item.get("file"), f"{path}: samples[{i}].file") for i, item in enumerate(samples)]
    for name in names:
        config.require(pathlib.PurePath(name).name == name != "", f"{path} names {name!r}, which is no file beside it")
    return info, names


def _require_same(folder: pathlib.Path, facts: dict) -> None:
    info = files.read_json(folder / INFO_NAME)
    found = {name: info.get(name) for name in facts}
    for name in ("prompt", "score"):
        if isinstance(found[name], dict):
            found[name].pop("from", None)
    if different := journals.differences(found, facts):
        raise UserError(f"{folder} holds the samples of another run ({'; '.join(different)}); choose another `out`")

"""A folder of samples: NNN.wav, codes.npz and samples.json with every setting and seed."""

import dataclasses
import json
import pathlib

import numpy as np

from musicgen_jax import modules
from musicgen_jax.data import audio_io
from musicgen_jax.prior import trained
from musicgen_jax.sampling import hierarchy
from musicgen_jax.vqvae import tokenizer as tokenizer_lib

INFO_NAME = "samples.json"


def sample_to_folder(
    tokenizer: tokenizer_lib.Tokenizer,
    priors: dict[str, trained.TrainedPrior],
    request: hierarchy.Request,
    out: str,
    models: dict[str, str],
) -> None:
    """Samples, decodes the finest tier, and writes the folder; does nothing where it holds this request already.

    Args:
      tokenizer: the VQ-VAE whose codes the priors model.
      priors: by tier; "top" at least.
      request: what to sample.
      out: the folder.
      models: flag name -> workdir, kept in samples.json.

    Raises:
      ValueError: the request does not fit the models, or `out` holds the samples of another request.
    """
    request.validate(tokenizer.config, tokenizer.fingerprint, priors)
    folder = pathlib.Path(out)
    info = json.loads(json.dumps({"request": dataclasses.asdict(request), "models": models}))
    info["vqvae_fingerprint"] = tokenizer.fingerprint
    # A workdir that was trained on keeps its name: the weights say whether the samples are still those of the models.
    info["prior_fingerprints"] = {tier: modules.fingerprint(*prior.weights) for tier, prior in priors.items()}
    if (folder / INFO_NAME).is_file():
        _require_same(folder, info)
        print(f"{out} is complete already, with the same settings; nothing to do")
        return
    folder.mkdir(parents=True, exist_ok=True)
    codes = hierarchy.sample_codes(tokenizer.config, priors, request)
    finest = list(codes)[-1]
    np.savez_compressed(folder / "codes.npz", **{tier: array.astype(np.int16) for tier, array in codes.items()})
    files = []
    for index, sample in enumerate(codes[finest]):
        name = f"{index:03d}.wav"
        audio_io.write_wav(folder / name, tokenizer.decode(sample, finest), tokenizer.config.sample_rate)
        files.append({"file": name, "seed": request.seed, "index": index, "genre": request.genre_of(index)})
    info |= {"sample_rate": tokenizer.config.sample_rate, "decoded_tier": finest, "samples": files}
    # Written last: a folder with samples.json is complete.
    (folder / INFO_NAME).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    print(f"{out}: {len(files)} samples of {request.seconds:g} s")


def read(folder: str) -> tuple[dict, list[np.ndarray]]:
    """(samples.json, the waveforms float32 [S] in its order).

    Raises:
      FileNotFoundError: no complete sampling run in `folder`.
    """
    path = pathlib.Path(folder) / INFO_NAME
    if not path.is_file():
        raise FileNotFoundError(f"no {INFO_NAME} in {folder}: pass the --out of sample")
    info = json.loads(path.read_text(encoding="utf-8"))
    waveforms = [
        audio_io.read_audio(pathlib.Path(folder) / item["file"], info["sample_rate"]) for item in info["samples"]
    ]
    return info, waveforms


def _require_same(folder: pathlib.Path, info: dict) -> None:
    found = json.loads((folder / INFO_NAME).read_text(encoding="utf-8"))
    different = [name for name in info if found.get(name) != info[name]]
    if different:
        raise ValueError(f"{folder} holds samples made with another {', '.join(different)}; choose another --out")

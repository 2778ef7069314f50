"""A folder of composed scores: NNN.mid, NNN.wav as the synthesizer plays it, codes.npz and samples.json."""

import dataclasses
import json
import os

import numpy as np

from musicgen_jax import config
from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.nn import modules
from musicgen_jax.priors import trained
from musicgen_jax.runtime import files, folder_lock
from musicgen_jax.sampling import composing, options, output, performed, requests
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

SAMPLE_RATE = 22050  # Hz, of NNN.wav


def compose_to_folder(
    composer: trained.TrainedPrior,
    request: requests.Request,
    out: str | os.PathLike[str],
    workdir: str,
    prime: Score | None = None,
    timbre: str = "",
) -> None:
    """Composes and writes the folder; does nothing where it holds this request already.

    Args:
      composer: of any tokens.
      request: what to compose.
      out: the folder.
      workdir: of the composer, kept in samples.json.
      prime: how each score begins.
      timbre: of the synthesizer, by name; "" takes that of a sample's genre where there is one.

    Raises:
      UserError: as `composing.compose`; or there is no such timbre; or `out` holds other things.
    """
    _require_timbre(timbre)
    folder = output.own_folder(out)
    facts = _facts(composer, request, prime, timbre)
    with folder_lock.hold(folder, "sampling"):
        if output.is_complete(folder, facts):
            print(f"{out} is complete already, with the same settings; nothing to do")
            return
        composed = composing.compose(composer, request, prime, show_progress=True)
        with files.replaced(folder / "codes.npz") as file:
            np.savez_compressed(file, **{config.STREAM: composed.codes.astype(np.int16)})
        samples = []
        for index, score in enumerate(composed.scores):
            name, genre = f"{index:03d}", request.genre_of(index)
            with files.replaced(folder / f"{name}.mid") as file:
                file.write(midi.to_bytes(score))
            audio = _played(score, request.seconds, timbre or genre)
            about = {"score": f"{name}.mid", "seed": request.seed, "index": index, "genre": genre}
            samples.append(output.write_sample(folder, f"{name}.wav", audio, SAMPLE_RATE) | about)
        info = facts | {"request": dataclasses.asdict(request), "models": {config.STREAM: workdir}}
        info |= {"sample_rate": SAMPLE_RATE, "decoded_tier": config.STREAM, "samples": samples}
        files.write_json(folder / output.INFO_NAME, info)  # last: a folder with samples.json is complete
    print(f"{folder}: {len(samples)} scores of {request.seconds:g} s")


def _played(score: Score, seconds: float, timbre: str) -> np.ndarray:
    """float32 [S]; silence where there is no note."""
    if score.empty:
        return np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    voice = next((one for one in timbres.ALL if one.name == timbre), timbres.ALL[0])
    return synthesizer.play(score, voice, SAMPLE_RATE, seconds)


def _require_timbre(name: str) -> None:
    known = [timbre.name for timbre in timbres.ALL]
    config.require(name in ("", *known), f"`timbre`={name}: must be one of {', '.join(known)}")


def _digest(score: Score) -> str:
    return performed.Scores("the prompt", (score,)).digest


def _facts(composer: trained.TrainedPrior, request: requests.Request, prime: Score | None, timbre: str) -> dict:
    """All that decides the scores and their sound, as JSON gives it back."""
    facts = {
        "request": options.completed(dataclasses.asdict(request)),
        "prompt": None if prime is None else {"seconds": prime.seconds, "digest": _digest(prime)},
        "score": None,
        "timbre": timbre,
        "vqvae_fingerprint": "",  # there is none
        "prior_fingerprints": {config.STREAM: modules.fingerprint(*composer.weights)},
    }
    return json.loads(json.dumps(facts))

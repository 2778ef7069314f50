"""A folder of composed scores: NNN.mid, NNN.wav as the synthesizer plays it, codes.npz and samples.json."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.nn import modules
from musicgen_jax.priors import trained
from musicgen_jax.runtime import files, folder_lock
from musicgen_jax.sampling import composing, journals, options, output, performed, requests
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

    What an interrupted call has composed is kept in OUT/.musicgen_jax.partial: the same call goes on from it.

    Args:
      composer: of any tokens.
      request: what to compose.
      out: the folder.
      workdir: of the composer, kept in samples.json.
      prime: how each score begins.
      timbre: of the synthesizer, by name; "" takes that of a sample's genre where there is one.

    Raises:
      UserError: as `composing.validate`; or there is no such timbre; or the synthesizer cannot play so long a score; or
        `out` holds other things.
    """
    _require_playable(request.seconds, timbre)
    composing.validate(composer, request, prime)
    folder = output.own_folder(out)
    facts = _facts(composer, request, prime, timbre)
    with folder_lock.hold(folder, "sampling"):
        if output.is_complete(folder, facts):
            print(f"{files.describe_path(out)} is complete already, with the same settings; nothing to do")
        else:
            journal = journals.Journal(folder, facts)
            composed = composing.compose(composer, request, prime, journal=journal, show_progress=True)
            samples = _write(folder, journal.folder, request, composed, timbre)
            info = facts | {"request": dataclasses.asdict(request), "models": {config.STREAM: workdir}}
            info |= {"sample_rate": SAMPLE_RATE, "decoded_tier": config.STREAM, "samples": samples}
            files.write_json(folder / output.INFO_NAME, info)  # last: a folder with samples.json is complete
            print(f"{files.describe_path(folder)}: {len(samples)} scores of {request.seconds:g} s")
        journals.remove(folder)


def _write(
    folder: pathlib.Path, aside: pathlib.Path, request: requests.Request, composed: composing.Composed, timbre: str
) -> list[dict[str, Any]]:
    """Writes codes.npz and NNN.*; returns what samples.json says of each sample."""
    with files.replaced(folder / "codes.npz", aside=aside) as file:
        np.savez_compressed(file, **{config.STREAM: composed.codes.astype(np.int16)})
    samples = []
    for index, score in enumerate(composed.scores):
        name, genre = f"{index:03d}", request.genre_of(index)
        with files.replaced(folder / f"{name}.mid", aside=aside) as file:
            file.write(midi.to_bytes(score))
        voice = next((one for one in timbres.ALL if one.name == (timbre or genre)), timbres.ALL[0])
        audio = synthesizer.render_score(score.clipped(request.seconds), voice, SAMPLE_RATE, request.seconds)
        about = {"score": f"{name}.mid", "seed": request.seed_of(index), "index": index, **request.told_of(index)}
        if score.syllables:
            about |= {"syllables": len(score.syllables), "melody_notes": len(score.of_part(0))}
        samples.append(output.write_sample(folder, f"{name}.wav", audio, SAMPLE_RATE, aside, score) | about)
    return samples


def _require_playable(seconds: float, timbre: str) -> None:
    known = [one.name for one in timbres.ALL]
    config.require(timbre in ("", *known), f"`timbre`={timbre}: must be one of {', '.join(known)}")
    most = synthesizer.MAX_SCORE_SECONDS
    config.require(seconds <= most, f"`seconds`={seconds:g}: the synthesizer plays at most {most:g} s: compose less")


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

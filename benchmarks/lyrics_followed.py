"""Is what a prior sings what it is told to sing?

    python -m benchmarks.lyrics_followed --out=run/lyrics

The songs of `prepare_data --dataset=syllables` sing a vowel a note, and only their words say which. A tokenizer and one
prior are trained on them by the commands of the package, then the prior sings the words of songs that were held out. A
classifier (linear discriminant analysis of the mean log-mel spectrum of a syllable) says which vowels are heard. It was
fitted to training songs as the tokenizer makes them.

`value` is the share of syllables whose vowel is that of the words, told right. Beside it: `shuffled`, where the prior
is told the same syllables in another order at the same times, as heard against the right ones and, `shuffled_told`,
against those that it was told; `untold`, where it is told no words; `chance`, the largest share that any one vowel has;
and what is heard in what the tokenizer makes of the held-out songs themselves, `decoded`: a prior can hardly do better;
`real` is what a classifier of songs hears in these songs. `nats` is -log p a code of held-out codes, told their words,
`nats_other` those of another song, `nats_untold` none. Each stage is kept in --out, and is not repeated.
"""

import itertools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import jax
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

import musicgen_jax
from benchmarks import flag_values, vowel_classifier
from musicgen_jax import config
from musicgen_jax.codes import code_dataset
from musicgen_jax.command_line import cli
from musicgen_jax.data import audio_dataset
from musicgen_jax.data.sources import syllables
from musicgen_jax.generation import MusicGenerator
from musicgen_jax.priors import loss

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SAMPLE_RATE = 16000
CONTEXT = 128  # frames of a training window, four seconds
FITTED = 24  # songs of a split that a classifier learns from, or is tried on

_OUT = cli.define_path("out", None, "Folder for the data and the models.", required=True)
_TOKENIZER_STEPS = flags.DEFINE_integer("tokenizer_steps", 400, "Of the tokenizer's training.")
_STEPS = flags.DEFINE_integer("steps", 300, "Of the prior's training.")
_SONGS = flags.DEFINE_integer("songs", 8, "Held-out songs that are sung.")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 4, "Of each song.")
_SECONDS = flags.DEFINE_float("seconds", 8.0, "Of each sample.")
_ALIGNED = flags.DEFINE_bool("aligned", True, "Whether each frame is told what is sung in it, or finds it by itself.")
_GUIDANCE = flags.DEFINE_float("guidance", 1.0, "By the lyrics.")


def main() -> None:
    """Flags -> a JSON line."""
    for flag in (_TOKENIZER_STEPS, _STEPS, _SONGS, _NUM_SAMPLES):
        flag_values.require_positive(flag)
    out = pathlib.Path(_OUT.value).resolve()
    _train(out)
    generator = musicgen_jax.load(out / "models")
    # What is decoded differs from what is real in more than the vowel: a classifier of its own for each.
    classifiers = {
        name: vowel_classifier.fit(*_joined(_recordings(out / "audio", "train", generator, through)))
        for name, through in (("real", False), ("decoded", True))
    }
    line = {"benchmark": "lyrics_followed", "unit": "share of syllables"}
    held_out = {
        name: _joined(_recordings(out / "audio", "test", generator, through))
        for name, through in (("real", False), ("decoded", True))
    }
    line |= {name: classifiers[name].accuracy(*examples) for name, examples in held_out.items()}
    vowels = held_out["real"][1]
    line["chance"] = max(vowels.count(vowel) for vowel in syllables.VOWELS) / len(vowels)
    line |= _sung(generator, classifiers["decoded"], out / "audio")
    line |= _nats(generator)
    line |= {"tokenizer_steps": _TOKENIZER_STEPS.value, "steps": _STEPS.value}
    line |= {"guidance": _GUIDANCE.value, "aligned": _ALIGNED.value}
    print(json.dumps(line))


def _train(out: pathlib.Path) -> None:
    """Data, tokenizer, codes and prior, by the commands."""
    audio, codes, models = out / "audio", out / "codes", out / "models"
    _run("prepare_data", "--dataset=syllables", f"--sample_rate={SAMPLE_RATE}", f"--out={audio}")
    _run(
        "train_vqvae", "--config=configs/vqvae.py:kind=tones,scale=tiny", f"--workdir={models / 'vqvae'}",
        f"--config.data.path={audio}", f"--config.training.num_steps={_TOKENIZER_STEPS.value}",
    )  # fmt: skip
    _run("extract_codes", f"--vqvae={models / 'vqvae'}", f"--data={audio}", f"--out={codes}")
    _run(
        "train_prior", "--config=configs/prior.py:tier=residual,scale=tiny,lyrics=true",
        f"--workdir={models / 'residual'}", f"--config.data.path={codes}",
        f"--config.training.num_steps={_STEPS.value}", f"--config.model.context={CONTEXT}",
        "--config.model.lyrics_margin=0.5", f"--config.model.lyrics_aligned={str(_ALIGNED.value).lower()}",
    )  # fmt: skip


def _run(verb: str, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.fspath(REPOSITORY)}
    command = [sys.executable, "-m", f"musicgen_jax.{verb}", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=sys.stderr.fileno(), check=False)
    config.require(done.returncode == 0, f"{verb} ended with status {done.returncode}: see above")


Heard = tuple[list[vowel_classifier.Syllable], str]  # syllables of a recording, and the vowels of the words


def _joined(parts: list[Heard]) -> Heard:
    return [syllable for found, _ in parts for syllable in found], "".join(vowels for _, vowels in parts)


def _heard(audio: np.ndarray, song: syllables.Song) -> Heard:
    """The syllables of a song that audio is long enough for."""
    notes = [(float(onset), float(onset + length)) for _, onset, length, _ in song.notes]
    whole = [(start, stop) for start, stop in notes if stop * SAMPLE_RATE <= len(audio)]
    found = [vowel_classifier.Syllable(audio, SAMPLE_RATE, start, stop) for start, stop in whole]
    return found, "".join(syllable[1] for syllable in song.syllables[: len(whole)])


def _songs(audio: pathlib.Path, split: str) -> Iterator[tuple[syllables.Song, np.ndarray]]:
    """The songs of a split with their audio, float32 [S]."""
    made, _ = syllables.tracks("", SAMPLE_RATE, 0, 0)
    numbers = {track.track_id: number for number, track in enumerate(made)}
    for facts, blocks in audio_dataset.read_tracks(str(audio), split):
        samples = np.concatenate(list(blocks))
        yield syllables.made_up(np.random.default_rng([0, numbers[facts["track_id"]]])), samples


def _recordings(audio: pathlib.Path, split: str, generator: MusicGenerator, through: bool = False) -> list[Heard]:
    """What is heard in the songs of a split, or in what the tokenizer makes of them."""
    tokenizer, found = generator.tokenizer, []
    stream = tokenizer.layout.names[-1]
    for song, samples in itertools.islice(_songs(audio, split), FITTED):
        if through:
            codes = tokenizer.encode(iter([samples]), len(samples) / SAMPLE_RATE)
            samples = tokenizer.decode(codes[stream], stream)[: len(samples)]
        found.append(_heard(samples, song))
    return found


def _sung(generator: MusicGenerator, classifier: vowel_classifier.Classifier, audio: pathlib.Path) -> dict[str, object]:
    """What is heard where the prior sings held-out songs."""
    songs = [song for song, _ in _songs(audio, "test")][: _SONGS.value]
    heard: dict[str, list[Heard]] = {"value": [], "shuffled": [], "shuffled_told": [], "untold": []}
    for number, song in enumerate(songs):
        order = np.random.default_rng(number).permutation(len(song.syllables))
        other = syllables.Song(song.notes, tuple(song.syllables[place] for place in order))
        for name, told in (("value", song), ("shuffled", other), ("untold", None)):
            said = {} if told is None else {"lyrics": told.lrc, "guidance": _GUIDANCE.value}
            said["total_seconds"] = song.seconds
            sung = generator.generate(_SECONDS.value, num_samples=_NUM_SAMPLES.value, seed=number, **said)
            heard[name] += [_heard(one, song) for one in sung]
            if name == "shuffled":
                heard["shuffled_told"] += [_heard(one, other) for one in sung]
    found = {name: classifier.accuracy(*_joined(parts)) for name, parts in heard.items()}
    return {"value": found.pop("value"), "syllables": len(_joined(heard["value"])[1]), **found}


def _nats(generator: MusicGenerator) -> dict[str, float]:
    """-log p a code of the beginnings of held-out songs."""
    prior = generator.priors["residual"]
    windows = code_dataset.Windows(prior.codes_path, "test", prior.config)
    rows = [windows.window(track, 0) for track in range(len(windows.entries))]
    right = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    others = right | {name: np.roll(right[name], 1, axis=0) for name in ("lyrics", "lyric_times")}
    nothing = right | {"worded": np.zeros_like(right["worded"])}

    @jax.jit
    def nats(batch: dict[str, jax.Array]) -> jax.Array:
        return loss.prior_loss(prior.functional.bind(*prior.weights), batch, None)[0]

    return {"nats": float(nats(right)), "nats_other": float(nats(others)), "nats_untold": float(nats(nothing))}


if __name__ == "__main__":
    cli.run(main)

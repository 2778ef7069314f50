"""Which notes are heard in what a tokenizer makes of recordings, and in what priors make up?

    python -m benchmarks.decoded_notes --vqvae=DIR --data=DIR
    python -m benchmarks.decoded_notes --vqvae=DIR --data=DIR --transcribe=transcriber/nmp.onnx --samples=DIR

Of every held-out track the middle --seconds seconds are taken. `value` is note F1, the mean over the tracks: `real` of
the recordings as they are, the others of what is decoded from each stream of codes. Music of the synthesizer is
compared with its score by a fit of the timbre's own spectra. With --transcribe the network hears the notes of any
recording, and what it hears in the recording itself is taken for right.

--samples, with --transcribe: a folder of `sample`. Figures of the notes that are heard in the samples, beside those of
the held-out recordings (notes a second, share of the best key, voices that sound).
"""

import json
import pathlib
import sys
from collections.abc import Iterator

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax import config, pretrained
from musicgen_jax.command_line import cli
from musicgen_jax.data import audio_dataset, manifest, shards
from musicgen_jax.evaluation import bootstrap, note_fit, samples, score_quality, transcribed_notes
from musicgen_jax.scores import transcription
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers.tokenizer import Tokenizer

_VQVAE = cli.define_path("vqvae", None, "Workdir of train_vqvae.", required=True)
_DATA = cli.define_path("data", None, "Folder of prepare_data.", required=True)
_SAMPLES = cli.define_path("samples", "", "Folder of sample.")
_TRANSCRIBE = cli.define_path("transcribe", "", "Network of basic-pitch; empty: the music of the synthesizer.")
_SECONDS = flags.DEFINE_integer("seconds", 8, "Of each recording.")


def main() -> None:
    """Flags -> JSON lines."""
    flag_values.require_positive(_SECONDS)
    config.require(not _SAMPLES.value or bool(_TRANSCRIBE.value), "--samples: its notes are heard by --transcribe")
    network = transcription.load(_TRANSCRIBE.value) if _TRANSCRIBE.value else None
    tokenizer = pretrained.load_vqvae(_VQVAE.value)
    audio_dataset.check_sample_rate(_DATA.value, tokenizer.layout.sample_rate)
    made = samples.read_samples(_SAMPLES.value, tokenizer) if _SAMPLES.value else []
    clips = list(_clips(network))
    config.require(bool(clips), f"--data={_DATA.value}: no held-out recording has notes; --transcribe hears them")
    found: dict[str, list[float]] = {}
    for clip in clips:
        for name, audio in _versions(tokenizer, clip.audio).items():
            found.setdefault(name, []).append(_f1(network, audio, clip))
    for name, values in found.items():
        mean = bootstrap.mean(values)
        print(
            json.dumps({"benchmark": "decoded_notes", "unit": "note F1", "audio": name, "value": mean["mean"]} | mean)
        )
    if made:
        heard = [transcription.transcribe(network, [one.clip.audio], one.clip.sample_rate) for one in made]
        figures = score_quality.compare(heard, [clip.score for clip in clips], _SECONDS.value)
        print(json.dumps({"benchmark": "decoded_notes", "heard": figures}))


def _clips(network: transcription.Network | None) -> Iterator[score_quality.Performance]:
    """The middles of the held-out tracks that have notes, with these notes."""
    rate = shards.read_metadata(_DATA.value)["sample_rate"]
    for split in [name for name in manifest.HELD_OUT if name in shards.split_names(_DATA.value)]:
        for facts, blocks in audio_dataset.read_tracks(_DATA.value, split):
            audio, score = np.concatenate(list(blocks)), Score(facts.get("notes", ()))
            timbre = facts["labels"].get("genre", config.UNKNOWN_LABEL)
            clip = score_quality.Performance(facts["track_id"], audio, rate, timbre, score).clip(_SECONDS.value)
            if network is not None:
                heard = transcription.transcribe(network, [clip.audio], rate)
                clip = score_quality.Performance(clip.name, clip.audio, rate, timbre, heard)
            if not clip.score.empty:
                yield clip


def _versions(tokenizer: Tokenizer, audio: np.ndarray) -> dict[str, np.ndarray]:
    """A recording, and what each stream's codes make of it, float32 [S] each."""
    codes = tokenizer.encode(iter([audio]))
    return {"real": audio} | {name: tokenizer.decode(one, name)[: len(audio)] for name, one in codes.items()}


def _f1(network: transcription.Network | None, audio: np.ndarray, clip: score_quality.Performance) -> float:
    if network is None:
        return note_fit.agreement(note_fit.fit(audio, clip.sample_rate, clip.timbre), clip.score).f1
    return transcribed_notes.f1(transcription.transcribe(network, [audio], clip.sample_rate), clip.score)


if __name__ == "__main__":
    cli.run(main)

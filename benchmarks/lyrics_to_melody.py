"""Does a composer that is told syllables write a note for each of them?

    python -m benchmarks.lyrics_to_melody --out=run/melody

Chorales of music21's corpus, most of which have the words of their melody, become MIDI files with lyric events; of
these a composer is trained by the commands of the package, and then told the syllables of chorales that were held out,
at the times that they have there.

`value` is the number of notes of the melodies that it writes for a syllable that it is told. Beside it: `real`, the
same of the held-out chorales; `on_time`, the share of syllables with which a note of the melody begins, within a
sixteenth; `on_time_untold`, the same where it is told no words, and `on_time_real`, in the chorales themselves;
`count_error` and `count_error_untold`, by how much the number of notes misses that of the chorale's own melody, as a
share of it.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax import composition, config
from musicgen_jax.codes import score_reader
from musicgen_jax.command_line import cli
from musicgen_jax.data import lyrics
from musicgen_jax.data.sources import chorales
from musicgen_jax.sampling import composing
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import ONSET, Score

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]

_OUT = cli.define_path("out", None, "Folder for the data and the composer.", required=True)
_CHORALES = flags.DEFINE_integer("chorales", 100, "How many.")
_STEPS = flags.DEFINE_integer("steps", 300, "Of training.")
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Of each melody, at most.")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 2, "Melodies for each chorale's words.")


def main() -> None:
    """Flags -> a JSON line."""
    for flag in (_CHORALES, _STEPS, _NUM_SAMPLES):
        flag_values.require_positive(flag)
    out = pathlib.Path(_OUT.value).resolve()
    worded = _write_midi(out / "midi")
    scores, workdir = out / "scores", out / "score"
    _run("prepare_data", "--dataset=midi", f"--source={out / 'midi'}", f"--out={scores}")
    _run(
        "train_prior", "--config=configs/symbolic.py:scale=tiny,lyrics=true", f"--workdir={workdir}",
        f"--config.data.path={scores}", f"--config.training.num_steps={_STEPS.value}",
    )  # fmt: skip
    pieces = [piece.score for split in ("validation", "test") for piece in score_reader.read(str(scores), split)]
    figures = judge(composition.load(workdir), [score for score in pieces if score.syllables])
    line = {"benchmark": "lyrics_to_melody", "unit": "notes a syllable", "chorales": worded[0], "worded": worded[1]}
    print(json.dumps(line | figures | {"steps": _STEPS.value}))


def _write_midi(folder: pathlib.Path) -> tuple[int, int]:
    """MIDI files of the chorales, unless they are there: how many there are, and how many of them have words."""
    if not (folder / "complete").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        tracks, _ = chorales.tracks("", 22050, 0, 0, num_chorales=_CHORALES.value)
        for track in tracks:
            midi.write(folder / f"{track.track_id}.mid", track.score)
        worded = sum(bool(track.score.syllables) for track in tracks)
        (folder / "complete").write_text(json.dumps([len(tracks), worded]))
    return tuple(json.loads((folder / "complete").read_text()))


def _run(verb: str, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.fspath(REPOSITORY)}
    command = [sys.executable, "-m", f"musicgen_jax.{verb}", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=sys.stderr.fileno(), check=False)
    config.require(done.returncode == 0, f"{verb} ended with status {done.returncode}: see above")


def judge(composer: composition.Composer, scores: list[Score]) -> dict[str, object]:
    """What the composer makes of the syllables of these scores."""
    quarter = composing.quarter_seconds(composer.model.config)
    found: dict[str, list[float]] = {name: [] for name in ("value", "real", "on_time", "on_time_untold")}
    found |= {name: [] for name in ("on_time_real", "count_error", "count_error_untold")}
    for number, score in enumerate(scores):
        beaten = in_tempo(score, quarter)  # as fast as the composer writes
        seconds = min(beaten.seconds, _SECONDS.value)
        real = beaten.cut(0, seconds)
        times = np.array([time for time, _ in real.syllables])
        if not len(times):
            continue
        lrc = lyrics.to_lrc(list(real.syllables), seconds)
        said = {"num_samples": _NUM_SAMPLES.value, "seed": number}
        for name, told in (("", {"lyrics": lrc}), ("_untold", {})):
            for one in composer.compose(seconds, **said, **told):
                found[f"on_time{name}"].append(on_time(one, times, quarter / 4))
                notes, wanted = len(one.of_part(0)), len(real.of_part(0))
                found[f"count_error{name}"].append(abs(notes - wanted) / wanted)
                found["value"] += [notes / len(times)] if told else []
        found["real"].append(len(real.of_part(0)) / len(times))
        found["on_time_real"].append(on_time(real, times, quarter / 4))
    return {name: float(np.mean(values)) for name, values in found.items()} | {"pieces": len(found["real"])}


def in_tempo(score: Score, quarter: float) -> Score:
    """A score in one tempo, a quarter lasting so many seconds."""
    places = score.quarter_at(np.stack([score.notes[:, ONSET], score.ends]).astype(np.float64)) * quarter
    notes = score.notes.copy()
    notes[:, 1], notes[:, 2] = places[0], places[1] - places[0]
    syllables = tuple((float(score.quarter_at(time)) * quarter, text) for time, text in score.syllables)
    return Score(notes, np.arange(len(score.quarters)) * quarter, score.bars, syllables=syllables)


def on_time(score: Score, times: np.ndarray, tolerance: float) -> float:
    """Share of the times at which a note of the highest part begins."""
    onsets = score.of_part(0)[:, ONSET]
    if not len(onsets):
        return 0.0
    return float(np.mean(np.abs(times[:, None] - onsets).min(axis=1) <= 1.01 * tolerance))


if __name__ == "__main__":
    cli.run(main)

"""Prepares a dataset: recordings, or the embedded chorales, to audio shards, a manifest and a report.

    python -m musicgen_jax.prepare_data --dataset=recordings --source=DIR --out=DIR

Or scores alone, for composers: --dataset=midi, a folder of MIDI files. With --check it only reads, and reports.

Run again, it does nothing where the same dataset is complete, and goes on where it was interrupted.
"""

import importlib
import os
import shlex
import signal
import sys
from typing import Any

from absl import flags

from musicgen_jax import config
from musicgen_jax.command_line import cli

SOURCES = {
    "recordings": "musicgen_jax.data.sources.recordings",
    "chorales": "musicgen_jax.data.sources.chorales",
    "midi": "musicgen_jax.data.sources.midi",
    "maestro": "musicgen_jax.data.sources.maestro",
    "nsynth": "musicgen_jax.data.sources.nsynth",
    "lakh": "musicgen_jax.data.sources.lakh",
    "fma": "musicgen_jax.data.sources.fma",
    "syllables": "musicgen_jax.data.sources.syllables",
}

_DATASET = flags.DEFINE_enum("dataset", None, list(SOURCES), "Where the music comes from.", required=True)
_SOURCE = cli.define_path("source", "", "Folder of the recordings or MIDI files; chorales and syllables need none.")
_OUT = cli.define_path(
    "out", None, "Directory to write; must be new, empty, or hold this dataset.", required=True, writes=True
)
_SAMPLE_RATE = flags.DEFINE_integer("sample_rate", 22050, "Hz of the dataset.")
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the split, and of what the source generates.", lower_bound=0, upper_bound=config.MAX_SEED
)
_TRANSCRIBE = cli.define_path(
    "transcribe", None, "Network that finds the notes of recordings without a .mid beside them; make transcriber."
)
# What only some sources take: each says in `OPTIONS` which, and is told them as texts.
_OPTIONS = {
    "subset": flags.DEFINE_string("subset", None, "Which part of the data set, where it has parts."),
    "licenses": flags.DEFINE_string("licenses", None, "Licences of the tracks to take, where tracks have their own."),
    "render": flags.DEFINE_string("render", None, "What plays scores where no recording is to be taken: synthesizer."),
    "txt": flags.DEFINE_enum(
        "txt", None, ["lyrics", "caption"], "What x.txt beside a recording x.wav is: lyrics if nothing is said."
    ),
    "soundfont": cli.define_path("soundfont", None, "General MIDI soundfont with which FluidSynth plays scores."),
}
_CHECK = flags.DEFINE_bool(
    "check", False, "Read everything, say what is doubtful (check.json, check.html), and prepare nothing."
)
_RUNNER = flags.DEFINE_enum(
    "runner",
    "parallel",
    ["serial", "parallel", "direct", "dataflow", "flink", "spark"],
    "One process; one for each core; or Apache Beam, on this machine (direct) or on a cluster.",
)
_BEAM_OPTIONS = flags.DEFINE_string(
    "beam_options", "", 'Options of Beam\'s pipelines: "--direct_num_workers=4 --direct_running_mode=multi_processing".'
)
cli.require_one_machine(["source", "out", "transcribe", "soundfont"], "runner", ["dataflow", "flink", "spark"])


def main() -> None:
    """Flags -> parts -> one call."""
    # Data preparation is work for the host: several processes must not fight over an accelerator.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # A polite kill unwinds, so that what is done is whole and says where it is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if _CHECK.value:
        _require_fit_for_check()
    from musicgen_jax.command_line import closing
    from musicgen_jax.data import preparation
    from musicgen_jax.runtime import files
    from musicgen_jax.scores import transcription

    source = os.path.abspath(_SOURCE.value) if _SOURCE.value else ""
    network = "" if _TRANSCRIBE.value is None else os.path.abspath(_TRANSCRIBE.value)
    digest = transcription.checked(network) if network else ""
    options = {name: flag.value for name, flag in _OPTIONS.items() if flag.value}
    options |= {"soundfont": os.path.abspath(options["soundfont"])} if "soundfont" in options else {}
    settings = preparation.Settings(_DATASET.value, source, _SAMPLE_RATE.value, _SEED.value, digest, options)
    module = importlib.import_module(SOURCES[_DATASET.value])
    num_workers, runner = _runner()
    if _CHECK.value:
        _check(settings, module, num_workers)
        return
    report = preparation.prepare(settings, module, _OUT.value, num_workers, network, runner)
    out = files.describe_path(_OUT.value)
    print(f"{out}: files {report['files']}, hours {report['hours']}, rejections {report['rejections']}")
    for message in report["messages"]:
        print(f"note: {message}")
    closing.after_prepare_data(out, report)


def _require_fit_for_check() -> None:
    """Raises UserError where a flag is of no use to a check."""
    local = _RUNNER.value in ("serial", "parallel")
    config.require(local, f"`runner`={_RUNNER.value}: `check` reads on this machine alone: pass parallel or serial")
    config.require(_TRANSCRIBE.value is None, f"`transcribe`={_TRANSCRIBE.value}: `check` transcribes nothing")


def _check(settings: Any, module: Any, num_workers: int) -> None:
    """Writes check.json and check.html, and prints what they say in short."""
    from musicgen_jax.data import data_check
    from musicgen_jax.evaluation import data_page
    from musicgen_jax.runtime import files

    out = files.output_folder(_OUT.value, {"check.json": "leakage"})
    found = data_check.check(settings, module, num_workers)
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / "check.json", found)
    data_page.write(out / "check.html", found)
    print(
        f"{files.describe_path(out)}: files {found['files']}, hours {found['hours']}, rejections {found['rejections']}"
    )
    for line in data_check.summary(found):
        print(f"note: {line}")


def _runner() -> tuple[int, Any]:
    """(processes for what is done here, what runs the rest in their place, or None)."""
    from musicgen_jax.data import beam_runner, workers

    name = _RUNNER.value
    if name in beam_runner.RUNNERS:
        return workers.count("parallel"), beam_runner.BeamRunner(name, shlex.split(_BEAM_OPTIONS.value))
    config.require(not _BEAM_OPTIONS.value, f"`beam_options` is of no use to `runner`={name}: {_BEAM_OPTIONS.value}")
    return workers.count(name), None


if __name__ == "__main__":
    cli.run(main)

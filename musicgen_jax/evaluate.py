"""Judges a tokenizer, priors and samples on held-out tracks -> metrics.json and report.html.

    python -m musicgen_jax.evaluate --vqvae=DIR --data=DIR --samples=DIR --top=DIR --middle=DIR --bottom=DIR --out=DIR

    python -m musicgen_jax.evaluate --score=DIR --data=DIR --out=DIR    a composer alone, on held-out scores

    python -m musicgen_jax.evaluate --compare=A=DIR,B=DIR --out=DIR    a page that compares folders of evaluations

Priors are scored on the codes that they were trained on, or on those in --codes; these must be codes of --data. Without
--samples there is no FAD; without priors no likelihood. The page says what is absent, and why.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from absl import flags

from musicgen_jax.command_line import cli, model_flags
from musicgen_jax.config import require
from musicgen_jax.runtime import console, files
from musicgen_jax.training import verification

verification.define()
model_flags.define_all()
_DATA = cli.define_path("data", "", "Folder written by prepare_data; must be given, but not with --compare.")
_SAMPLES = cli.define_path("samples", "", "Folder written by sample, or of any audio files.")
_REFERENCES = cli.define_path(
    "references", "", "Folder of the recordings that --samples of the same names are to sound like, if there are any."
)
_CODES = cli.define_path(
    "codes", "", "Folder written by extract_codes of --data, for the priors; by default what each was trained on."
)
_SCORE = cli.define_path(
    "score",
    "",
    "Workdir of the composer, to be scored on the held-out scores of --data; by default that in the folder --model, "
    "none with --score= alone.",
)
_TRANSCRIBE = cli.define_path(
    "transcribe", "", "Network that finds the notes of samples in any timbre; make transcriber."
)
_COMPARE = flags.DEFINE_list(
    "compare",
    [],
    "NAME=DIR,NAME=DIR: folders of earlier evaluations; writes the page that compares them, and measures nothing.",
)
_EMBEDDINGS = flags.DEFINE_list(
    "embeddings",
    ["log-mel-statistics"],
    "In which samples are compared with recordings: log-mel-statistics, tokenizer-encoder, musicnn:FOLDER (make "
    "embeddings), vggish:FILE, encodec:FILE.",
)
_STATISTICS = cli.define_path(
    "statistics",
    "",
    "Folder embeddings of an earlier evaluation: samples are compared with its recordings in place of those of --data.",
)
_OUT = cli.define_path("out", None, "Folder for metrics.json and report.html.", required=True, writes=True)
_MAX_SECONDS = flags.DEFINE_float("max_seconds", 60.0, "Of each held-out track, from its beginning.")
_MAX_CODES = flags.DEFINE_integer(
    "max_codes",
    200_000,
    "Held-out codes that the finest prior is scored on; the others are on the same seconds; 0: whole tracks.",
)


def main() -> None:
    """Flags -> parts -> one call."""
    if _COMPARE.value:
        _compare()
        return
    require(bool(_DATA.value), "Flag --data must have a value.")
    alone = bool(_SCORE.value) and not model_flags.any_given()
    named = {} if alone else model_flags.given()
    for name in ("codes", "transcribe", "references", "statistics") if alone else ():
        require(not flags.FLAGS[name].value, f"--{name}: a composer alone is judged without it: leave it out")
    from musicgen_jax.command_line import closing

    files.output_folder(_OUT.value, {"metrics.json": "reconstruction"})
    metrics = _evaluate_composer() if alone else _evaluate(named)
    for line in _figures(metrics):
        print(line)
    closing.after_evaluate(_OUT.value)
    print(files.describe_path(pathlib.Path(_OUT.value, "report.html").absolute()))


def _compare() -> None:
    """One page of several evaluations."""
    given = [name for name in ("data", "samples", "codes", "score", "transcribe") if flags.FLAGS[name].value]
    unused = "earlier evaluations are compared without it, as they are: leave it out"
    require(not given, f"--{next(iter(given), '')}: {unused}")
    require(not model_flags.any_given(), f"a model beside --compare: {unused}")
    from musicgen_jax.evaluation import comparison

    folders = comparison.parse(_COMPARE.value)
    files.output_folder(_OUT.value, {comparison.INFO_NAME: "runs"})
    for caution in comparison.compare(folders, _OUT.value):
        console.say(f"warning: {caution}")
    print(files.describe_path(pathlib.Path(_OUT.value, "report.html").absolute()))


def _evaluate(named: dict[str, str]) -> dict[str, Any]:
    """Judges a tokenizer and what there is beside it; the metrics."""
    from musicgen_jax import generation, kinds, pretrained
    from musicgen_jax.evaluation import evaluation

    tokenizer, workdirs = generation.find(**named)
    found = {name: kinds.in_folder(path) for name, path in workdirs.items() if name not in ("vqvae", *named)}
    unscored = {name: kind.unscored for name, kind in found.items() if kind.unscored}
    workdirs = {name: path for name, path in workdirs.items() if name not in unscored}
    priors = {name: pretrained.load_any_prior(path, name) for name, path in workdirs.items() if name != "vqvae"}
    settings = evaluation.Settings(
        data=_DATA.value,
        samples=_SAMPLES.value,
        codes=_CODES.value,
        max_seconds=_MAX_SECONDS.value,
        max_codes=_MAX_CODES.value,
        transcribe=_TRANSCRIBE.value,
        embeddings=tuple(_EMBEDDINGS.value),
        references=_REFERENCES.value,
        statistics=_STATISTICS.value,
    )
    score = _SCORE.value
    if "directory" in named and not _SCORE.present:
        score = generation.find_composer(**named)
    composer = pretrained.load_composer(score) if score else None
    workdirs |= {"composer": score} if score else {}
    steps = {name: pretrained.training_steps(path) for name, path in workdirs.items()}
    return evaluation.evaluate(tokenizer, priors, settings, workdirs, _OUT.value, steps, unscored, composer)


def _evaluate_composer() -> dict[str, Any]:
    """Judges a composer without a tokenizer; the metrics."""
    from musicgen_jax import pretrained
    from musicgen_jax.evaluation import evaluation, score_evaluation

    composer, workdirs = pretrained.load_composer(_SCORE.value), {"composer": _SCORE.value}
    settings = evaluation.Settings(data=_DATA.value, samples=_SAMPLES.value)
    steps = {"composer": pretrained.training_steps(_SCORE.value)}
    return score_evaluation.evaluate_composer(composer, settings, workdirs, _OUT.value, steps)


def _figures(metrics: dict[str, Any]) -> Iterator[str]:
    """The main figures, a line each, and what is absent."""
    for tier, values in metrics["reconstruction"].items():
        convergence = values.get("spectral_convergence_db")
        heard = "" if convergence is None else f"spectral convergence {convergence:.2f} dB, "
        yield f"{tier}: {heard}{metrics['codebook'][tier]['usage']:.0%} of the codes used"
    prior = metrics.get("prior", {})
    for tier, values in prior.items():
        if isinstance(values, dict):
            nats, bigram = values["nats_per_code"], values["bigram_nats"]
            yield f"{tier} prior: {nats:.3f} nats per code, bigram model {bigram:.3f}"
    if "bits_per_second" in prior:
        yield f"all priors: {prior['bits_per_second']:,.0f} bits per second of audio"
    yield from _score_figures(metrics.get("score", {}))
    yield from _structure_figures(metrics.get("structure", {}))
    yield from map(_distance_figure, metrics.get("distances", {}).values())
    for name, note in metrics.get("samples", {}).get("notes", {}).items():
        yield f"note: {name}: {note}"
    for name, reason in metrics["absent"].items():
        yield f"no {name}: {reason}"


def _distance_figure(found: dict[str, Any]) -> str:
    """The Fréchet distance in one embedding, and what is beside it."""
    floor = f" (of as many recordings {found['floor']:.4g})" if "floor" in found else ""
    infinite = f", of endlessly many {found['infinite']['value']:.4g}" if "infinite" in found else ""
    kernel = f"; kernel distance {found['kernel']['value']:.4g}" if "kernel" in found else ""
    doubt = "" if found["reliable"] else f"; unreliable: fewer frames than {found['dimensions']} dimensions"
    frames = f"{found['num_frames']} frames against {found['num_reference_frames']}"
    return f"{found['distance']} of samples {found['value']:.4g}{floor}{infinite}{kernel}; {frames}{doubt}"


def _score_figures(score: dict[str, Any]) -> Iterator[str]:
    """Those of composers, and of samples that perform scores."""
    if "nats_per_note" in score:
        bigram = score["bigram_nats_per_note"]
        yield f"composer: {score['nats_per_note']:.2f} nats per note, bigram model {bigram:.2f}"
    if "note_f1" in score:
        beside = [("recordings", "note_f1_ceiling"), ("wrong scores", "note_f1_shuffled")]
        known = "".join(f", {name} {score[key]:.2f}" for name, key in beside if key in score)
        yield f"note F1 of samples against their scores {score['note_f1']:.2f}{known}"
    if "transcribed_f1" in score:
        beside = [("recordings", "transcribed_f1_ceiling"), ("wrong scores", "transcribed_f1_shuffled")]
        known = "".join(f", {name} {score[key]:.2f}" for name, key in beside if key in score)
        yield f"note F1 by transcription {score['transcribed_f1']:.2f}{known}"


def _structure_figures(structure: dict[str, Any]) -> Iterator[str]:
    """Whether recordings, and samples, come back to what was heard and keep their key and tempo."""
    for side, found in structure.items():
        names = [name for name in ("repetition", "key_stability", "tempo_stability") if name in found["intervals"]]
        means = ", ".join(f"{name.replace('_', ' ')} {found['intervals'][name]['mean']:.2f}" for name in names)
        yield f"structure of {side.replace('held_out', 'recordings')}: {means or 'nothing can be said'}"


if __name__ == "__main__":
    cli.run(main)

"""What do few parallel steps cost in quality? A distilled sampler beside the prior that taught it.

    python -m benchmarks.diffusion_quality --vqvae=DIR --audio=DIR --codes=DIR --prior=DIR --student=DIR --plot=FILE.png

Both sample a tier below the top, given the codes of held-out tracks in the tier above. Prints a JSON line for the
held-out codes, for the prior and for every number of steps: `value` is the prior's nats per code of the samples (those
of its own samples are the aim), `fad` the log-mel Frechet distance of their audio to the held-out recordings, as many
seconds of each, `codebook_perplexity` how many codes they use, `seconds` what one track takes.
"""

import dataclasses
import json
import pathlib
import statistics
import sys
import time
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import code_nats, flag_values
from musicgen_jax import config, pretrained
from musicgen_jax.codes import code_shards
from musicgen_jax.codes.layout import Layout
from musicgen_jax.command_line import cli
from musicgen_jax.data import audio_dataset
from musicgen_jax.diffusion import sampler
from musicgen_jax.evaluation import codebook_usage, frechet_distance
from musicgen_jax.evaluation.embeddings.log_mel_statistics import LogMelStatistics
from musicgen_jax.priors import trained
from musicgen_jax.sampling import hierarchy, prompts, requests, sampler_settings
from musicgen_jax.tokenizers.tokenizer import Tokenizer

_VQVAE = cli.define_path("vqvae", None, "Workdir of the tokenizer.", required=True)
_AUDIO = cli.define_path("audio", None, "Folder of prepare_data.", required=True)
_CODES = cli.define_path("codes", None, "Folder of extract_codes.", required=True)
_PRIOR = cli.define_path("prior", None, "Workdir of the autoregressive prior.", required=True)
_STUDENT = cli.define_path("student", None, "Folder of compress --method=distill.", required=True)
_STEPS = flags.DEFINE_list("steps", ["4", "8", "16", "32"], "Of the diffusion sampler.")
_PLOT = cli.define_path("plot", "", "PNG file of steps against quality; none if empty.")
_SPLIT = flags.DEFINE_string("split", "test", "Held-out tracks.")
_NUM_TRACKS = flags.DEFINE_integer("num_tracks", 8, "How many of them.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Of each track, from its fifth second on.")
_TOP_P = flags.DEFINE_float("top_p", 0.9, "Nucleus, of both samplers.")
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Of the autoregressive sampler.")
_STUDENT_TEMPERATURE = flags.DEFINE_float("student_temperature", 1.0, "Of the diffusion sampler.")

SKIPPED_SECONDS = 5


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """A stretch of every track.

    Attributes:
      codes: {tier: int32 [N, T]}.
      audio: float32 [N, S].
      genres: a label a track.
    """

    codes: dict[str, np.ndarray]
    audio: np.ndarray
    genres: tuple[str, ...]


def main() -> None:
    """Flags -> JSON lines, and a plot."""
    tokenizer, teacher = pretrained.load_vqvae(_VQVAE.value), pretrained.load_prior(_PRIOR.value)
    tier = teacher.config.tier
    config.require(bool(teacher.config.above), "--prior is of the top tier: pass one that has a tier above")
    flag_values.whole_numbers(_STEPS)
    flag_values.require_positive(_NUM_TRACKS)
    for model in (teacher, pretrained.load_diffusion(_STUDENT.value, tier)):
        model.require_tokenizer(tokenizer.layout)
    held_out = read_held_out(tokenizer.layout)
    found: list[dict[str, Any]] = []

    def report(line: dict[str, Any], codes: np.ndarray) -> None:
        line |= judged(tokenizer, teacher, held_out, codes)
        found.append({"benchmark": "diffusion_quality", "unit": "nats/code", "tier": tier} | line)
        if len(found) > 1:  # the teacher comes second
            found[-1]["ratio_to_teacher"] = line["value"] / found[1]["value"]
            found[-1]["times_faster"] = found[1]["seconds"] / line["seconds"]
        print(json.dumps(found[-1]), flush=True)

    report({"sampler": "held-out codes", "steps": 0}, held_out.codes[tier])
    for steps in (0, *map(int, _STEPS.value)):
        model = pretrained.load_diffusion(_STUDENT.value, tier, steps) if steps else teacher
        codes, seconds = sampled(tokenizer.layout, model, held_out, steps)
        line = {"sampler": "diffusion" if steps else "autoregressive", "steps": steps, "seconds": seconds}
        line["temperature"] = (_STUDENT_TEMPERATURE if steps else _TEMPERATURE).value
        report(line | {"sequential_steps": sequential_steps(model, codes.shape[1], steps)}, codes)
    if _PLOT.value:
        plot(found, _PLOT.value)


def read_held_out(layout: Layout) -> HeldOut:
    """Raises ValueError if there are too few tracks of that length."""
    hop = layout.hop_length
    num_top = int(_SECONDS.value * layout.sample_rate) // hop
    first_top = SKIPPED_SECONDS * layout.sample_rate // hop
    tracks = code_shards.Tracks(_CODES.value, _SPLIT.value)
    first, stop = first_top * hop, (first_top + num_top) * hop
    chosen = [i for i, entry in enumerate(tracks.entries) if entry.num_samples >= stop][: _NUM_TRACKS.value]
    config.require(
        len(chosen) == _NUM_TRACKS.value, f"--num_tracks={_NUM_TRACKS.value}: only {len(chosen)} are long enough"
    )
    read = [tracks.read(i, layout.names, first, stop) for i in chosen]
    codes = {name: np.stack([one[name] for one in read]).astype(np.int32) for name in layout.names}
    sounds = [np.concatenate(list(blocks)) for _, blocks in audio_dataset.read_tracks(_AUDIO.value, _SPLIT.value)]
    audio = np.stack([sounds[i][first:stop] for i in chosen])
    return HeldOut(codes, audio, tuple(tracks.entries[i].labels.get("genre", "") for i in chosen))


def sampled(layout: Layout, model: trained.TrainedPrior, held_out: HeldOut, steps: int) -> tuple[np.ndarray, float]:
    """(codes int32 [N, T, Q], median seconds of a track, one by one, compilation apart)."""
    tier = model.config.tier
    above = held_out.codes[model.config.above]

    def run(track: int) -> np.ndarray:
        wanted = request_of(model, held_out, [track], steps)
        given = prompts.Prompt("the held-out codes", {model.config.above: above[[track]]}, wanted.seconds)
        sampling = hierarchy.Hierarchy(layout, {tier: model}, wanted, given, show_progress=False)
        return sampling.complete()[tier]

    run(0)
    rows, seconds = [], []
    for track in range(len(above)):
        start = time.perf_counter()
        rows.append(run(track)[0])
        seconds.append(time.perf_counter() - start)
    return np.stack(rows), statistics.median(seconds)


def request_of(model: trained.TrainedPrior, held_out: HeldOut, tracks: list[int], steps: int) -> requests.Request:
    """The same for both samplers but for steps and temperature."""
    temperature = (_STUDENT_TEMPERATURE if steps else _TEMPERATURE).value
    return requests.Request(
        seconds=held_out.codes[model.config.tier].shape[1] / model.config.codes_per_second,
        num_samples=len(tracks),
        seed=tracks[0],
        mode="upsample",
        settings=sampler_settings.SamplingSettings(temperature=temperature, top_p=_TOP_P.value),
        genres=tuple(held_out.genres[track] for track in tracks),
        batch_size=64,
        sampler="diffusion" if steps else "autoregressive",
        steps=steps or None,
    )


def sequential_steps(model: trained.TrainedPrior, num_codes: int, steps: int) -> int:
    """Calls of the network that wait for each other."""
    if not steps:
        return num_codes
    return steps * len(sampler.rounds(num_codes, model.config.context, model.config.upsampling))


def judged(tokenizer: Tokenizer, teacher: trained.TrainedPrior, held_out: HeldOut, codes: np.ndarray) -> dict[str, Any]:
    """The quality of codes int32 [N, T, Q] of the teacher's tier."""
    audio = [tokenizer.decode(row, teacher.config.tier) for row in codes]
    rate = tokenizer.layout.sample_rate
    ours, theirs = (
        np.concatenate([LogMelStatistics().embed(clip, rate) for clip in clips]) for clips in (audio, held_out.audio)
    )
    distance = frechet_distance.frechet_distance(ours, theirs)
    counts = codebook_usage.histograms([codes], teacher.config.num_codes)
    return {
        "value": nats_per_code(teacher, held_out, codes),
        "fad": distance.value,
        "fad_frames": distance.num_frames,
        "codebook_perplexity": codebook_usage.usage_statistics(counts)["perplexity"],
        "num_codes": codes.size,
    }


def nats_per_code(teacher: trained.TrainedPrior, held_out: HeldOut, codes: np.ndarray) -> float:
    """Of codes int32 [N, T, Q], each having seen half a context or all before it."""
    wanted = request_of(teacher, held_out, list(range(len(codes))), 0)
    above = held_out.codes[teacher.config.above]
    return float(code_nats.code_nats(teacher, wanted, codes, above).mean())


def plot(found: list[dict[str, Any]], path: str) -> None:
    """Sequential steps against nats per code, distance and perplexity; the prior as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    held_out, of_teacher = found[:2]
    students = sorted(found[2:], key=lambda line: line["steps"])
    names = {
        "value": "the prior's nats per code",
        "fad": "log-mel Fréchet distance",
        "codebook_perplexity": "codebook perplexity",
    }
    figure, axes = pyplot.subplots(1, len(names), figsize=(13, 4), layout="constrained")
    for axis, (name, label) in zip(axes, names.items(), strict=True):
        axis.plot([line["steps"] for line in students], [line[name] for line in students], "o-", label="diffusion")
        axis.axhline(of_teacher[name], color="C1", label=f"autoregressive, {of_teacher['sequential_steps']} steps")
        axis.axhline(held_out[name], color="C2", linestyle=":", label="held-out codes")
        axis.set(xscale="log", xlabel="steps of a window", ylabel=label)
        axis.set_xticks([line["steps"] for line in students], [str(line["steps"]) for line in students], minor=False)
        axis.minorticks_off()
    axes[0].legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    cli.run(main)

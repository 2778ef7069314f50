"""Can the borders of windows be heard, and what do codes lose whose windows are sampled at the same time?

    python -m benchmarks.windows --models=DIR --seconds=60

`--models` holds vqvae, top, middle, bottom, as the demo does. Prints a JSON line a tier about the audio at the borders
of its windows: `value` is the share of borders whose step from one sample to the next is larger than the median step at
other borders of codes (0.5: no difference). Then a line for the middle and the bottom tier and each way to sample them,
given the same codes above: `value` is the prior's nats per code, `nats_behind_border` that of the `--behind` codes that
follow a border. Each way runs twice with the same seed: `seconds` are of the second time, when nothing is compiled.
"""

import json
import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import code_nats, flag_values
from musicgen_jax import config, generation
from musicgen_jax.command_line import cli
from musicgen_jax.sampling import hierarchy, prompts, requests, sampler_settings, windows

_MODELS = cli.define_path("models", None, "Folder with vqvae, top, middle, bottom.", required=True)
_SECONDS = flags.DEFINE_float("seconds", 60.0, "Length of each sample.")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 2, "How many.")
_TEMPERATURE = flags.DEFINE_float("temperature", 0.7, "Of all tiers.")
_GENRE = flags.DEFINE_string("genre", "", "Label of all samples.")
_BEHIND = flags.DEFINE_integer("behind", 8, "Codes behind a border that are judged by themselves.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the samples.")

HOP_FRACTION = 0.5
WAYS = ((False, 0.5), (True, 1.0), (True, 0.75), (True, 0.5))  # at the same time, hop fraction


def main() -> None:
    """Flags -> JSON lines."""
    flag_values.require_positive(_NUM_SAMPLES, _BEHIND)
    music = generation.load(_MODELS.value)
    missing = ", ".join(tier for tier in music.tokenizer.layout.names if tier not in music.priors)
    config.require(not missing, f"--models={_MODELS.value} lacks {missing}: pass the folder of a whole system")
    request = _request("ancestral", False, HOP_FRACTION)
    layout = music.tokenizer.layout
    request.validate(layout, music.priors)
    for tier, prior in music.priors.items():
        borders = _borders(prior.config, request.num_frames(layout, tier), HOP_FRACTION)
        rule = f"one window of the {tier} tier holds it, and that has no borders: pass more"
        config.require(borders.size > 0, f"--seconds={_SECONDS.value}: {rule}")
    codes = hierarchy.Hierarchy(layout, music.priors, request).complete()
    for line in (*seams(music, codes), *ways(music, codes)):
        print(json.dumps({"benchmark": "windows", "seconds_of_music": _SECONDS.value} | line), flush=True)


def _request(mode: str, parallel: bool, hop_fraction: float) -> requests.Request:
    return requests.Request(
        seconds=_SECONDS.value,
        num_samples=_NUM_SAMPLES.value,
        seed=_SEED.value,
        mode=mode,
        genres=(_GENRE.value,) * bool(_GENRE.value),
        settings=sampler_settings.SamplingSettings(temperature=_TEMPERATURE.value),
        hop_fraction=hop_fraction,
        parallel_windows=parallel,
        batch_size=32 if parallel else _NUM_SAMPLES.value,
    )


def seams(music: generation.MusicGenerator, codes: hierarchy.Codes) -> Iterator[dict[str, object]]:
    """A line a tier, of the audio that the finest tier gives."""
    finest = list(codes)[-1]
    steps = np.abs(np.diff([music.tokenizer.decode(row, finest) for row in codes[finest]]))
    for tier, prior in music.priors.items():
        hop, num_codes = music.tokenizer.layout.stream(tier).hop_length, codes[tier].shape[1]
        borders = _borders(prior.config, num_codes, HOP_FRACTION)
        at_borders = steps[:, hop * borders - 1]
        elsewhere = steps[:, hop * np.setdiff1d(np.arange(1, num_codes), borders) - 1]
        yield {
            "value": float(np.mean(at_borders > np.median(elsewhere))),
            "unit": "share of borders above the median step",
            "tier": tier,
            "borders": at_borders.size,
            "median_step_at_borders": float(np.median(at_borders)),
            "median_step_elsewhere": float(np.median(elsewhere)),
            "median_step": float(np.median(steps)),
            "largest_step_at_borders": float(at_borders.max()),
            "largest_step": float(steps.max()),
        }


def _borders(model: config.PriorConfig, num_codes: int, hop_fraction: float) -> np.ndarray:
    """Where windows but the first begin to count, in codes."""
    plan = windows.plan(num_codes, model.context, hop_fraction, max(model.upsampling, 1))
    return np.array([window.kept_in_track.start for window in plan[1:]], int)


def ways(music: generation.MusicGenerator, codes: hierarchy.Codes) -> Iterator[dict[str, object]]:
    """A line for each upsampler and way."""
    layout = music.tokenizer.layout
    for stream in layout.streams[1:]:
        tier, prior, above = stream.name, music.priors[stream.name], codes[stream.above]
        start = prompts.Prompt("the tier above", {stream.above: above}, _SECONDS.value)
        for parallel, hop_fraction in WAYS:
            request = _request("upsample", parallel, hop_fraction)
            for _ in range(2):  # the first time compiles
                begun = time.perf_counter()
                sampled = hierarchy.Hierarchy(layout, {tier: prior}, request, start).complete()[tier]
                seconds = time.perf_counter() - begun
            nats = code_nats.code_nats(prior, request, sampled, above)
            borders = _borders(prior.config, sampled.shape[1], hop_fraction)
            behind = borders[:, None] + np.arange(_BEHIND.value)
            yield {
                "value": float(nats.mean()),
                "unit": "nats/code",
                "tier": tier,
                "parallel_windows": parallel,
                "hop_fraction": hop_fraction,
                "nats_behind_border": float(nats[:, behind[behind < nats.shape[1]]].mean()),
                "seconds": seconds,
            }


if __name__ == "__main__":
    cli.run(main)

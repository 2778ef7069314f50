"""Whether a run fits a topology, how fast it can be and what holds it up, before anything is paid for.

    python -m musicgen_jax.plan --config=configs/prior.py:tier=top,scale=5b --topology=v5e:16x16

    python -m musicgen_jax.plan --sample=5b_lyrics --num_samples=3 --topology=h100:1

    python -m musicgen_jax.plan --config=configs/vqvae.py:scale=base --hours=10000       disk and memory of the data

Prints one JSON object; --sample counts what sampling from a published cascade takes of a chip's memory. Needs no
accelerator: for TPUs the real compiler (libtpu) compiles the training step for a slice that is not there; for GPUs
(--topology=h100:8) memory is an estimate. `--config.a.b=value` as for the trainers.
"""

import json
from typing import Any

from absl import flags

from musicgen_jax import config
from musicgen_jax.command_line import cli, config_flag

_CONFIG = config_flag.define(
    "configs/prior.py:tier=top,scale=5b", config.VQVAETraining, config.PriorTraining, required=False
)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Chips: v5e:4x4, v5p:4x4x4, v6e:16x16, h100:8. With --hours it may be left out."
)
JUKEBOXES, MUSICGENS = ("5b", "5b_lyrics", "1b_lyrics"), ("small", "medium", "large")
_SAMPLE = flags.DEFINE_enum(
    "sample",
    None,
    [*JUKEBOXES, *(f"musicgen_{size}{kind}" for kind in ("", "_int8") for size in MUSICGENS)],
    "Published models, of which nothing is trained: a top prior of Jukebox with both upsamplers, or a MusicGen with "
    "guidance.",
)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1, "Of --sample: how many are made together.")
_NUM_SLICES = flags.DEFINE_integer("num_slices", 1, "TPU slices (or GPU nodes) of that topology.")
_SEQUENCES = flags.DEFINE_integer(
    "sequences_per_chip", 0, "Examples a chip; sets config.data.batch_size. 0 keeps the config's."
)
_MTBF_HOURS = flags.DEFINE_float("mtbf_hours", 50_000.0, "Mean time between failures of one chip, in hours.")
_CHECKPOINT_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds", 0.0, "By which a checkpoint holds up training; 0 estimates it from the size of the state."
)
_HOURS = flags.DEFINE_float("hours", 0.0, "Of music to train on: tells bytes on disk and in a host's memory.")
_TRACK_SECONDS = flags.DEFINE_float("track_seconds", 240.0, "Of --hours: mean length of a track.")
_OF_TRAINING = (_NUM_SLICES, _SEQUENCES, _MTBF_HOURS, _CHECKPOINT_SECONDS, _HOURS, _TRACK_SECONDS)


@flags.multi_flags_validator(["topology", "hours"])
def _require_topology(values: dict[str, Any]) -> bool:
    """Data alone can be planned without chips."""
    if values["topology"] is None and not flags.FLAGS["hours"].present:
        raise flags.ValidationError("Flag --topology must have a value (or --hours, to plan for the data alone).")
    of_chips = (_NUM_SLICES, _SEQUENCES, _MTBF_HOURS, _CHECKPOINT_SECONDS) if values["topology"] is None else ()
    if given := ", ".join(f"--{flag.name}" for flag in of_chips if flags.FLAGS[flag.name].present):
        raise flags.ValidationError(f"{given}: say --topology too, or leave it out to plan for the data alone.")
    return True


@flags.multi_flags_validator(["config", "sample"])
def _require_one_of_two_ways(values: dict[str, Any]) -> bool:
    """Either a run that trains, by its config, or sampling."""
    if (values["config"] is None) == (values["sample"] is None):
        raise flags.ValidationError("pass --config=FILE.py:ARG, to plan training, or --sample=NAME: one of the two.")
    others = (_NUM_SAMPLES,) if values["sample"] is None else _OF_TRAINING
    given = ", ".join(f"--{flag.name}" for flag in others if flags.FLAGS[flag.name].present)
    if given:
        raise flags.ValidationError(f"{given}: not of {'training' if values['sample'] is None else 'sampling'}.")
    return True


def main() -> None:
    """Flags -> one call -> stdout."""
    if _SAMPLE.value is None:
        _plan_training()
    else:
        _plan_sampling()


def _plan_sampling() -> None:
    from musicgen_jax.conversion import jukebox_prior
    from musicgen_jax.planning import cascade

    if _SAMPLE.value not in JUKEBOXES:
        size, rounded = _SAMPLE.value.removeprefix("musicgen_").removesuffix("_int8"), _SAMPLE.value.endswith("_int8")
        run = config_flag.load("configs/musicgen.py", f"scale={size}")
        found = cascade.plan_musicgen(run, _TOPOLOGY.value, _NUM_SAMPLES.value, rounded=rounded)
        print(json.dumps(found, indent=2), flush=True)
        return
    names = {"top": _SAMPLE.value, "middle": "upsampler_middle", "bottom": "upsampler_bottom"}
    models = {tier: jukebox_prior.RELEASED[name] for tier, name in names.items()}
    print(json.dumps(cascade.plan(models, _TOPOLOGY.value, _NUM_SAMPLES.value), indent=2), flush=True)


def _plan_training() -> None:
    import jax  # it and all else that is heavy: after the flags

    from musicgen_jax import kinds
    from musicgen_jax.command_line import closing
    from musicgen_jax.planning import data_sizes, plan
    from musicgen_jax.runtime import console

    music = None
    if _HOURS.present:
        music = data_sizes.Collection(_HOURS.value, _TRACK_SECONDS.value, console.num_cores())
    if _TOPOLOGY.value is None:
        print(json.dumps(plan.plan_data(_CONFIG.value, music), indent=2), flush=True)
        return
    question = plan.Question(
        topology=_TOPOLOGY.value,
        num_slices=_NUM_SLICES.value,
        sequences_per_chip=_SEQUENCES.value,
        mtbf_hours=_MTBF_HOURS.value,
        checkpoint_seconds=_CHECKPOINT_SECONDS.value,
        music=music,
    )
    jax.config.update("jax_enable_compilation_cache", False)  # what is compiled for absent chips cannot be read back
    found = plan.plan(_CONFIG.value, question)
    print(json.dumps(found, indent=2), flush=True)
    closing.after_plan(kinds.of(_CONFIG.value).trained_by, found["fits"])


if __name__ == "__main__":
    cli.run(main)

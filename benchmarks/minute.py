"""What does a minute of music cost: sequential steps, operations, bytes, seconds?

    python -m benchmarks.minute --chip=h100                         # scales small and 5b, computed
    python -m benchmarks.minute --demo=DIR --diffusion=DIR          # and tiny, measured on the demo's folder

Prints a JSON line for each scale and way of sampling: code after code, middle and bottom windows at the same time, and
diffusion in 16, 8 and 4 steps. `value` is seconds: measured ("measured": true; a shorter piece, scaled by its length;
`cpu_seconds` are those of all CPUs together, which other work on the machine does not lengthen much),
or what the chip's data sheet allows at least, step by step, one chip and one piece. Operations are matrix products;
bytes are the weights that a step reads and the keys and values of the past. Computed bytes count both in the compute
dtype of the scale's config, bfloat16 for small and larger: weights as they would lie in memory if they were cast once.
The tokenizer's decoder is left out.
"""

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from configs import prior as prior_configs
from musicgen_jax import config, generation, kinds, pretrained
from musicgen_jax.command_line import cli
from musicgen_jax.diffusion import sampler
from musicgen_jax.planning import chips, workload
from musicgen_jax.priors import flops, trained
from musicgen_jax.sampling import hierarchy, requests, windows
from musicgen_jax.training import precision

_SECONDS = flags.DEFINE_float("seconds", 60.0, "Length of the music.")
_SCALES = flags.DEFINE_list("scales", ["small", "5b"], "Sizes of configs/prior.py whose cost is computed.")
_CHIP = flags.DEFINE_string("chip", "h100", "Whose data sheet bounds the computed seconds; of planning/chips.py.")
_HOP_FRACTION = flags.DEFINE_float("hop_fraction", 0.5, "How far windows move on, in contexts.")
_PARALLEL_HOP = flags.DEFINE_float("parallel_hop_fraction", 1.0, "Likewise of windows that run at the same time.")
_STEPS = flags.DEFINE_list("steps", ["16", "8", "4"], "Of the diffusion sampler.")
_DEMO = cli.define_path("demo", None, "Folder with vqvae, top, middle, bottom: measures these priors too.")
_DIFFUSION = cli.define_path("diffusion", None, "Folder with diffusion models of some tiers, to measure too.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Timed runs of each way, after one that compiles.")
_MEASURED_SECONDS = flags.DEFINE_float("measured_seconds", 4.0, "Length of the piece that is timed.")

TIERS = workload.layout_with("top").names  # of the cascade


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of sampling one tier.

    Attributes:
      sequential_steps: calls of the network of which each waits for the one before.
      flops: operations.
      bytes: read from memory.
      seconds: at the chip's peak rates, each step as long as what holds it up.
    """

    sequential_steps: int
    flops: float
    bytes: float
    seconds: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*map(sum, zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


class TierCost:
    """Costs of one tier's model on one chip.

    Attributes:
      flops_at: operations of a cached step at each position of a window, [context].
      bytes_at: keys and values that it reads.
      weight_bytes: of the blocks and the logits, which every step reads.
    """

    def __init__(self, run: config.PriorTraining, chip: chips.Chip):
        self.model, self.chip = workload.resolve(run.model), chip
        settings, itemsize = self.model.transformer, np.dtype(precision.dtype(run.training.compute_dtype)).itemsize
        params = kinds.of(run).functional(dataclasses.replace(run, model=self.model)).abstract_params
        held = sum(leaf.size for name in ("stack", "logits") for leaf in jax.tree.leaves(params[name]))
        self.weight_bytes = float(held * itemsize)
        through = [0.0, *(_forward_flops(dataclasses.replace(self.model, context=n + 1)) for n in self._positions())]
        self.flops_at = np.diff(through)
        limit = settings.window + 1 if settings.window else self.model.context
        inner = settings.num_heads * settings.head_dim
        self.bytes_at = 2 * settings.num_layers * inner * itemsize * np.minimum(self._positions() + 1, limit)

    def _positions(self) -> np.ndarray:
        return np.arange(self.model.context)

    def _plan(self, num_codes: int, hop_fraction: float) -> list[windows.Window]:
        return windows.plan(num_codes, self.model.context, hop_fraction, max(self.model.upsampling, 1))

    def autoregressive(self, num_codes: int, hop_fraction: float) -> Cost:
        """One window after the other: what is known in one pass, then a step a code."""
        total = Cost(0, 0.0, 0.0, 0.0)
        for window in self._plan(num_codes, hop_fraction):
            if window.known:
                total += self._passes(self.flops_at[: window.known].sum(), self.weight_bytes)
            part = slice(window.known, window.stop)
            total += self._passes(self.flops_at[part], self.weight_bytes + self.bytes_at[part])
        return total

    def parallel(self, num_codes: int, hop_fraction: float) -> Cost:
        """All windows together, a step a position."""
        plan = windows.independent(self._plan(num_codes, hop_fraction))
        last = max(window.stop for window in plan)
        count = np.array([sum(window.stop > position for window in plan) for position in range(last)])
        return self._passes(count * self.flops_at[:last], self.weight_bytes + count * self.bytes_at[:last])

    def diffusion(self, num_codes: int, steps: int) -> Cost:
        """`steps` passes over every window, those of a round together."""
        names = {field.name for field in dataclasses.fields(config.PriorConfig)}
        model = config.DiffusionConfig(**{name: getattr(self.model, name) for name in names})
        rounds = sampler.rounds(num_codes, model.context, model.upsampling)
        counts = np.repeat([len(starts) for starts in rounds], steps)
        return self._passes(counts * _forward_flops(model), np.full(len(counts), self.weight_bytes))

    def _passes(self, operations: np.ndarray, read: np.ndarray | float) -> Cost:
        """Of passes one after the other, each with its operations and bytes."""
        operations, read = np.broadcast_arrays(np.atleast_1d(operations), read)
        seconds = np.maximum(operations / self.chip.flops, read / self.chip.hbm_bytes_per_second)
        return Cost(operations.size, float(operations.sum()), float(read.sum()), float(seconds.sum()))


def _forward_flops(model: config.PriorConfig) -> float:
    """Of one window, forward."""
    return flops.prior_step_flops(model, 1).model / 3


def ways(steps: list[int]) -> Iterator[tuple[str, int]]:
    """(name, steps) of every way of sampling."""
    yield from (("autoregressive", 0), ("parallel_windows", 0), *(("diffusion", number) for number in steps))


def computed(scale: str, seconds: float, steps: list[int], chip: chips.Chip) -> Iterator[dict[str, object]]:
    """A line a way."""
    tiers = {tier: TierCost(prior_configs.get_config(f"tier={tier},scale={scale}"), chip) for tier in TIERS}
    for way, number in ways(steps):
        costs = {}
        for tier, tier_cost in tiers.items():
            num_codes = round(seconds * tier_cost.model.codes_per_second)
            if way == "diffusion":
                costs[tier] = tier_cost.diffusion(num_codes, number)
            elif way == "parallel_windows" and tier_cost.model.upsampling:
                costs[tier] = tier_cost.parallel(num_codes, _PARALLEL_HOP.value)
            else:
                costs[tier] = tier_cost.autoregressive(num_codes, _HOP_FRACTION.value)
        yield line(scale, way, number, sum(costs.values(), Cost(0, 0.0, 0.0, 0.0)), costs) | {"chip": chip.name}


def line(scale: str, way: str, steps: int, total: Cost, costs: dict[str, Cost]) -> dict[str, object]:
    """The keys that all lines have."""
    return {
        "benchmark": "minute",
        "value": total.seconds,
        "unit": "s",
        "scale": scale,
        "way": way,
        "steps": steps,
        "seconds_of_music": _SECONDS.value,
        "measured": False,
        "sequential_steps": total.sequential_steps,
        "flops": total.flops,
        "bytes": total.bytes,
        "by_tier": {tier: dataclasses.asdict(cost) for tier, cost in costs.items()},
    }


def diffusion_folders(root: str) -> dict[str, str]:
    """{tier: folder of its diffusion model} of those in `root`.

    Raises:
      UserError: there is none.
    """
    folders = {tier: pathlib.Path(root, tier) for tier in TIERS}
    found = {tier: str(folder) for tier, folder in folders.items() if folder.is_dir()}
    names = ", ".join(TIERS)
    config.require(bool(found), f"--diffusion={root}: holds none of {names}: pass a folder of such workdirs")
    return found


def measured(demo: str, diffusion: dict[str, str], seconds: float, steps: list[int]) -> Iterator[dict[str, object]]:
    """A line a way, of trained models on this machine: medians of `--rounds`, in which the ways take turns, so that a
    busy machine slows all of them alike; scaled to `seconds`."""
    generator = generation.load(demo)
    replaced = {tier: pretrained.load_diffusion(folder, tier) for tier, folder in diffusion.items()}
    hierarchies = {way: _hierarchies(generator, replaced, way) for way in ways(steps if replaced else [])}
    times: dict[tuple[str, int], list[dict[str, np.ndarray]]] = {way: [] for way in hierarchies}
    for _ in range(1 + _ROUNDS.value):
        for way, new in hierarchies.items():
            times[way].append(_tier_times(new()))
    scale = seconds / _MEASURED_SECONDS.value
    for (way, number), rounds in times.items():
        # The first round compiles.
        medians = {tier: scale * np.median([one[tier] for one in rounds[1:]], axis=0) for tier in rounds[0]}
        wall, cpu = (float(total) for total in sum(medians.values()))
        by_tier = {tier: {"seconds": float(one[0]), "cpu_seconds": float(one[1])} for tier, one in medians.items()}
        yield {
            "benchmark": "minute",
            "value": wall,
            "unit": "s",
            "scale": "tiny",
            "way": way,
            "steps": number,
            "seconds_of_music": seconds,
            "measured": True,
            "cpu_seconds": cpu,
            "measured_seconds_of_music": _MEASURED_SECONDS.value,
            "by_tier": by_tier,
            "tiers_by_diffusion": sorted(replaced) if way == "diffusion" else [],
            "device": jax.devices()[0].device_kind,
        }


def _hierarchies(
    generator: generation.MusicGenerator, replaced: dict[str, trained.TrainedPrior], way: tuple[str, int]
) -> Callable[[], hierarchy.Hierarchy]:
    """Fresh hierarchies of one way of sampling, nothing of them sampled yet."""
    name, steps = way
    models = generator.priors | (replaced if name == "diffusion" else {})
    finer = _PARALLEL_HOP.value if name == "parallel_windows" else _HOP_FRACTION.value
    request = requests.Request(
        seconds=_MEASURED_SECONDS.value,
        hop_fraction={
            tier: _HOP_FRACTION.value if tier == "top" else finer
            for tier, model in models.items()
            if model.sampler != "diffusion"
        },
        batch_size=64,
        parallel_windows=name == "parallel_windows",
        sampler="diffusion" if name == "diffusion" else "autoregressive",
        steps=steps or None,
    )
    layout = generator.tokenizer.layout
    request.validate(layout, models)
    return lambda: hierarchy.Hierarchy(layout, models, request, show_progress=False)


def _tier_times(sampled: hierarchy.Hierarchy) -> dict[str, np.ndarray]:
    """(seconds, seconds of all CPUs together) of each tier, one after the other."""
    found = {}
    for tier, codes in sampled.codes.items():
        wall, cpu = time.perf_counter(), time.process_time()
        sampled.require(tier, codes.shape[1])
        found[tier] = np.array([time.perf_counter() - wall, time.process_time() - cpu])
    return found


def main() -> None:
    """Flags -> JSON lines."""
    config.require(_SECONDS.value > 0, f"--seconds={_SECONDS.value}: must be greater than 0")
    config.require(_MEASURED_SECONDS.value > 0, f"--measured_seconds={_MEASURED_SECONDS.value}: must be greater than 0")
    for name, value in (("hop_fraction", _HOP_FRACTION.value), ("parallel_hop_fraction", _PARALLEL_HOP.value)):
        config.require(0 < value <= 1, f"--{name}={value}: must be in (0, 1]")
    flag_values.require_positive(_ROUNDS)
    steps = flag_values.whole_numbers(_STEPS)
    rule = "goes with --demo, whose priors it is measured beside: pass that too"
    config.require(bool(_DEMO.value or not _DIFFUSION.value), f"--diffusion={_DIFFUSION.value}: {rule}")
    diffusion = diffusion_folders(_DIFFUSION.value) if _DIFFUSION.value else {}
    for scale in _SCALES.value:
        for found in computed(scale, _SECONDS.value, steps, chips.chip(_CHIP.value)):
            print(json.dumps(found), flush=True)
    if _DEMO.value:
        for found in measured(_DEMO.value, diffusion, _SECONDS.value, steps):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    cli.run(main)

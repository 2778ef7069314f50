"""Devices, data, optimizer and the training loop."""

import dataclasses
import math
import re
import sys
from typing import Any

from musicgen_jax.config.fields import MAX_SEED, require, require_range

MAX_STEPS = 2**31 - 1  # an int32 counts them
MAX_BATCH_SIZE = 2**20
MAX_DEVICES = 2**20
MAX_PROFILED = 1000


@dataclasses.dataclass
class MeshConfig:
    """Devices as a grid. The batch is divided over replica x data x fsdp; parameters over fsdp and tensor."""

    replica: int = 1  # copies of everything on devices that only the network joins: the slices of several TPU slices
    data: int = -1  # data-parallel replicas; -1 takes the devices that the other axes leave
    fsdp: int = 1  # parameters, gradients and optimizer state are divided over this axis
    tensor: int = 1  # heads and MLP columns are divided over this axis
    num_processes: int = 0  # processes (hosts) that must take part, checked at the start; 0: as many as are started

    def validate(self) -> None:
        for name in ("replica", "fsdp", "tensor"):
            require_range(f"mesh.{name}", getattr(self, name), 1, MAX_DEVICES)
        require(self.data == -1 or self.data >= 1, f"mesh.data={self.data}: must be -1 (the rest) or at least 1")
        require_range("mesh.data", self.data, -1, MAX_DEVICES)
        require_range("mesh.num_processes", self.num_processes, 0, MAX_DEVICES)


@dataclasses.dataclass
class DataConfig:
    """Where batches come from and how large they are."""

    path: str = ""  # folder written by prepare_data (VQ-VAE) or extract_codes (priors)
    batch_size: int = 32  # examples in the global batch, over all hosts
    num_workers: int = 0  # Grain worker processes a host; 0 reads in threads
    seed: int = 0  # order and crops
    licence: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the data; read from them

    def validate(self) -> None:
        require(bool(self.path), "config.data.path is empty: pass --config.data.path=DIR")
        require_range("data.batch_size", self.batch_size, 1, MAX_BATCH_SIZE)
        require_range("data.num_workers", self.num_workers, 0, 1024)
        require_range("data.seed", self.seed, 0, MAX_SEED)


@dataclasses.dataclass
class OptimizerConfig:
    """Optimizer with decoupled weight decay; linear warm-up, then the decay schedule."""

    name: str = "adamw"  # adamw | adafactor (a row and a column for each matrix) | muon (its matrices; Adam the rest)
    state_dtype: str = "float32"  # of the moments: float32 | bfloat16 (half the memory, rounded at random)
    peak_learning_rate: float = 1e-4  # after warm-up
    warmup_steps: int = 0  # linear from 0
    decay: str = "constant"  # constant | cosine (to final_fraction of the peak at training.num_steps)
    final_fraction: float = 0.0  # learning rate at the end as a share of the peak, for decay=cosine
    b1: float = 0.9  # decay of the first moment (Muon: momentum); 0 with adafactor: no such moment is kept
    b2: float = 0.999  # decay of the second moment (Adafactor: the most it gets to)
    weight_decay: float = 0.0  # on matrices and tables only, never on biases and norms
    clip_norm: float = 1.0  # global gradient norm; 0 turns clipping off

    def validate(self) -> None:
        names, dtypes = ("adamw", "adafactor", "muon"), ("float32", "bfloat16")
        require(self.name in names, f"optimizer.name={self.name!r}: must be one of {', '.join(names)}")
        require(
            self.state_dtype in dtypes,
            f"optimizer.state_dtype={self.state_dtype!r}: must be one of {', '.join(dtypes)}",
        )
        require(self.decay in ("constant", "cosine"), f"optimizer.decay={self.decay!r}: must be constant or cosine")
        for decay in ("b1", "b2"):
            require(0 <= getattr(self, decay) < 1, f"optimizer.{decay}={getattr(self, decay)}: must be in [0, 1)")
        rate = self.peak_learning_rate
        require(0 < rate < math.inf, f"optimizer.peak_learning_rate={rate}: must be greater than 0, and finite")
        require_range("optimizer.warmup_steps", self.warmup_steps, 0, MAX_STEPS)
        require_range("optimizer.final_fraction", self.final_fraction, 0, 1)
        for name in ("weight_decay", "clip_norm"):
            require_range(f"optimizer.{name}", getattr(self, name), 0, sys.float_info.max)


@dataclasses.dataclass
class TrainingConfig:
    """How long, how precise, how often."""

    num_steps: int = 1000  # optimizer updates in all
    seed: int = 0  # initial parameters and every random draw of training
    compute_dtype: str = "float32"  # float32 | bfloat16 | float16 (with dynamic loss scaling)
    accumulation_steps: int = 1  # micro-batches a step; the batch size must be divisible by it
    ema_decay: float = 0.0  # moving average of the parameters, to evaluate and sample with; 0 turns it off
    log_every: int = 10  # steps between lines of metrics.jsonl
    eval_every: int = 500  # steps between validation passes; 0 turns them off
    eval_batches: int = 8  # batches of a validation pass
    checkpoint_every: int = 500  # steps between checkpoints; one is always written at the end
    keep_checkpoints: int = 2  # newest checkpoints kept
    sample_every: int = 500  # steps between sounds in the TensorBoard events; 0 turns them off
    profile_steps: str = ""  # FIRST:END, as 10:13 for steps 10, 11 and 12: their trace goes to WORKDIR/profile

    @property
    def profiled(self) -> range:
        """The steps of `profile_steps`."""
        first, _, end = self.profile_steps.partition(":")
        return range(int(first), int(end)) if end else range(0)

    def validate(self) -> None:
        for name in ("num_steps", "log_every", "checkpoint_every", "keep_checkpoints"):
            require_range(f"training.{name}", getattr(self, name), 1, MAX_STEPS)
        for name in ("eval_every", "eval_batches", "sample_every"):
            require_range(f"training.{name}", getattr(self, name), 0, MAX_STEPS)
        require_range("training.accumulation_steps", self.accumulation_steps, 1, MAX_BATCH_SIZE)
        require_range("training.seed", self.seed, 0, MAX_SEED)
        require(0 <= self.ema_decay < 1, f"training.ema_decay={self.ema_decay}: must be in [0, 1)")
        self._validate_profile()
        known = ("float32", "bfloat16", "float16")
        require(self.compute_dtype in known, f"training.compute_dtype={self.compute_dtype!r}: must be one of {known}")

    def _validate_profile(self) -> None:
        shown, text = f"training.profile_steps={self.profile_steps!r}", self.profile_steps
        form = text == "" or re.fullmatch(r"[0-9]{1,10}:[0-9]{1,10}", text)
        require(bool(form), f"{shown}: must be FIRST:END, such as 10:13 for steps 10, 11 and 12")
        if text:
            steps = self.profiled
            require(len(steps) > 0 and steps.start >= 1, f"{shown}: FIRST must be at least 1 and END above it")
            require(len(steps) <= MAX_PROFILED, f"{shown}: at most {MAX_PROFILED} steps, for each adds to the trace")
            require(steps.stop <= self.num_steps + 1, f"{shown}: the run ends with step {self.num_steps}")

"""Training that begins from a trained model."""

import dataclasses
from typing import Any

from musicgen_jax.config.fields import require, require_range
from musicgen_jax.config.training import DataConfig, MeshConfig, OptimizerConfig, TrainingConfig

TARGETS = ("attention", "mlp", "all")  # matrices that adapters are made for; see `nn.adapters`
MAX_RANK = 4096
MOST_WINDOWS = 16  # of a batch: what pods were given at a time is more than a few recordings need
ADAPTER_RATE = 1e-3  # peak of the learning rate of adapters


@dataclasses.dataclass
class InitConfig:
    """The trained model that a run began from; `train_prior --init` fills it in, elsewhere it is empty."""

    path: str = ""  # its workdir, where it was then
    fingerprint: str = ""  # digest of its weights, by which it is known wherever it lies

    def validate(self) -> None:
        require(
            bool(self.path) == bool(self.fingerprint),
            f"init.path={self.path!r}, init.fingerprint={self.fingerprint!r}: --init=DIR fills in both; leave them out",
        )


@dataclasses.dataclass
class LoRAConfig:
    """Adapters that are trained in the place of the model (Hu et al. 2021)."""

    rank: int = 0  # of each adapter; 0: there are none, the model itself is trained
    alpha: float = 0.0  # what adapters add is multiplied with alpha / rank; 0 takes the rank, so with 1
    targets: tuple[str, ...] = ("attention", "mlp")  # matrices that have one: see `TARGETS`

    @property
    def names(self) -> tuple[str, ...]:
        """Those in `targets`, of which an override gives several in one text: --config.lora.targets=attention,mlp."""
        return tuple(name.strip() for text in self.targets for name in text.split(","))

    @property
    def strength(self) -> float:
        """The alpha that is meant."""
        return self.alpha or float(self.rank)

    def validate(self) -> None:
        require_range("lora.rank", self.rank, 0, MAX_RANK)
        require_range("lora.alpha", self.alpha, 0, 1e6)
        names = self.names
        shown = f"lora.targets={','.join(names)}"
        for name in names:
            require(name in TARGETS, f"{shown}: {name!r} must be one of {', '.join(TARGETS)}")
        require(bool(names), f"{shown}: must be some of {', '.join(TARGETS)}")


def for_own_data(run: Any, adapters: bool) -> Any:
    """The config of a short run that goes on from what `run` trained, on other data and other devices.

    Args:
      run: its model and precision are kept, batches of up to `MOST_WINDOWS`, and where the model itself is trained its
        optimizer, at a tenth of the peak.
      adapters: whether adapters are trained: by AdamW, which Hu et al. 2021 trained them with.
    """
    kept = run.optimizer
    optimizer = dataclasses.replace(kept, peak_learning_rate=kept.peak_learning_rate / 10)
    if adapters:
        optimizer = OptimizerConfig(peak_learning_rate=ADAPTER_RATE, clip_norm=kept.clip_norm)
    return dataclasses.replace(
        run,
        data=DataConfig(batch_size=min(run.data.batch_size, MOST_WINDOWS), num_workers=run.data.num_workers),
        mesh=MeshConfig(),
        training=TrainingConfig(
            num_steps=300, compute_dtype=run.training.compute_dtype, eval_every=50, checkpoint_every=100
        ),
        optimizer=dataclasses.replace(optimizer, warmup_steps=10, decay="cosine", final_fraction=0.1),
        shard_sequence=False,
        init=InitConfig(),
        lora=LoRAConfig(),
    )

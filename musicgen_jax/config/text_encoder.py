"""The encoder that makes vectors of text: T5's, whose published weights `convert` reads."""

import dataclasses
from typing import ClassVar

from musicgen_jax.config.fields import require, require_range

# Hidden units of a T5 block.
FEED_FORWARDS = (
    "relu",  # of T5 v1.0
    "gated-gelu",  # of T5 v1.1 and Flan-T5: one half multiplies the other
)


@dataclasses.dataclass
class T5Config:
    """The encoder of T5 (Raffel et al. 2020, arXiv 1910.10683); the values are those of t5-base."""

    kind: ClassVar[str] = "t5"  # of `kinds.KINDS`

    vocabulary: int = 32128  # rows of the table of tokens; the last ones may have no piece of text
    width: int = 768  # residual stream
    num_layers: int = 12
    num_heads: int = 12
    head_dim: int = 64
    mlp_width: int = 3072  # hidden units
    feed_forward: str = "relu"  # see `FEED_FORWARDS`
    num_buckets: int = 32  # of distances between two tokens, half of them behind and half of them ahead
    max_distance: int = 128  # tokens from which all distances are one
    norm_epsilon: float = 1e-6

    @property
    def model(self) -> "T5Config":
        """Itself: no training run wraps it."""
        return self

    def validate(self) -> None:
        require_range("vocabulary", self.vocabulary, 2, 2**24)
        for name in ("width", "num_heads", "head_dim", "mlp_width"):
            require_range(name, getattr(self, name), 1, 2**20)
        require_range("num_layers", self.num_layers, 1, 1000)
        require_range("num_buckets", self.num_buckets, 4, 2**16)
        require(self.num_buckets % 4 == 0, f"num_buckets={self.num_buckets}: must be a multiple of 4")
        require_range("max_distance", self.max_distance, self.num_buckets // 4 + 1, 2**24)
        require_range("norm_epsilon", self.norm_epsilon, 0, 1)
        known = ", ".join(FEED_FORWARDS)
        require(self.feed_forward in FEED_FORWARDS, f"feed_forward={self.feed_forward!r}: must be one of {known}")

"""What the configs of codecs share: one stream of codes of several codebooks, from one encoder and for one decoder."""

import math

from musicgen_jax.config.fields import require, require_range

CODES = "codes"  # name of the one stream


class Codec:
    """All that module, task and tokenizer of a codec ask of its config.

    A subclass has the fields sample_rate, strides (of the encoder's convolutions, from the waveform on), and quantizer.
    """

    @property
    def streams(self) -> dict[str, "Codec"]:
        """Its one stream: `CODES`."""
        return {CODES: self}

    @property
    def hop_length(self) -> int:
        """Samples of a frame."""
        return math.prod(self.strides)

    @property
    def hop_lengths(self) -> dict[str, int]:
        return {CODES: self.hop_length}

    def validate(self) -> None:
        require_range("model.sample_rate", self.sample_rate, 1, 768_000)
        require(
            0 < len(self.strides) <= 20 and min(self.strides) >= 2 and self.hop_length <= 2**20,
            f"model.strides={self.strides}: there must be one or more, each at least 2, with a product (the samples of "
            "a frame) of at most 2 ** 20",
        )
        self.quantizer.validate()

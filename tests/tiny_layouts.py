"""The streams of a hierarchical VQ-VAE, as `Tokenizer.layout` tells them."""

from musicgen_jax.codes.layout import Layout, Stream

TIERS = ("top", "middle", "bottom")  # coarse to fine
ABOVE = {"top": "", "middle": "top", "bottom": "middle"}
HOP_LENGTHS = {"top": 128, "middle": 32, "bottom": 8}


def of_vqvae(sample_rate: int = 1280, num_codes: int = 11, fingerprint: str = "f00d") -> Layout:
    """At 1280 Hz, 10, 40 and 160 frames a second."""
    streams = tuple(Stream(name, hop, 1, num_codes, ABOVE[name]) for name, hop in HOP_LENGTHS.items())
    return Layout(sample_rate, 1, streams, fingerprint)

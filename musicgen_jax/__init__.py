"""From recordings to new music: VQ-VAE tokenizer, Transformer priors, sampling and evaluation, in JAX.

import musicgen_jax

generator = musicgen_jax.load("demo")  # a folder with vqvae/, top/, middle/, bottom/
audio = generator.generate(seconds=20, genre="organ", prompt="melody.wav", seed=1)  # float32 [S]
for block in generator.stream(seconds=60):  # the same as it comes into being
    play(block, generator.sample_rate)
"""

import os
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from musicgen_jax import generation


def load(
    directory: "str | os.PathLike[str] | None" = None, **workdirs: "str | os.PathLike[str]"
) -> "generation.MusicGenerator":
    """Trained models, ready to make music; see `generation.load` and `generation.MusicGenerator`."""
    from musicgen_jax import generation  # it imports JAX, which `import musicgen_jax` does not

    return generation.load(directory, **workdirs)

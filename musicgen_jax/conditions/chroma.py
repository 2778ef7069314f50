"""Melody: which pitch class is the loudest, frame by frame, before the codes (Copet et al. 2023, section 2.3)."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions import text
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.transformer import weights

PITCH_CLASSES = config.PITCH_CLASSES
SILENCE = 0  # the pitch class of a frame in which none is loudest, and of all frames where there is no melody


class Melody(nnx.Module):
    """Pitch classes and a caption, each through one linear layer, one after the other before the codes."""

    stream, is_memory = 0xC4404A, False

    def __init__(self, model: config.MusicgenConfig, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        self.frames, self.dtype = model.chroma_frames, dtype
        self.caption = text.Text(model, dtype=dtype, rngs=rngs)
        width = model.transformer.width
        self.project = weights.Linear(PITCH_CLASSES, width, (None, "width"), ("width",), dtype=dtype, rngs=rngs)

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> Condition:
        """Projects both.

        Args:
          batch: those of `text.Text`, and `chroma` int32 [B, F], the pitch class of each frame, 0 .. 11 from C on.
          hidden: bool [B], windows that are told neither.

        Returns:
          lead [B, F + M, D]; the empty places of a caption are zeros, which count as positions.
        """
        pitch = batch["chroma"] if hidden is None else jnp.where(hidden[:, None], SILENCE, batch["chroma"])
        melody = self.project(jax.nn.one_hot(pitch, PITCH_CLASSES, dtype=self.dtype))
        return Condition(lead=jnp.concatenate([melody, self.caption.projected(batch, hidden)[0]], axis=1))

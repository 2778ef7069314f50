"""Encoder and decoder of each tier: shapes, hop lengths, and the reach that `receptive_field` promises."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.vqvae import decoder, encoder

CODE_WIDTH = 2
TIERS = {
    "one step": config.TierConfig(downsampling=(1,), width=2, depth=1),
    "tiny top": config.TierConfig(downsampling=(3, 2, 2), width=2, depth=2),
    "tiny bottom": config.TierConfig(downsampling=(3,), width=2, depth=2),
    "growth 2": config.TierConfig(downsampling=(1, 2), width=2, depth=3, dilation_growth=2),
    "base middle": config.TierConfig(downsampling=(3, 2), width=2, depth=4),
    "base bottom": config.TierConfig(downsampling=(3,), width=2, depth=8),
}


def all_equal(build: Callable[[], nnx.Module]) -> nnx.Module:
    """All weights positive and equal, so that nothing cancels, no ReLU closes, and every path through shows."""
    module = nnx.eval_shape(build)
    nnx.update(module, jax.tree.map(lambda x: jnp.full(x.shape, 0.3), nnx.state(module, nnx.Param)))
    return module


def reach(module: nnx.Module, x: np.ndarray, positions: list[int]) -> list[np.ndarray]:
    """For each input frame of `positions`, the indices of the output frames that change with it."""
    differential = jax.jit(lambda tangent: jax.jvp(module, (x,), (tangent,))[1])
    changed = []
    for position in positions:
        tangent = np.zeros_like(x)
        tangent[:, position] = 1.0
        change = np.asarray(differential(tangent))[0]
        changed.append(np.flatnonzero(change.reshape(len(change), -1).any(axis=-1)))
    return changed


@pytest.mark.parametrize("name", list(TIERS))
def test_receptive_field_bounds_the_reach(name):
    tier = TIERS[name]
    hop, field = tier.hop_length, encoder.receptive_field(tier)
    frames = 2 * (-(-field // hop)) + 9
    middle = frames // 2

    encode = all_equal(lambda: encoder.Encoder(tier, CODE_WIDTH, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    audio = np.full((1, frames * hop), 0.1, np.float32)
    farthest = 0
    positions = [middle * hop, middle * hop + hop - 1]
    for position, changed in zip(positions, reach(encode, audio, positions), strict=True):
        assert changed[0] > 0 and changed[-1] < frames - 1, "the clip is too short to show the reach"
        # Code t owns samples [t * hop, (t + 1) * hop); the distance is from its border to the sample.
        farthest = max(farthest, position - ((changed[0] + 1) * hop - 1), changed[-1] * hop - position)
    assert 0.4 * field <= farthest <= field

    decode = all_equal(lambda: decoder.Decoder(tier, CODE_WIDTH, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    latents = np.full((1, frames, CODE_WIDTH), 0.1, np.float32)
    (changed,) = reach(decode, latents, [middle])
    assert changed[0] > 0 and changed[-1] < frames * hop - 1
    farthest = max(middle * hop - changed[0], changed[-1] - ((middle + 1) * hop - 1))
    assert 0.4 * field <= farthest <= field


def test_hop_lengths_of_the_published_sizes():
    assert config.VQVAEConfig().hop_lengths == {"top": 128, "middle": 32, "bottom": 8}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("downsampling", [(3, 2, 2), (3, 2), (3,)])
def test_encoder_and_decoder_shapes(downsampling, dtype):
    tier = config.TierConfig(downsampling=downsampling, width=2, depth=1)
    audio = jax.ShapeDtypeStruct((2, 3 * tier.hop_length), jnp.float32)
    latents = jax.eval_shape(lambda x: encoder.Encoder(tier, 5, dtype=dtype, rngs=nnx.Rngs(0))(x), audio)
    assert latents.shape == (2, 3, 5) and latents.dtype == jnp.float32
    decoded = jax.eval_shape(lambda x: decoder.Decoder(tier, 5, dtype=dtype, rngs=nnx.Rngs(0))(x), latents)
    assert decoded.shape == audio.shape and decoded.dtype == jnp.float32

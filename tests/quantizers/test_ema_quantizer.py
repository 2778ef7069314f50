"""The moving-average quantizer against slow NumPy, and its global-batch statistics on eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import ema_quantizer
from musicgen_jax.sharding import meshes

NUM_CODES, WIDTH = 12, 3


def make(entries: np.ndarray | None = None, **settings: float) -> ema_quantizer.EMAQuantizer:
    sizes = config.QuantizerConfig(num_codes=NUM_CODES, code_width=WIDTH, **settings)
    quantizer = ema_quantizer.EMAQuantizer(sizes, rngs=nnx.Rngs(0))
    if entries is not None:
        quantizer.entries[...] = jnp.asarray(entries)
    return quantizer


def make_latents(seed: int, batch: int = 4, length: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, length, WIDTH)).astype(np.float32)


def state(quantizer: ema_quantizer.EMAQuantizer) -> dict[str, np.ndarray]:
    return {name: np.asarray(getattr(quantizer, name)[...]) for name in ("entries", "counts", "sums")}


def test_nearest_code_equals_brute_force():
    quantizer, latents = make(), make_latents(0)
    entries = state(quantizer)["entries"]
    distances = ((latents[:, :, None, :] - entries) ** 2).sum(-1)
    codes = quantizer.encode(latents)
    np.testing.assert_array_equal(codes[..., 0], distances.argmin(-1))
    assert codes.dtype == jnp.int32 and codes.shape == (4, 30, 1)
    np.testing.assert_array_equal(quantizer.codebook(), entries[None])
    np.testing.assert_array_equal(quantizer.decode(codes), entries[np.asarray(codes)[..., 0]])


def test_quantized_values_and_straight_through_gradient():
    quantizer, latents = make(), make_latents(1)
    quantized = quantizer(latents)
    chosen = state(quantizer)["entries"][np.asarray(quantized.codes)[..., 0]]
    np.testing.assert_allclose(quantized.latents, chosen, atol=1e-6)
    np.testing.assert_allclose(quantized.commitment_loss, ((latents - chosen) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(quantized.latent_power, (latents**2).mean(), rtol=1e-5)
    assert quantized.codebook_loss is None

    seen = make_latents(2)
    gradient = jax.grad(lambda z: jnp.sum(quantizer(z).latents * seen))(jnp.asarray(latents))
    np.testing.assert_array_equal(gradient, seen)
    gradient = jax.grad(lambda z: quantizer(z).commitment_loss)(jnp.asarray(latents))
    np.testing.assert_allclose(gradient, 2 * (latents - chosen) / latents.size, rtol=1e-4, atol=1e-8)


def numpy_update(before: dict, latents: np.ndarray, codes: np.ndarray, decay: float) -> dict:
    """The averages alone, vector by vector: no code falls out of use."""
    counts, sums = decay * before["counts"].astype(np.float64), decay * before["sums"].astype(np.float64)
    for vector, code in zip(latents.reshape(-1, WIDTH), codes.reshape(-1), strict=True):
        counts[code] += 1 - decay
        sums[code] += (1 - decay) * vector
    return {"entries": sums / counts[:, None], "counts": counts, "sums": sums}


def test_update_equals_numpy_over_several_steps():
    quantizer = make(ema_decay=0.9, restart_fraction=0.01)
    quantizer.counts[...] = jnp.full(NUM_CODES, 10.0)
    quantizer.sums[...] = quantizer.entries[...] * 10.0
    want = state(quantizer)
    for step in range(5):
        latents = make_latents(step)
        codes = np.asarray(quantizer.encode(latents))
        want = numpy_update(want, latents, codes, 0.9)
        assert int(quantizer.update(latents, codes, jax.random.key(step))["restarts"]) == 0
        for name, value in state(quantizer).items():
            np.testing.assert_allclose(value, want[name], rtol=1e-4, atol=1e-5, err_msg=f"{name} at step {step}")


def is_one_of(entries: np.ndarray, latents: np.ndarray) -> np.ndarray:
    return (np.abs(entries[:, None] - latents.reshape(-1, WIDTH)).max(-1) < 1e-5).any(-1)


def test_only_unused_codes_restart_and_at_encoder_outputs():
    entries = make_latents(3, 1, NUM_CODES)[0]
    entries[:4] += 1000.0  # too far away for anything to fall there
    quantizer = make(entries, ema_decay=0.5, restart_fraction=0.01)
    quantizer.counts[...] = jnp.where(jnp.arange(NUM_CODES) < 4, 1e-3, 10.0)
    quantizer.sums[...] = quantizer.entries[...] * quantizer.counts[...][:, None]
    before, latents = state(quantizer), make_latents(4)
    codes = np.asarray(quantizer.encode(latents))
    result = quantizer.update(latents, codes, jax.random.key(0))
    after = state(quantizer)
    assert int(result["restarts"]) == 4
    assert is_one_of(after["entries"][:4], latents).all()
    assert len(np.unique(after["entries"][:4], axis=0)) > 1, "all restarted at the same vector"
    np.testing.assert_allclose(after["counts"][:4], latents.shape[0] * latents.shape[1] / NUM_CODES)
    want = numpy_update(before, latents, codes, 0.5)
    np.testing.assert_allclose(after["entries"][4:], want["entries"][4:], rtol=1e-4, atol=1e-5)


def test_first_update_initialises_from_data():
    quantizer, latents = make(), make_latents(5) * 0.1 + 50.0  # far from the random entries
    result = quantizer.update(latents, quantizer.encode(latents), jax.random.key(0))
    after = state(quantizer)
    assert int(result["restarts"]) >= NUM_CODES - 1
    assert np.all(np.abs(after["entries"] - 50.0) < 1.0)
    assert is_one_of(after["entries"], latents).sum() >= NUM_CODES - 1
    assert len(np.unique(np.asarray(quantizer.encode(latents)))) > NUM_CODES // 2


def test_restart_key_decides():
    latents, entries = make_latents(6), []
    for seed in (0, 0, 1):
        quantizer = make()
        quantizer.update(latents, quantizer.encode(latents), jax.random.key(seed))
        entries.append(state(quantizer)["entries"])
    np.testing.assert_array_equal(entries[0], entries[1])
    assert not np.array_equal(entries[0], entries[2])


def test_update_of_a_batch_over_eight_devices_equals_one_device():
    mesh = meshes.make_mesh(config.MeshConfig(data=4, fsdp=2), jax.devices()[:8])
    latents = make_latents(7, batch=16)
    # Every device has its own region, so statistics or candidates of one device alone would show.
    latents += 10.0 * np.arange(16, dtype=np.float32)[:, None, None]

    @jax.jit
    def update(latents: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        quantizer = make(ema_decay=0.9)
        for step in range(2):
            result = quantizer.update(latents, quantizer.encode(latents), jax.random.key(step))
        return {name: getattr(quantizer, name)[...] for name in ("entries", "counts", "sums")}, result["restarts"]

    sharded = jax.device_put(latents, meshes.batch_sharding(mesh))
    assert sharded.addressable_shards[0].data.shape[0] == 2
    got, want = update(sharded), update(latents)
    assert int(got[1]) == int(want[1])
    for name, value in want[0].items():
        np.testing.assert_allclose(got[0][name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.ptp(np.asarray(got[0]["entries"])[:, 0]) > 50, "restarts come from a part of the batch only"


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_restart_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match="restart_fraction"):
        config.QuantizerConfig(restart_fraction=fraction).validate()

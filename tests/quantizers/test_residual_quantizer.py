"""Several codebooks against slow NumPy, and against the quantizer of one codebook that they are made of."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import quantizer, residual_quantizer

KINDS = tuple(quantizer.KINDS)
NUM_CODES, WIDTH = 12, 3


def settings(kind: str = "ema", num_codebooks: int = 3, **changes) -> config.QuantizerConfig:
    made = config.QuantizerConfig(
        **{"kind": kind, "num_codebooks": num_codebooks, "num_codes": NUM_CODES, "code_width": WIDTH}
        | {"ema_decay": 0.9, "lookup_width": 2, "fsq_levels": (4, 3)} | changes
    )  # fmt: skip
    made.validate()
    return made


def make(kind: str = "ema", num_codebooks: int = 3, **changes) -> residual_quantizer.ResidualQuantizer:
    """A residual quantizer even of one codebook, which `quantizer.make` leaves bare."""
    rngs, bare = nnx.Rngs(0), settings(kind, 1, **changes | {"codebook_dropout": 0.0})
    stages = [quantizer.make(bare, rngs=rngs) for _ in range(num_codebooks)]
    made = settings(kind, num_codebooks, **changes)
    return residual_quantizer.ResidualQuantizer(made, stages)


def make_latents(seed: int = 0, batch: int = 4, length: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, length, WIDTH)).astype(np.float32)


def trained(kind: str, num_codebooks: int = 4) -> residual_quantizer.ResidualQuantizer:
    """Its entries lie on the data, each codebook's on what the ones before it leave."""
    return nnx.clone(_trained(kind, num_codebooks))


@functools.cache
def _trained(kind: str, num_codebooks: int) -> residual_quantizer.ResidualQuantizer:
    quantizer = make(kind, num_codebooks)
    for step in range(8):
        latents = make_latents(step)
        quantizer.update(latents, quantizer.encode(latents), jax.random.key(step))
    return quantizer


def variables(module: nnx.Module) -> dict:
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module)))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_one_codebook_is_the_quantizer_of_its_kind(kind):
    residual, alone = make(kind, 1), quantizer.make(settings(kind, 1), rngs=nnx.Rngs(0))
    assert not isinstance(alone, residual_quantizer.ResidualQuantizer)
    latents, seen = make_latents(1), make_latents(2)

    def objective(module, latents):
        found = module(latents)
        learned = 0 if found.codebook_loss is None else found.codebook_loss
        return jnp.sum(found.latents * seen) + 3 * found.commitment_loss + 2 * learned, found

    results = []
    for module in (residual, alone):
        (value, found), gradient = jax.value_and_grad(lambda z, m=module: objective(m, z), has_aux=True)(
            jnp.asarray(latents)
        )
        key = jax.random.fold_in(jax.random.key(3), 0) if module is alone else jax.random.key(3)
        restarts = module.update(latents, found.codes, key)
        results.append((value, found, gradient, restarts, module.encode(latents), module.codebook()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), *results)
    jax.tree.map(np.testing.assert_array_equal, variables(residual)["stages"][0], variables(alone))


@pytest.mark.long
def test_codes_and_entries_equal_slow_numpy():
    quantizer, latents = trained("ema"), make_latents(9)
    books = np.asarray(quantizer.codebook())
    assert books.shape == (4, NUM_CODES, WIDTH)
    codes, decoded = np.zeros((4, 30, 4), np.int64), np.zeros_like(latents)
    for b in range(4):
        for t in range(30):
            left = latents[b, t].astype(np.float64)
            for q in range(4):
                codes[b, t, q] = ((left - books[q]) ** 2).sum(-1).argmin()
                left = left - books[q, codes[b, t, q]]
                decoded[b, t] += books[q, codes[b, t, q]]
    got = quantizer.encode(latents)
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, codes)
    np.testing.assert_allclose(quantizer.decode(got), decoded, atol=1e-5)
    found = quantizer(latents)
    np.testing.assert_array_equal(found.codes, codes)
    np.testing.assert_allclose(found.latents, decoded, atol=1e-5)
    np.testing.assert_allclose(found.latent_power, (latents**2).mean(), rtol=1e-5)
    partial = np.cumsum([books[q][codes[..., q]] for q in range(4)], axis=0)
    np.testing.assert_allclose(found.commitment_loss, ((latents - partial) ** 2).mean(), rtol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("kind", ("ema", "gradient"))
def test_each_codebook_lowers_the_error(kind):
    quantizer, latents = trained(kind), make_latents(9)
    codes = quantizer.encode(latents)
    errors = [float(((quantizer.decode(codes[..., :q]) - latents) ** 2).mean()) for q in range(1, 5)]
    assert all(after < 0.8 * before for before, after in itertools.pairwise(errors)), errors


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_codebooks_decode_alone(kind):
    quantizer, latents = make(kind), make_latents(3)
    codes, books = np.asarray(quantizer.encode(latents)), np.asarray(quantizer.codebook())
    for number in (1, 2, 3):
        np.testing.assert_array_equal(quantizer.encode(latents, number), codes[..., :number])
        entries = sum(books[q][codes[..., q]] for q in range(number))
        np.testing.assert_allclose(quantizer.decode(codes[..., :number]), entries, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_training_finds_the_residuals_of_encoding_to_the_last_bit(kind, monkeypatch):
    quantizer, latents = trained(kind), 3 * make_latents(9)  # few near their entries, so that rounding shows

    def residuals(method: str, run) -> list[np.ndarray]:
        seen, stage = [], type(quantizer.stages[0])
        original = getattr(stage, method)

        def spy(self, latents, *rest):
            seen.append(np.asarray(latents))
            return original(self, latents, *rest)

        with monkeypatch.context() as patched:
            patched.setattr(stage, method, spy)
            run(latents)
        return seen

    found, want = residuals("__call__", quantizer), residuals("encode", quantizer.encode)
    assert len(found) == len(want) == 4
    for mine, other in zip(found, want, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_decoder_hears_of_fewer_codebooks_is_what_these_decode_to(kind, monkeypatch):
    quantizer, latents = trained(kind), make_latents(9)
    for number in (1, 2, 3):
        monkeypatch.setattr(type(quantizer), "_heard", lambda self, size, key, n=number: jnp.full((size, 1, 1), n))
        found = quantizer(latents)
        np.testing.assert_allclose(found.latents, quantizer.decode(found.codes[..., :number]), atol=1e-6)


@pytest.mark.parametrize("kind", ("ema", "gradient"))
def test_gradients_of_entries(kind):
    """Straight through the sum, and every commitment loss reaches the encoder."""
    quantizer, latents, seen = make(kind), make_latents(4), make_latents(5)
    gradient = jax.grad(lambda z: jnp.sum(quantizer(z).latents * seen))(jnp.asarray(latents))
    np.testing.assert_array_equal(gradient, seen)
    gradient = jax.grad(lambda z: quantizer(z).commitment_loss)(jnp.asarray(latents))
    codes, books = np.asarray(quantizer.encode(latents)), np.asarray(quantizer.codebook())
    partial = np.cumsum([books[q][codes[..., q]] for q in range(3)], axis=0)
    np.testing.assert_allclose(gradient, (2 * (latents - partial) / latents.size).mean(axis=0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ("normalized", "fsq"))
def test_every_projection_learns_from_the_sum(kind):
    graph, params, rest = nnx.split(make(kind), nnx.Param, ...)
    latents, seen = make_latents(4), make_latents(5)
    gradients = jax.grad(lambda p: jnp.sum(nnx.merge(graph, p, rest)(latents).latents * seen))(params)
    for stage in nnx.to_pure_dict(gradients)["stages"].values():
        for name in ("project_in", "project_out"):
            assert np.abs(stage[name]["kernel"]).max() > 1e-3, name


@pytest.mark.long
def test_the_first_update_puts_each_codebook_on_what_is_left():
    quantizer = make(num_codebooks=3, num_codes=40)
    latents = make_latents(6, length=200) * 0.1 + 50.0  # far from the random entries
    result = quantizer.update(latents, quantizer.encode(latents), jax.random.key(0))
    assert int(result["restarts"]) >= 3 * 39
    books = np.asarray(quantizer.codebook())
    assert np.abs(books[0] - 50.0).max() < 1.0
    assert np.abs(books[1]).max() < 0.5 and np.abs(books[2]).max() < 0.3
    codes = np.asarray(quantizer.encode(latents))
    assert all(len(np.unique(codes[..., q])) > 20 for q in range(3))


@pytest.mark.long
def test_codes_out_of_use_restart_in_their_own_codebook():
    quantizer = trained("ema", num_codebooks=2)
    second = quantizer.stages[1]
    lost = np.arange(NUM_CODES) < 4
    second.counts[...] = jnp.where(lost, 1e-3, second.counts[...])
    second.sums[...] = jnp.where(lost[:, None], 1.0, second.sums[...])
    second.entries[...] = jnp.where(lost[:, None], 1e3, second.entries[...])  # nothing falls there
    before, latents = variables(quantizer)["stages"], make_latents(20)
    result = quantizer.update(latents, quantizer.encode(latents), jax.random.key(1))
    after = variables(quantizer)["stages"]
    assert 4 <= int(result["restarts"]) < NUM_CODES
    assert np.abs(after[1]["entries"][:4]).max() < 5
    assert np.abs(after[0]["entries"] - before[0]["entries"]).max() < 1


@pytest.mark.long
def test_dropout_is_of_the_last_codebooks_of_some_examples():
    quantizer = make(codebook_dropout=0.5)
    latents = make_latents(7, batch=200, length=4)
    codes = quantizer.encode(latents)
    whole, dropped = quantizer(latents), quantizer(latents, jax.random.key(0))
    candidates = np.stack([np.asarray(quantizer.decode(codes[..., :q])) for q in (1, 2, 3)])
    fits = (np.abs(candidates - np.asarray(dropped.latents)) < 1e-4).all(axis=(2, 3))  # [3, B]
    assert (fits.sum(axis=0) == 1).all(), "each example hears one number of codebooks"
    shares = fits.mean(axis=1)  # a half is drawn, evenly of 1, 2 and 3
    np.testing.assert_allclose(shares, [1 / 6, 1 / 6, 4 / 6], atol=0.08)
    np.testing.assert_allclose(whole.latents, candidates[2], atol=1e-5)
    np.testing.assert_array_equal(whole.codes, dropped.codes)
    assert float(whole.commitment_loss) == float(dropped.commitment_loss)
    again = quantizer(latents, jax.random.key(0)).latents
    np.testing.assert_array_equal(dropped.latents, again)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_codebooks": 0}, "num_codebooks=0: must be at least 1"),
        ({"codebook_dropout": 1.5}, "codebook_dropout=1.5: must be at most 1"),
        ({"num_codebooks": 1, "codebook_dropout": 0.5}, "needs quantizer.num_codebooks above 1"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**{"num_codebooks": 2} | changes)

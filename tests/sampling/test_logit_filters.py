import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.sampling import decode, logit_filters, options, sampler_settings

filtered = jax.jit(logit_filters.filtered)
sample = jax.jit(logit_filters.sample)


def oracle(logits, temperature, top_p, top_k):
    """The codes that may be drawn, as a set of indices: one row, float64, ties with the last one kept are kept."""
    logits = logits.astype(np.float64) / temperature
    order = np.argsort(-logits, kind="stable")
    p = np.exp(logits - logits.max())
    p /= p.sum()
    kept, total = [], 0.0
    for rank, code in enumerate(order):
        if rank > 0 and ((top_k and rank >= top_k) or (top_p < 1 and total >= top_p)):
            break
        kept.append(code)
        total += p[code]
    return {code for code in range(len(logits)) if logits[code] >= logits[kept[-1]]}


def kept_codes(row):
    return set(np.flatnonzero(np.isfinite(row)).tolist())


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(("top_p", "top_k"), [(0.9, 0), (0.5, 0), (0.05, 0), (1.0, 3), (1.0, 1), (0.8, 4), (0.99, 50)])
def test_against_numpy(temperature, top_p, top_k):
    rows = np.random.default_rng(0).normal(scale=2, size=(20, 13)).astype(np.float32)
    got = np.asarray(filtered(rows, temperature, top_p, top_k))
    for row, result in zip(rows, got, strict=True):
        assert kept_codes(result) == oracle(row, temperature, top_p, top_k)
        stays = np.isfinite(result)
        np.testing.assert_allclose(result[stays], (row[stays] - row.max()) / temperature, rtol=1e-6)


def test_off_keeps_everything():
    # Even codes whose probability is far below float32's resolution beside 1.
    row = np.array([[0.0, -80.0, 50.0, -100.0]], np.float32)
    np.testing.assert_array_equal(filtered(row, 1.0, 1.0, 0), row - 50)


def test_very_peaked():
    row = np.array([[0.0, 1000.0, 999.0, -1000.0]], np.float32)
    assert kept_codes(filtered(row, 1.0, 0.5, 0)[0]) == {1}
    assert kept_codes(filtered(row, 1.0, 0.9, 0)[0]) == {1, 2}
    assert kept_codes(filtered(row, 0.01, 0.999, 0)[0]) == {1}


def test_tiny_top_p_keeps_the_most_probable():
    rows = np.random.default_rng(1).normal(size=(5, 9)).astype(np.float32)
    got = filtered(rows, 1.0, 1e-9, 0)
    assert [kept_codes(row) for row in got] == [{int(code)} for code in rows.argmax(axis=1)]


def test_ties_stay_together():
    row = np.array([[1.0, 1.0, 0.0, 1.0]], np.float32)
    assert kept_codes(filtered(row, 1.0, 1.0, 1)[0]) == {0, 1, 3}
    assert kept_codes(filtered(row, 1.0, 0.1, 0)[0]) == {0, 1, 3}
    assert kept_codes(filtered(np.zeros((1, 4), np.float32), 1.0, 0.5, 2)[0]) == {0, 1, 2, 3}


def test_both_filters_apply():
    row = np.log(np.array([[0.4, 0.3, 0.2, 0.1]], np.float32))
    assert kept_codes(filtered(row, 1.0, 0.85, 2)[0]) == {0, 1}
    assert kept_codes(filtered(row, 1.0, 0.5, 3)[0]) == {0, 1}
    assert kept_codes(filtered(row, 1.0, 0.85, 0)[0]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"), [(1.0, 1.0, 0), (0.5, 1.0, 0), (1.0, 0.75, 0), (2.0, 1.0, 3)]
)
def test_frequencies_follow_the_probabilities(temperature, top_p, top_k):
    row = np.log(np.array([0.05, 0.4, 0.15, 0.3, 0.1], np.float32))
    draws = 20_000
    keys = jax.random.split(jax.random.key(0), draws)
    codes = sample(keys, jnp.tile(row, (draws, 1)), temperature, top_p, top_k)
    assert codes.dtype == jnp.int32
    observed = np.bincount(codes, minlength=5)
    kept = sorted(oracle(row, temperature, top_p, top_k))
    p = np.zeros(5)
    p[kept] = np.exp(row[kept] / temperature)
    p /= p.sum()
    assert set(np.flatnonzero(observed)) == set(kept)
    chi_square = np.sum((observed[kept] - draws * p[kept]) ** 2 / (draws * p[kept]))
    assert chi_square < 18.5  # the 0.1 % point with 4 degrees of freedom


# Powers of ten that float32 has not, those that it has only where processors compute with them, and its largest.
@pytest.mark.parametrize("temperature", [1e-300, 1e-44, 1e-39, 1e-30, 1e30, 3e38, 1e300])
@pytest.mark.parametrize("offset", [0.0, 1e30, -1e5])
def test_any_temperature(temperature, offset):
    row = np.array([[1.0, -np.inf, 2.0, 1.5, -3.0]], np.float32) * (1 if abs(offset) < 1e9 else 1e29) + offset
    keys = jax.random.split(jax.random.key(0), 300)
    settings = sampler_settings.SamplingSettings(temperature=temperature, top_p=1.0, top_k=4).arrays(
        "top", np.zeros((1, 1), int), 1
    )
    columns = settings.temperature[0], settings.top_p, settings.top_k
    codes = set(np.asarray(sample(keys, np.tile(row, (300, 1)), *columns)).tolist())
    assert codes == ({2} if temperature < 1 else {0, 2, 3, 4})


@pytest.mark.parametrize(("top_p", "top_k"), [(1e-50, 0), (1.0, 1e12), (1 - 1e-12, 2**31), (0.5, 1e300)])
def test_filters_beyond_the_numbers_of_the_arrays(top_p, top_k):
    settings = sampler_settings.SamplingSettings(top_p=top_p, top_k=top_k)
    for name, value in (("top_p", top_p), ("top_k", top_k)):
        options.find(name).require(value)
    arrays = settings.arrays("top", np.zeros((1, 1), int), 1)
    row = np.log(np.array([[0.1, 0.4, 0.3, 0.2]], np.float32))
    kept = kept_codes(np.asarray(filtered(row, 1.0, arrays.top_p, arrays.top_k))[0])
    assert kept == ({1} if top_p < 1e-9 else {1, 2} if top_p == 0.5 else {0, 1, 2, 3})


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0, 1e38])
def test_guidance_of_any_strength(guidance):
    labelled, unlabelled = np.float32([[1.0, 3.0, 2.5, 0.0]]), np.float32([[2.0, 2.5, 0.5, 1.0]])
    found = jax.nn.softmax(decode.guide(labelled, unlabelled, jnp.full((1, 1), guidance)))
    exact = np.float64(unlabelled) + guidance * np.float64(labelled - unlabelled)
    exact = np.exp(exact - exact.max())
    np.testing.assert_allclose(found, exact / exact.sum(), rtol=1e-5)


def test_each_row_has_its_own_key():
    row = np.random.default_rng(0).normal(size=(1, 16)).astype(np.float32)
    keys = jax.random.split(jax.random.key(3), 6)
    together = sample(keys, np.tile(row, (6, 1)), 1.0, 1.0, 0)
    alone = [int(sample(keys[i : i + 1], row, 1.0, 1.0, 0)[0]) for i in range(6)]
    assert together.tolist() == alone
    assert len(set(alone)) > 1

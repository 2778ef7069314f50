"""Caches of every kind give the codes of the full forward pass: rings, stretches, batches of two for guidance."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors

from musicgen_jax import config
from musicgen_jax.priors import loss
from musicgen_jax.sampling import decode, logit_filters
from musicgen_jax.transformer import kv_cache

CONTEXT = tiny_priors.CONTEXT


def make(window=0, size=2, **changes):
    model = tiny_priors.model_config("middle", num_layers=1, **changes)
    model.transformer.window = window
    prior = tiny_priors.trained_prior(model)
    return prior, tiny_priors.batch(model, size)


def draws(known, stop, size=2, guidance=1.0, top_k=0):
    """The arguments behind the batch: rows have keys and offsets of their own."""
    settings = logit_filters.Settings(
        temperature=np.full((size, CONTEXT), 0.9, np.float32),
        top_p=np.full(size, 0.95, np.float32),
        top_k=np.full(size, top_k, np.int32),
        guidance=np.broadcast_to(np.float32(guidance), size),
    )
    keys = jax.random.split(jax.random.key(5), 2)[:size]
    return np.broadcast_to(known, size), np.broadcast_to(stop, size), keys, np.arange(size, dtype=np.int32), settings


def slowly(prior, batch, known, stop, keys, offset, settings, hidden=None):
    """The full forward pass for every code, each row by its own rules; guided by labels, or a condition `hidden`."""

    @functools.partial(jax.jit, static_argnums=1)
    def full_pass(batch, hidden=None):
        model = prior.functional.bind(*prior.weights)
        told = model.condition(batch, {hidden: np.ones(len(batch["codes"]), bool)} if hidden else {})
        return model.predict(model.run(batch["codes"], told))

    untold = batch if hidden else batch | {"labels": np.zeros_like(batch["labels"])}
    codes = batch["codes"].copy()
    for position in range(min(known), max(stop)):
        told = np.asarray(full_pass(batch | {"codes": codes}))[:, position]
        without = np.asarray(full_pass(untold | {"codes": codes}, hidden))[:, position]
        logits = without + settings.guidance[:, None] * (told - without)
        columns = settings.temperature[:, position, None], settings.top_p[:, None], settings.top_k[:, None]
        drawn = logit_filters.sample(jax.vmap(jax.random.fold_in)(keys, offset + position), logits, *columns)
        codes[:, position, 0] = np.where((known <= position) & (position < stop), drawn, codes[:, position, 0])
    return codes


@pytest.mark.long
@pytest.mark.parametrize("layer", ["lstm", "absolute"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_layers_of_other_kinds(layer, guidance):
    prior = tiny_priors.trained_prior(tiny_priors.model_config("top", layer=layer))
    batch = tiny_priors.batch(prior.config)
    for known in (0, 5):
        arguments = draws(known, 12, guidance=guidance)
        expected = slowly(prior, batch, *arguments)
        got = np.asarray(decode.make_sample_window(prior.functional)(prior.weights, batch, *arguments))
        np.testing.assert_array_equal(got, expected)
        assert len(np.unique(expected[:, known:])) > 1


@pytest.mark.long
@pytest.mark.parametrize(("known", "stop"), [(0, 12), (6, 12), ([2, 7], [12, 9])])
def test_a_ring_is_the_whole_cache(known, stop):
    prior, batch = make(window=3)
    arguments = draws(known, stop)
    sample_window = decode.make_sample_window(prior.functional)
    got = np.asarray(sample_window(prior.weights, batch, *arguments))
    np.testing.assert_array_equal(got, slowly(prior, batch, *arguments))
    assert decode.stretches(CONTEXT, 3) == [(CONTEXT, 4)]


def test_a_window_as_wide_as_the_context_needs_no_ring():
    assert decode.stretches(12, 11) == decode.stretches(12, 30) == decode.stretches(12, 0) == [(12, 12)]


def test_stretches_cover_the_context():
    assert decode.stretches(8192, 0) == [(1024 * part, 1024 * part) for part in range(1, 9)]
    assert decode.stretches(2048, 0) == [(512 * part, 512 * part) for part in range(1, 5)]
    assert [end for end, _ in decode.stretches(1537, 0)] == [513, 1025, 1537]


def test_where_a_step_reads_a_row_of_the_cache_there_is_one_program():
    transformer = config.JukeboxTransformerConfig()
    assert decode.stretches(8192, transformer.window, transformer.reads_all_rows) == [(8192, 8192)]


@pytest.mark.long
@pytest.mark.parametrize("cache_dtype", config.CACHE_DTYPES)
def test_stretches_change_nothing(monkeypatch, cache_dtype):
    prior, batch = make()
    whole = decode.SampleWindow(prior.functional, cache_dtype)
    runs = [draws(known, stop) for known, stop in ((0, 12), ([1, 5], [4, 11]))]
    expected = [np.asarray(whole(prior.weights, batch, *arguments)) for arguments in runs]
    monkeypatch.setattr(decode, "SHORTEST_STRETCH", 4)
    assert decode.stretches(CONTEXT, 0) == [(4, 4), (8, 8), (12, 12)]
    parts = decode.SampleWindow(prior.functional, cache_dtype)
    for arguments, codes in zip(runs, expected, strict=True):
        np.testing.assert_array_equal(parts(prior.weights, batch, *arguments), codes)
    # Beginning, three loops, two resizings; what another window or other settings need is there already.
    assert parts.num_programs() == 6
    parts(prior.weights, batch, *draws(2, 12, top_k=3))
    assert parts.num_programs() == 6


def test_a_row_does_not_depend_on_its_batch():
    prior, batch = make()
    sample_window = decode.make_sample_window(prior.functional)
    known, stop, keys, offset, settings = draws([2, 7], [9, 12])
    together = np.asarray(sample_window(prior.weights, batch, known, stop, keys, offset, settings))
    for row in range(2):
        part = slice(row, row + 1)
        alone = jax.tree.map(lambda x, part=part: x[part], (batch, known, stop, keys, offset, settings))
        np.testing.assert_array_equal(sample_window(prior.weights, *alone)[0], together[row])


@pytest.mark.long
@pytest.mark.parametrize("guidance", [3.0, [1.0, 2.5], 0.0])
def test_guidance_moves_the_logits_away_from_those_without_labels(guidance):
    prior, batch = make()
    batch = batch | {"labels": tiny_priors.labels(genre=[1, 2])}
    arguments = draws(3, 12, guidance=guidance)
    sample_window = decode.make_sample_window(prior.functional)
    guided = np.asarray(sample_window(prior.weights, batch, *arguments))
    np.testing.assert_array_equal(guided, slowly(prior, batch, *arguments))
    plain = np.asarray(sample_window(prior.weights, batch, *draws(3, 12)))
    unguided = np.broadcast_to(np.array(guidance) == 1, 2)
    np.testing.assert_array_equal(guided[unguided], plain[unguided])
    assert np.any(guided[~unguided] != plain[~unguided])


@pytest.mark.long
@pytest.mark.parametrize("name", ["timing", "above"])
def test_guidance_by_another_condition(name):
    prior, batch = make(timing_dropout=0.1, above_dropout=0.1)
    arguments = draws(3, 12, guidance=2.5)
    guided = decode.make_sample_window(prior.functional, guide_by=(name,))(prior.weights, batch, *arguments)
    np.testing.assert_array_equal(guided, slowly(prior, batch, *arguments, hidden=name))
    assert np.any(np.asarray(guided) != slowly(prior, batch, *arguments))


def test_an_unknown_type_of_cache_is_an_error():
    with pytest.raises(ValueError, match="cache_dtype='int4': must be one of compute, int8"):
        decode.make_sample_window(make()[0].functional, "int4")


@pytest.mark.long
def test_caches_are_donated_and_never_copied():
    """The loop keeps two caches a layer in the memory that they came in, and reads matrices as they lie."""
    prior, batch = make()
    known, stop, keys, offset, settings = draws(0, 12)
    functional, weights = prior.functional, prior.weights
    fixed, caches = decode._begin(functional, "compute", (), weights, batch, 0, guided=False, length=12, num_rows=12)
    sample_window = decode.SampleWindow(functional)
    compiled = sample_window._advance.lower(
        weights, fixed, (known, stop, keys, offset, settings), 0, 12, codes=jnp.asarray(batch["codes"]), caches=caches
    ).compile()
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(caches))
    assert compiled.memory_analysis().alias_size_in_bytes >= held
    program = compiled.as_text()
    shapes = {cache.own.keys.shape for cache in caches} | {x.shape for x in jax.tree.leaves(fixed.layers) if x.ndim > 1}
    for shape in shapes:
        dimensions = ",".join(map(str, shape))
        assert not re.search(rf"= f32\[{dimensions}\]\S* (copy|transpose)\(", program), shape
    size = ",".join(map(str, caches[0].own.keys.shape))
    writes = re.findall(rf"= f32\[{size}\]\S* dynamic-update-slice\(", program)
    assert len(writes) == 2 * len(caches)


@pytest.mark.long
def test_int8_rows_are_close():
    rng = np.random.default_rng(0)
    keys, values = rng.normal(size=(2, 2, 3, 9, 8)).astype(np.float32) * rng.uniform(0.01, 10, (3, 9, 1))
    cache = kv_cache.KVCache(jnp.asarray(keys, jnp.float32), jnp.asarray(values, jnp.float32))
    low = kv_cache.quantized(cache)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(low)) < sum(leaf.nbytes for leaf in jax.tree.leaves(cache)) / 2
    query = rng.normal(size=(2, 3, 8)).astype(np.float32)
    bound = np.abs(query).sum(-1, keepdims=True) * np.abs(keys).max(-1) / 127 / 2
    assert np.all(np.abs(low.score(query) - cache.score(query)) <= bound * 1.01)
    shares = jax.nn.softmax(rng.normal(size=(2, 3, 9)), axis=-1)
    bound = np.sum(np.asarray(shares) * np.abs(values).max(-1), axis=-1, keepdims=True) / 127 / 2
    assert np.all(np.abs(low.mix(shares, jnp.float32) - cache.mix(shares, jnp.float32)) <= bound * 1.01)
    zeros = kv_cache.quantized(jax.tree.map(jnp.zeros_like, cache))
    assert not np.any(zeros.score(query))


@pytest.mark.long
def test_an_int8_cache_predicts_as_well():
    """Nats of the codes of a window, fed in one by one; those of a trained prior change by 1e-5 of themselves."""
    prior, batch = make()

    @functools.partial(jax.jit, static_argnums=2)
    def nats(weights, batch, cache_dtype):
        model = prior.functional.bind(*weights)
        fixed, caches = decode._begin(
            prior.functional, cache_dtype, (), weights, batch, 0, guided=False, length=CONTEXT, num_rows=CONTEXT
        )
        total = 0.0
        for position in range(CONTEXT):
            previous = batch["codes"][:, position - 1] if position else jnp.full((2, 1), -1)
            logits, caches = model.step(fixed.layers, previous, fixed.condition.at(position), caches, position)
            total += loss.code_losses(logits, batch["codes"][:, position, 0]).mean() / CONTEXT
        return total

    low, exact = (float(nats(prior.weights, batch, kind)) for kind in ("int8", "compute"))
    assert low != exact
    assert low == pytest.approx(exact, rel=5e-3)

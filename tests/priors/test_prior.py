import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors

from musicgen_jax.codes import patterns
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import modules
from musicgen_jax.priors import prior

VARIANTS = {
    "top": {},
    "middle": {"tier": "middle"},
    "delay": {"num_codebooks": 3, "pattern": "delay"},
    "flat": {"num_codebooks": 3, "pattern": "flat"},
}


@pytest.fixture(scope="module", params=VARIANTS)
def model(request):
    """(config, trained prior, a batch, its logits)."""
    settings = tiny_priors.model_config(**VARIANTS[request.param])
    trained = tiny_priors.trained_prior(settings)
    batch = tiny_priors.batch(settings)
    logits = jax.jit(lambda weights, batch: trained.functional.bind(*weights)(batch))(trained.weights, batch)
    return settings, trained, batch, np.asarray(logits)


def test_logits(model):
    settings, _, _, logits = model
    assert logits.shape == (2, settings.context, settings.num_codebooks, settings.num_codes)
    assert logits.dtype == np.float32
    assert logits.std() > 0.3


def test_cached_steps_equal_the_full_pass_from_any_prefill(model):
    settings, trained, batch, logits = model
    pattern = patterns.of(settings.pattern, settings.context, settings.num_codebooks)
    placed = jnp.pad(pattern.placed(batch["codes"], -1), ((0, 0), (1, 0), (0, 0)), constant_values=-1)
    expected = np.asarray(pattern.placed(logits, 0))
    exists = pattern.frames >= 0

    @jax.jit
    def steps(weights, batch, codes, known):
        """Logits of all steps from `known` on, with the codes of `batch` fed in one by one."""
        module = trained.functional.bind(*weights)
        condition = module.condition(batch)
        caches = module.prefill(codes, condition)
        layers = module.stack.unstacked()

        def body(position, carry):
            logits, caches = carry
            row, caches = module.step(layers, placed[:, position], condition.at(position), caches, position)
            return logits.at[:, position].set(row.reshape(logits[:, position].shape)), caches

        start = (jnp.full(expected.shape, jnp.nan), caches)
        return jax.lax.fori_loop(known, settings.num_steps, body, start)[0]

    for known in range(0, settings.num_steps, settings.num_codebooks):
        # Codes that are not known yet must not matter.
        codes = np.where(pattern.steps < known, batch["codes"], settings.num_codes - 1)
        got = np.asarray(steps(trained.weights, batch, codes, known))
        assert np.isnan(got[:, :known]).all()
        np.testing.assert_allclose(got[:, known:][:, exists[known:]], expected[:, known:][:, exists[known:]], atol=1e-5)


def test_a_code_is_predicted_from_the_codes_before_it_alone():
    settings = tiny_priors.model_config("middle")
    trained, batch = tiny_priors.trained_prior(settings), tiny_priors.batch(settings)
    module = trained.functional.bind(*trained.weights)
    weights = np.random.default_rng(0).normal(size=settings.num_codes).astype(np.float32)

    def mixed_logits(embedded):
        """One number a position of example 0, from the embeddings of all codes."""
        start = jnp.broadcast_to(module.start[...], (2, 1, embedded.shape[-1]))
        x = jnp.concatenate([start, embedded[:, :-1]], axis=1) + module.condition(batch).added
        return module.predict(module.stack(x))[0] @ weights

    dependence = jax.jit(jax.jacrev(mixed_logits))(module.codes[...][batch["codes"][..., 0]])
    by_code = np.abs(dependence).sum(axis=-1)  # [T, B, T]
    assert not np.any(np.triu(by_code[:, 0]))  # code t itself is not seen at t either
    assert np.all(by_code[:, 0][np.tril_indices(settings.context, k=-1)] > 0)
    assert not np.any(by_code[:, 1])


def test_inputs_are_the_codes_shifted_by_one(model):
    settings, trained, batch, _ = model
    module = trained.functional.bind(*trained.weights)
    added = np.random.default_rng(0).normal(size=(2, settings.num_steps, 16)).astype(np.float32)
    x = np.asarray(module.inputs(batch["codes"], Condition(added))) - added
    params, frames = jax.tree.map(np.asarray, trained.weights[0]), module.pattern.frames
    np.testing.assert_allclose(x[:, 0], np.tile(params["start"], (2, 1)), atol=1e-6)
    for step in range(1, settings.num_steps):  # one by one: a code adds its row, one that is missing a share of `start`
        expected = np.zeros((2, 16))
        for q, frame in enumerate(frames[step - 1]):
            rows = q * settings.num_codes + batch["codes"][:, frame, q]
            expected += params["codes"][rows] if frame >= 0 else params["start"] / settings.num_codebooks
        np.testing.assert_allclose(x[:, step], expected, atol=1e-5)


def test_what_changes_with_what(model):
    settings, trained, batch, expected = model
    run = jax.jit(lambda weights, batch: trained.functional.bind(*weights)(batch))

    def change(name, index=slice(None)):
        """Largest change of the logits at each position, [T], where one array of the batch changes."""
        changed = batch[name].copy()
        changed[index] = (changed[index] + 2) % 3
        return np.abs(run(trained.weights, batch | {name: changed}) - expected).max(axis=(0, 3))

    steps = patterns.of(settings.pattern, settings.context, settings.num_codebooks).steps
    for codebook in range(settings.num_codebooks):
        by_code = change("codes", np.s_[:, 5, codebook])
        after = steps > steps[5, codebook]
        assert not by_code[~after].any()
        assert (by_code[after] > 1e-4).all()
    for name in ("labels", "length", "start"):
        assert change(name).max() > 1e-3, name
    if settings.upsampling:
        # The last code above is seen before its own span too.
        assert change("above", np.s_[:, -1])[:8].max() > 1e-5


def test_number_of_parameters_by_hand():
    settings = tiny_priors.model_config(timing_bins=5)
    functional = modules.Functional(lambda rngs: prior.Prior(settings, rngs=rngs))
    attention = 4 * 16 * 2 * 8 + 2 * 12 * 8
    mlp = 2 * 16 * 24 + 24 + 16
    layers = 2 * (attention + mlp + 2 * 2 * 16)
    tables = (tiny_priors.NUM_CODES + 1 + 3 + 1 + 5 + 5) * 16
    assert functional.num_parameters() == layers + tables + 2 * 16 + (16 + 1) * tiny_priors.NUM_CODES


def test_of_one_codebook_every_pattern_is_the_plain_prior():
    """Bit for bit, with the parameters that it has."""
    settings = [tiny_priors.model_config("middle", pattern=name) for name in ("delay", "flat")]
    models = [tiny_priors.trained_prior(one) for one in settings]
    jax.tree.map(np.testing.assert_array_equal, *(one.weights for one in models))
    batch = tiny_priors.batch(settings[0])
    results = [jax.jit(lambda w, b, m=m: m.functional.bind(*w)(b))(m.weights, batch) for m in models]
    np.testing.assert_array_equal(*results)


def test_every_codebook_has_its_rows_and_logits():
    functional = modules.Functional(lambda rngs: prior.Prior(tiny_priors.model_config(num_codebooks=3), rngs=rngs))
    shapes = {name: functional.abstract_params[name].get_value().shape for name in ("codes", "logits", "bias", "start")}
    size = 3 * tiny_priors.NUM_CODES
    assert shapes == {"codes": (size, 16), "logits": (16, size), "bias": (size,), "start": (16,)}


def test_depth_does_not_change_the_size_of_the_program():
    def jaxpr(num_layers):
        settings = tiny_priors.model_config(num_layers=num_layers)
        trained = modules.Functional(lambda rngs: prior.Prior(settings, rngs=rngs))
        shapes = jax.eval_shape(trained.init, jax.random.key(0))
        run = lambda weights: trained.bind(*weights)(tiny_priors.batch(settings))  # noqa: E731
        return str(jax.make_jaxpr(run)(shapes))

    assert jaxpr(2).count("dot_general") == jaxpr(5).count("dot_general")


def test_dropout_draws_with_a_key_alone():
    settings = tiny_priors.model_config(dropout=0.5)
    trained, batch = tiny_priors.trained_prior(settings), tiny_priors.batch(settings)
    run = lambda key: trained.functional.bind(*trained.weights)(batch, key)  # noqa: E731
    assert "random_bits" in str(jax.make_jaxpr(run)(jax.random.key(0)))
    assert "random_bits" not in str(jax.make_jaxpr(run)(None))

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_priors

from musicgen_jax import config
from musicgen_jax.codes import patterns
from musicgen_jax.priors import loss


class FixedLogits:
    """A prior whose logits are given: its hidden states are the logits."""

    def __init__(self, logits, loss_chunk=0, num_codebooks=1):
        self.logits, self.config = jnp.asarray(logits, jnp.float32), config.PriorConfig(loss_chunk=loss_chunk)
        self.pattern = patterns.delay(self.logits.shape[1] - num_codebooks + 1, num_codebooks)

    def hidden(self, batch, key):
        return self.logits

    def predictor(self):
        return lambda hidden: hidden


@pytest.mark.parametrize("loss_chunk", [0, 1, 4, 6, 100])
def test_against_numpy(loss_chunk):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(2, 6, 5))
    codes = rng.integers(5, size=(2, 6))
    mask = rng.random((2, 6)) < 0.6
    nats, metrics = loss.prior_loss(FixedLogits(logits, loss_chunk), {"codes": codes[..., None], "mask": mask}, None)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    chosen = -np.take_along_axis(log_p, codes[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(nats, chosen[mask].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["nats_per_code"], nats)
    np.testing.assert_allclose(metrics["perplexity"], np.exp(chosen[mask].mean()), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (logits.argmax(axis=-1) == codes)[mask].mean(), rtol=1e-5)


@pytest.mark.parametrize("loss_chunk", [0, 3])
def test_of_a_delayed_frame_every_code_counts_once(loss_chunk):
    """Code q of frame t is predicted at step t + q by its own head; steps without it do not count."""
    rng = np.random.default_rng(0)
    logits, codes = rng.normal(scale=3, size=(2, 8, 3 * 5)), rng.integers(5, size=(2, 6, 3))
    mask = np.arange(6) < np.array([[6], [4]])
    batch = {"codes": codes, "mask": mask}
    nats, metrics = loss.prior_loss(FixedLogits(logits, loss_chunk, num_codebooks=3), batch, None)
    losses, hits = [], []
    for b, t in zip(*np.nonzero(mask), strict=True):
        for q in range(3):
            row = logits[b, t + q, 5 * q : 5 * q + 5]
            losses.append(np.log(np.exp(row).sum()) - row[codes[b, t, q]])
            hits.append(row.argmax() == codes[b, t, q])
    assert float(loss.num_losses(batch)) == len(losses) == 30
    np.testing.assert_allclose(nats, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(hits), rtol=1e-5)


def test_padding_does_not_count():
    logits = np.zeros((1, 4, 7))
    logits[0, 2:] = 1e4 * np.eye(7)[3]  # sure of a code that padding is not
    batch = {"codes": np.zeros((1, 4, 1), np.int32), "mask": np.array([[True, True, False, False]])}
    nats, metrics = loss.prior_loss(FixedLogits(logits), batch, None)
    assert float(nats) == pytest.approx(np.log(7), rel=1e-6)
    assert float(metrics["accuracy"]) == 1.0
    assert float(loss.num_losses(batch)) == 2


def test_uniform_logits_give_log_k():
    batch = {"codes": np.arange(10, dtype=np.int32)[None, :, None], "mask": np.ones((1, 10), bool)}
    nats, metrics = loss.prior_loss(FixedLogits(np.full((1, 10, 16), 3.0)), batch, None)
    assert float(nats) == pytest.approx(np.log(16), rel=1e-6)
    assert float(metrics["perplexity"]) == pytest.approx(16, rel=1e-5)


def test_nothing_but_padding_is_no_nan():
    batch = {"codes": np.zeros((1, 4, 1), np.int32), "mask": np.zeros((1, 4), bool)}
    assert float(loss.prior_loss(FixedLogits(np.zeros((1, 4, 3))), batch, None)[0]) == 0


@pytest.mark.long
@pytest.mark.parametrize("loss_chunk", [1, 5, 6])  # of 12 codes
def test_chunks_give_the_loss_and_the_gradients_of_the_whole(loss_chunk):
    results = []
    for size in (0, loss_chunk):
        settings = tiny_priors.model_config("middle", loss_chunk=size)
        trained = tiny_priors.trained_prior(settings)
        batch = tiny_priors.batch(settings)
        batch["mask"] = np.arange(settings.context) < np.array([[12], [7]])

        def value(params, trained=trained, batch=batch):
            return loss.prior_loss(trained.functional.bind(params, {}), batch, None)

        results.append(jax.jit(jax.value_and_grad(value, has_aux=True))(trained.weights[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), *results)


def test_chunks_never_hold_all_logits():
    batch = {"codes": np.zeros((2, 512, 1), np.int32), "mask": np.ones((2, 512), bool)}

    def program(loss_chunk):
        def value(hidden, table):
            model = FixedLogits(hidden, loss_chunk)
            model.predictor = lambda: lambda x: x @ table
            return loss.prior_loss(model, batch, None)[0]

        shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 512, 8), (8, 1024))]
        return jax.jit(jax.grad(value, argnums=(0, 1))).lower(*shapes).compile()

    all_logits = 4 * 2 * 512 * 1024
    whole, chunked = (program(loss_chunk).memory_analysis().temp_size_in_bytes for loss_chunk in (0, 32))
    assert whole >= all_logits
    assert chunked < all_logits / 4  # 1/16 of them, twice, and the hidden states by chunk


@pytest.mark.long
def test_memorises_a_batch():
    settings = tiny_priors.model_config(num_layers=1)
    trained = tiny_priors.trained_prior(settings)
    # Only the genre tells the examples apart at their first code.
    batch = tiny_priors.batch(settings, size=3) | {"labels": tiny_priors.labels(genre=np.arange(3))}
    tx = optax.adam(2e-2)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf) / 4, trained.weights[0])

    @jax.jit
    def step(carry):
        params, opt_state = carry
        value = lambda params: loss.prior_loss(trained.functional.bind(params, {}), batch, None)  # noqa: E731
        grads, metrics = jax.grad(value, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), metrics

    carry, history = (params, tx.init(params)), []
    for _ in range(60):
        carry, metrics = step(carry)
        history.append(types.SimpleNamespace(**metrics))
    assert float(history[0].nats_per_code) > 2.0
    assert float(history[-1].nats_per_code) < 0.1
    assert float(history[-1].accuracy) == 1.0


def test_label_dropout_hides_the_labels_of_some_windows_in_training():
    settings = tiny_priors.model_config(num_layers=1, label_dropout=0.5)
    trained = tiny_priors.trained_prior(settings)
    batch = jax.tree.map(lambda x: np.repeat(x[:1], 64, axis=0), tiny_priors.batch(settings)) | {
        "labels": tiny_priors.labels(genre=np.full(64, 2))
    }
    hidden = jax.jit(lambda batch, key: trained.functional.bind(*trained.weights).hidden(batch, key))
    labelled = np.asarray(hidden(batch, None))[0]
    without = np.asarray(hidden(batch | {"labels": np.zeros((64, 2), np.int32)}, None))[0]
    rows = np.asarray(hidden(batch, jax.random.key(0)))
    is_labelled = np.isclose(rows, labelled, atol=1e-5).all(axis=(1, 2))
    is_without = np.isclose(rows, without, atol=1e-5).all(axis=(1, 2))
    assert np.all(is_labelled ^ is_without)
    assert 16 < is_labelled.sum() < 48
    assert np.any(np.asarray(hidden(batch, jax.random.key(1))) != rows)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_label_dropout_is_a_share(rate):
    with pytest.raises(ValueError, match=rf"model.label_dropout={rate}: must be in \[0, 1\)"):
        tiny_priors.model_config(label_dropout=rate).validate()


def test_codes_above_can_only_be_hidden_from_a_prior_that_is_told_them():
    """Which a config does not know before the codes do."""
    for tier, vqvae, refused in (("top", "f00d", True), ("top", "", False), ("middle", "f00d", False)):
        run = config.PriorTraining(model=tiny_priors.model_config(tier, above_dropout=0.1, vqvae=vqvae))
        run.data.path = "codes"
        if refused:
            with pytest.raises(ValueError, match=r"model.above_dropout=0\.1: the top prior is told no stream above"):
                run.validate()
        else:
            run.validate()

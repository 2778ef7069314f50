"""The bound, and the exact value of the sampler."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_diffusion
import tiny_priors

from musicgen_jax.diffusion import diffusion_loss
from musicgen_jax.priors import loss

MODEL = tiny_diffusion.model_config("top")
RNG = np.random.default_rng(0)
UNIGRAM = jnp.log(jnp.asarray(RNG.dirichlet(np.ones(MODEL.num_codes)), jnp.float32))
BATCH = tiny_priors.batch(MODEL, size=8)
BATCH["mask"] = np.arange(MODEL.context) < np.array([12, 12, 5, 12, 1, 12, 12, 9])[:, None]


def unaware(schedule: str = "linear", chunk: int = 0) -> types.SimpleNamespace:
    """A model that ignores all codes and predicts the same distribution everywhere."""
    return types.SimpleNamespace(
        config=tiny_diffusion.model_config("top", schedule=schedule, loss_chunk=chunk),
        hidden=lambda batch, key=None: jnp.zeros((*batch["codes"].shape, 1)),
        predictor=lambda: lambda hidden: hidden + UNIGRAM,
    )


def exact() -> float:
    nats = -np.asarray(UNIGRAM)[BATCH["codes"]]
    return float(nats[BATCH["mask"]].mean())


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_without_context_the_bound_is_the_likelihood(schedule):
    keys = jax.random.split(jax.random.key(0), 3000)
    losses = jax.jit(jax.vmap(lambda key: diffusion_loss.diffusion_loss(unaware(schedule), BATCH, key, True)[0]))(keys)
    assert float(jnp.mean(losses)) == pytest.approx(exact(), rel=0.01)


@pytest.mark.long
def test_a_uniform_model_has_log_k_at_every_draw(monkeypatch):
    monkeypatch.setitem(globals(), "UNIGRAM", jnp.zeros(MODEL.num_codes))
    for seed in range(3):
        nats, metrics = diffusion_loss.diffusion_loss(unaware(), BATCH, jax.random.key(seed), True)
        assert float(nats) == pytest.approx(np.log(MODEL.num_codes), rel=1e-5)
        assert float(metrics["perplexity"]) == pytest.approx(MODEL.num_codes, rel=1e-4)


def test_chunks_change_nothing():
    key = jax.random.key(3)
    whole = diffusion_loss.diffusion_loss(unaware(), BATCH, key, True)[0]
    assert float(diffusion_loss.diffusion_loss(unaware(chunk=5), BATCH, key, True)[0]) == pytest.approx(
        float(whole), rel=1e-5
    )


@pytest.mark.parametrize("steps", [1, 3, 12])
def test_without_context_the_samplers_likelihood_is_exact(steps):
    assert float(diffusion_loss.parallel_loss(unaware(), BATCH, steps)[0]) == pytest.approx(exact(), rel=1e-5)


def test_code_by_code_the_samplers_likelihood_is_the_joint():
    """A table of a joint distribution, by the chain rule in any order: -log p of the whole sequence."""
    joint = tiny_diffusion.joint((3, 3, 3, 3))
    table = tiny_diffusion.JointTable(joint)
    table.hidden = lambda batch, key=None: table.stack(batch["codes"][..., 0])
    table.predictor = lambda: table.predict
    codes = np.random.default_rng(0).integers(0, 3, (8, 4))
    batch = {"codes": codes[..., None], "mask": np.ones((8, 4), bool), "start": np.zeros(8, np.int32)}
    expected = -np.log(joint[tuple(codes.T)]).mean() / 4
    assert float(diffusion_loss.parallel_loss(table, batch, 4)[0]) == pytest.approx(expected, rel=1e-4)
    marginals = [joint.sum(axis=tuple(a for a in range(4) if a != axis)) for axis in range(4)]
    independent = -np.mean([np.log(marginals[t][codes[:, t]]) for t in range(4)])
    assert float(diffusion_loss.parallel_loss(table, batch, 1)[0]) == pytest.approx(independent, rel=1e-4)


def test_masks_hide_codes_from_the_loss():
    """The network gets no code that it is asked for."""
    seen = []

    def hidden(batch, key=None):
        seen.append(np.asarray(batch["codes"]))
        return jnp.zeros((*batch["codes"].shape, 1))

    model = unaware()
    model.hidden = hidden
    diffusion_loss.diffusion_loss(model, BATCH, jax.random.key(0), True)
    assert np.all((seen[0] == MODEL.num_codes) | (seen[0] == BATCH["codes"]))
    assert np.all(seen[0][~BATCH["mask"]] == MODEL.num_codes)
    assert loss.num_losses(BATCH) == BATCH["mask"].sum()

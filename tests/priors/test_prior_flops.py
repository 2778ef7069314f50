"""The formula for priors against the program of the model itself."""

import dataclasses

import jax
import pytest
import tiny_runs

from musicgen_jax import config
from musicgen_jax.nn.flops import traced_flops
from musicgen_jax.priors import flops

CASES = {
    "top": ("top", "relative", {}),
    "middle": ("middle", "relative", {}),
    "upsampling by six": ("middle", "relative", {"context": 48, "upsampling": 6}),
    "absolute": ("top", "absolute", {}),
    "lstm": ("top", "lstm", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_prior_agrees_with_its_program_but_for_the_causal_half(case):
    tier, layer, sizes = CASES[case]
    model = dataclasses.replace(tiny_runs.prior_config(tier), **sizes)
    model.transformer = dataclasses.replace(model.transformer, layer=layer, remat="none", attention="reference")
    task = tiny_runs.prior_task(model)
    params, buffers = jax.eval_shape(task.functional.init, jax.random.key(0))
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tiny_runs.prior_batch(model, 0))

    def forward(params: dict, batch: dict) -> jax.Array:
        return task.loss(task.functional.bind(params, buffers), batch, None, False)[0]

    counted = traced_flops(forward, params, batch)
    length, heads = model.context, model.transformer.num_heads * model.transformer.head_dim
    # The plain program computes every logit and distance, and a column more; the formula counts what is seen of them.
    num_codes = tiny_runs.BATCH_SIZE * length
    hidden = {"relative": 3 * length + 1 - 3 * (length + 1) / 2, "absolute": 2 * length - (length + 1), "lstm": 0}
    hidden = 2 * num_codes * model.transformer.num_layers * heads * hidden[layer]
    found = flops.prior_step_flops(model, tiny_runs.BATCH_SIZE)
    assert found.model / 3 == pytest.approx(counted - hidden, rel=1e-6)
    assert found.recomputed == 0


def test_what_is_recomputed():
    model = tiny_runs.prior_config("top")

    def recomputed(**settings: object) -> float:
        chosen = {"remat": "none", "attention": "reference"} | settings
        return flops.prior_step_flops(
            dataclasses.replace(model, transformer=dataclasses.replace(model.transformer, **chosen)), 8
        ).recomputed

    assert 0 == recomputed() < recomputed(attention="blocked") < recomputed(remat="dots", attention="blocked")
    assert recomputed(remat="dots") < recomputed(remat="full") == recomputed(remat="offload")
    chunked = flops.prior_step_flops(dataclasses.replace(model, loss_chunk=8), 8).recomputed
    whole = flops.prior_step_flops(model, 8).recomputed
    assert chunked - whole == 2 * 8 * 32 * 16 * 16  # the logits, [8 * 32, 16] @ [16, 16], once more


def test_five_billion_at_its_context():
    transformer = config.TransformerConfig(max_distance=1024, remat="full", attention="blocked")
    found = flops.prior_step_flops(config.PriorConfig(transformer=transformer), batch_size=1)
    assert found.model == pytest.approx(6 * 5.0e9 * 8192, rel=0.2)  # 6 a parameter and code, and attention
    assert found.recomputed == pytest.approx(found.model / 3, rel=0.1)


def test_window_and_distances_limit_attention():
    prior = tiny_runs.prior_config("top")

    def model(**settings: int) -> float:
        transformer = dataclasses.replace(prior.transformer, **settings)
        return flops.prior_step_flops(dataclasses.replace(prior, transformer=transformer), 8).model

    assert model(window=4) < model(window=16) < model()
    assert model(window=4) == model(window=4, max_distance=5) < model(max_distance=5) < model(max_distance=16) < model()

"""The network: what it sees, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_diffusion
import tiny_priors

from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import modules
from musicgen_jax.priors import prior

MODEL = tiny_diffusion.model_config()
TRAINED = tiny_diffusion.trained_diffusion(MODEL)
MASK = MODEL.num_codes


def logits(batch: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(TRAINED.functional.bind(*TRAINED.weights)(batch))


@pytest.mark.long
def test_every_known_code_is_seen_from_both_sides_and_masked_ones_are_not():
    batch = tiny_priors.batch(MODEL)
    batch["codes"][:, ::2] = MASK
    before = logits(batch)
    assert before.shape == (2, MODEL.context, 1, MODEL.num_codes) and before.dtype == np.float32
    for place in (1, 7, 11):
        changed = batch | {"codes": batch["codes"].copy()}
        changed["codes"][:, place] = (changed["codes"][:, place] + 1) % MODEL.num_codes
        assert np.all(np.abs(logits(changed) - before).max(axis=(0, 3)) > 1e-4)  # everywhere


def test_all_masked_still_depends_on_the_tier_above_and_the_labels():
    batch = tiny_priors.batch(MODEL)
    batch["codes"][:] = MASK
    before = logits(batch)
    others = {"above": (batch["above"] + 1) % MODEL.num_codes}
    others["labels"] = tiny_priors.labels(genre=(batch["labels"][:, 0] + 1) % 3)
    for name, values in others.items():
        assert np.abs(logits(batch | {name: values}) - before).max() > 1e-2


def test_the_mask_has_an_embedding_of_its_own():
    module = TRAINED.functional.bind(*TRAINED.weights)
    codes = jnp.array([[[0], [MASK], [MODEL.num_codes - 1]]])
    nothing = jnp.zeros((1, 3, MODEL.transformer.width))
    x = module.inputs(codes, Condition(nothing))[0]
    np.testing.assert_array_equal(x[1], module.start[...])
    np.testing.assert_array_equal(x[::2], module.codes[...][jnp.array([0, MODEL.num_codes - 1])])


def test_its_parameters_are_a_priors_but_for_the_distances():
    """So a student starts from its teacher's weights."""
    of_prior = modules.Functional(lambda rngs: prior.Prior(tiny_priors.model_config("middle"), rngs=rngs))
    shapes = [
        {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
        for params in (jax.eval_shape(of_prior.init, jax.random.key(0))[0], TRAINED.weights[0])
    ]
    assert set(shapes[0]) == set(shapes[1])
    differ = [name for name in shapes[0] if shapes[0][name] != shapes[1][name]]
    assert differ == ["['stack']['layers']['attention']['distances']"]
    assert shapes[1][differ[0]][2] == 2 * MODEL.context - 1

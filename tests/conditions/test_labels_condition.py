import numpy as np
import tiny_condition
import tiny_priors

from musicgen_jax import config
from musicgen_jax.conditions import labels


def test_labels_are_the_sum_of_two_tables_and_can_be_hidden():
    model = tiny_priors.model_config()
    tables, added = tiny_condition.build(lambda rngs: labels.Labels(model, rngs=rngs))
    known = tables["genre"][[2, 1]] + tables["artist"][[0, 0]]
    np.testing.assert_allclose(added(genre=[2, 1], artist=[0, 0])[:, 0], known, atol=1e-6)
    hidden = added(np.array([True, False]), genre=[2, 1], artist=[0, 0])[:, 0]
    unknown = tables["genre"][labels.UNKNOWN] + tables["artist"][labels.UNKNOWN]
    np.testing.assert_allclose(hidden, [unknown, known[1]], atol=1e-6)
    assert tiny_priors.GENRES[labels.UNKNOWN] == config.UNKNOWN_LABEL

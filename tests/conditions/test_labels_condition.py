import numpy as np
import tiny_condition
import tiny_priors
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions import labels


def test_labels_are_the_sum_of_their_tables_and_can_be_hidden():
    names = ("items", "genre", "pitch")  # one of them what a dict calls its own
    sizes = dict(zip(names, (2, 3, 4), strict=True))
    model = tiny_priors.model_config(
        labels=names, vocabularies={name: tuple(map(str, range(size))) for name, size in sizes.items()}
    )
    params, added = tiny_condition.build(lambda rngs: labels.Labels(model, rngs=rngs))
    tables = [params["tables"][labels.table_of(name)] for name in names]
    told = np.int32([[1, 2, 3], [0, 1, 2]])
    known = sum(table[column] for table, column in zip(tables, told.T, strict=True))
    np.testing.assert_allclose(added(labels=told)[:, 0], known, atol=1e-6)
    hidden = added(np.array([True, False]), labels=told)[:, 0]
    np.testing.assert_allclose(hidden, [sum(table[labels.UNKNOWN] for table in tables), known[1]], atol=1e-6)
    assert tiny_priors.GENRES[labels.UNKNOWN] == config.UNKNOWN_LABEL


def test_a_model_without_labels_is_told_nothing():
    model = tiny_priors.model_config(labels=(), vocabularies={})
    _, added = tiny_condition.build(lambda rngs: labels.Labels(model, rngs=rngs))
    found = added(labels=np.zeros((2, 0), np.int32))
    assert found.shape == (2, 1, model.transformer.width) and not found.any()


def test_checkpoints_have_the_oldest_labels_where_they_always_were():
    model = tiny_priors.model_config(labels=("genre", "total"), vocabularies={})
    functional = tiny_priors.trained_prior(model).functional
    params = nnx.to_pure_dict(functional.abstract_params)["labels"]
    assert set(params) == {"genre", "tables", "total", "elapsed"} and set(params["tables"]) == {"of_total"}

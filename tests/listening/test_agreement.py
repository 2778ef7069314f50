"""Krippendorff's alpha on the table of his own paper."""

import numpy as np
import pytest

from musicgen_jax.listening import agreement
from musicgen_jax.listening.findings import NotComputable

NONE = np.nan
# Krippendorff 2011, section D: four observers, twelve units.
TABLE = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
)


def alpha(table, scale):
    listeners, units = np.nonzero(~np.isnan(table))
    return agreement.krippendorff_alpha(units, listeners, table[listeners, units], scale)


@pytest.mark.parametrize(
    ("scale", "known"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_the_textbook_table(scale, known):
    assert alpha(TABLE, scale) == pytest.approx(known, abs=0.0005)
    assert alpha(TABLE[::-1, ::-1], scale) == pytest.approx(alpha(TABLE, scale)), "names and orders do not matter"


def test_perfect_agreement_is_one_and_chance_is_zero():
    rng = np.random.default_rng(0)
    assert alpha(np.tile(rng.integers(1, 6, 20), (3, 1)).astype(float), "interval") == 1.0
    assert alpha(rng.integers(1, 6, (10, 400)).astype(float), "interval") == pytest.approx(0.0, abs=0.02)


def test_what_has_no_alpha():
    with pytest.raises(NotComputable, match="two listeners"):
        alpha(np.array([[1.0, NONE], [NONE, 2.0]]), "nominal")
    with pytest.raises(NotComputable, match="equal"):
        alpha(np.ones((3, 4)), "interval")
    with pytest.raises(ValueError, match="twice"):
        agreement.krippendorff_alpha(["a", "a"], ["x", "x"], [1, 2])
    with pytest.raises(ValueError, match="must be one of"):
        alpha(TABLE, "metric")

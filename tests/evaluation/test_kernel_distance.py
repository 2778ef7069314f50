import numpy as np
import pytest

from musicgen_jax.evaluation import kernel_distance


def test_equals_its_definition():
    """Sums over pairs, one by one."""
    rng = np.random.default_rng(0)
    x, y, width = rng.standard_normal((7, 3)), rng.standard_normal((5, 3)) + 1, 1.7
    kernel = lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * width**2))  # noqa: E731
    within = [
        np.mean([kernel(one[i], one[j]) for i in range(len(one)) for j in range(len(one)) if i != j]) for one in (x, y)
    ]
    across = np.mean([kernel(a, b) for a in x for b in y])
    want = 100 * (sum(within) - 2 * across)
    assert kernel_distance.kernel_distance(x, y, width) == pytest.approx(want, rel=1e-9)


def test_centred_on_zero_for_one_distribution_at_any_number():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((600, 8))
    width = kernel_distance.median_distance(reference)
    for count in (40, 200):
        sets = rng.standard_normal((16, count, 8))
        values = [kernel_distance.kernel_distance(one, reference, width) for one in sets]
        error = np.std(values) / np.sqrt(len(values))
        assert min(values) < 0 < max(values) and abs(np.mean(values)) < 3 * error + 0.01
        moved = kernel_distance.kernel_distance(sets[0] + 2.0, reference, width)
        assert moved > 10 * max(np.abs(values))


def test_bandwidth_is_the_median_distance():
    points = np.array([[0.0], [1.0], [3.0], [7.0]])  # distances 1, 2, 3, 4, 6, 7
    assert kernel_distance.median_distance(points) == pytest.approx(3.5)
    rng = np.random.default_rng(0)
    many = kernel_distance.median_distance(rng.standard_normal((5000, 4)))
    assert many == pytest.approx(kernel_distance.median_distance(rng.standard_normal((2000, 4))), rel=0.02)


@pytest.mark.parametrize(
    ("count", "width", "message"),
    [(1, 1.0, "1 frames against 5: a kernel distance needs two"), (4, 0.0, "median distance of 0 is no bandwidth")],
)
def test_what_has_no_distance_is_refused(count, width, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance.kernel_distance(np.zeros((count, 2)), np.zeros((5, 2)), width)

import numpy as np
import pytest

from musicgen_jax.evaluation import codebook_usage


def test_histograms_run_over_the_whole_split_each_codebook_by_itself():
    tracks = [np.array([[0, 4], [1, 4], [1, 4]]), np.array([[[3, 0], [1, 4]]], np.uint16), np.zeros((0, 2), int)]
    counts = codebook_usage.histograms(tracks, 5)
    np.testing.assert_array_equal(counts, [[1, 3, 0, 1, 0], [1, 0, 0, 0, 4]])
    assert counts.dtype == np.int64


def test_uniform_codes_have_perplexity_k():
    statistics = codebook_usage.usage_statistics(np.full((1, 16), 7))
    assert statistics == {"usage": 1.0, "perplexity": pytest.approx(16.0), "dead": 0, "num_codes": 112}


def test_perplexity_of_a_hand_computed_histogram():
    statistics = codebook_usage.usage_statistics(np.array([[2, 1, 1, 0, 0, 0, 0, 0]]))
    # H = 1/2 ln 2 + 2 * 1/4 ln 4 = 3/2 ln 2
    assert statistics == {"usage": 0.375, "perplexity": pytest.approx(2**1.5), "dead": 5, "num_codes": 4}


def test_of_several_codebooks_the_mean_entropy_counts():
    statistics = codebook_usage.usage_statistics(np.array([[1, 1, 1, 1], [4, 0, 0, 0]]))
    assert statistics == {"usage": 5 / 8, "perplexity": pytest.approx(2.0), "dead": 3, "num_codes": 8}


def test_one_code_only_has_perplexity_one():
    assert codebook_usage.usage_statistics(np.array([[0, 9]]))["perplexity"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("codes", "message"), [([0, 5], "another tokenizer"), ([-1, 2], "another"), ([0.5], "integers")]
)
def test_codes_of_another_codebook_are_refused(codes, message):
    with pytest.raises(ValueError, match=message):
        codebook_usage.histograms([np.array(codes)[:, None]], 5)


def test_an_empty_histogram_is_refused():
    with pytest.raises(ValueError, match="empty"):
        codebook_usage.usage_statistics(np.zeros((1, 4), np.int64))

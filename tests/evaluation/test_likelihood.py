import itertools

import numpy as np
import pytest

from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.evaluation import likelihood

LAYOUT = Layout(12_800, 1, (Stream("top", 128, 1, 16), Stream("bottom", 8, 3, 16)), "f00d")


def _markov(rng, transition, length):
    cumulative = np.cumsum(transition, axis=1)
    codes = [int(rng.integers(len(transition)))]
    for draw in rng.random(length - 1):
        codes.append(min(int(np.searchsorted(cumulative[codes[-1]], draw)), len(transition) - 1))
    return np.array(codes)


def _entropy_rate(transition):
    stationary = np.linalg.matrix_power(transition, 1000)[0]
    return -float(np.sum(stationary[:, None] * transition * np.log(transition)))


def _total_probability(model, codebook_size, length):
    every = itertools.product(range(codebook_size), repeat=length)
    return sum(np.exp(-model.nats(np.array(codes))) for codes in every)


@pytest.mark.parametrize("fit", [likelihood.fit_unigram, likelihood.fit_bigram])
@pytest.mark.parametrize("train", [[[0, 1, 1, 3]], [[0, 1, 0, 1], [3, 3, 1], [2]], [[2]]])
def test_probabilities_of_all_sequences_sum_to_one(fit, train):
    model = fit([np.array(codes) for codes in train], 4)
    assert _total_probability(model, 4, 3) == pytest.approx(1.0, abs=1e-9)


def test_bigram_scores_equal_a_hand_computed_case():
    # After 0: 1 twice, 2 once. After 1: nothing but 0.
    counts = np.array([[0, 2, 1], [3, 0, 0], [0, 0, 0]])
    unigram = likelihood.UnigramModel(np.array([0.5, 0.3, 0.2]), 1.0)
    weights = np.array([[0.5, 0.2, 0.3], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    model = likelihood.BigramModel(counts, weights, unigram)
    steps = [
        0.5,  # the first code: unigram
        0.5 * 2 / 3 + 0.2 * 1 / 1 + 0.3 * 0.3,  # 0 -> 1; less one, 1 of a total of 1 is left
        0.6 * 3 / 3 + 0.3 * 2 / 2 + 0.1 * 0.5,  # 1 -> 0
        0.5 * 1 / 3 + 0.2 * 0 / 1 + 0.3 * 0.2,  # 0 -> 2, seen once
        0.3,  # 2 -> 1: a context without counts is the unigram
    ]
    expected = -np.sum(np.log(steps))
    assert model.nats(np.array([0, 1, 0, 2, 1])) == pytest.approx(expected)
    assert likelihood.nats_per_code(model, [np.array([0, 1, 0, 2, 1])]) == pytest.approx(expected / 5)


def test_no_pair_spans_two_tracks():
    model = likelihood.fit_bigram([np.array([0, 1, 0]), np.array([2, 1]), np.array([2])], 3)
    np.testing.assert_array_equal(model.counts, [[0, 1, 0], [1, 0, 0], [0, 1, 0]])


def test_every_code_counts_once_whatever_its_sequence():
    model = likelihood.UnigramModel(np.array([0.9, 0.1]), 1.0)
    expected = -(3 * np.log(0.9) + np.log(0.1)) / 4
    assert likelihood.nats_per_code(model, [np.array([0, 0, 0]), np.array([1])]) == pytest.approx(expected)


def test_uniform_codes_cost_log_k():
    rng = np.random.default_rng(0)
    train = [rng.integers(16, size=2000) for _ in range(10)]
    test = [rng.integers(16, size=5000)]
    for fit in (likelihood.fit_unigram, likelihood.fit_bigram):
        assert likelihood.nats_per_code(fit(train, 16), test) == pytest.approx(np.log(16), abs=0.01)


def test_bigram_reaches_the_entropy_rate_of_a_markov_chain_and_unigram_does_not():
    rng = np.random.default_rng(1)
    transition = rng.dirichlet(np.full(8, 0.4), size=8) * 0.98 + 0.02 / 8
    train = [_markov(rng, transition, 3000) for _ in range(8)]
    test = [_markov(rng, transition, 3000) for _ in range(4)]
    rate = _entropy_rate(transition)
    bigram = likelihood.nats_per_code(likelihood.fit_bigram(train, 8), test)
    unigram = likelihood.nats_per_code(likelihood.fit_unigram(train, 8), test)
    assert bigram == pytest.approx(rate, abs=0.03)
    assert unigram > rate + 0.3


def test_bigram_is_stronger_than_witten_bell_where_counts_are_few():
    rng = np.random.default_rng(2)
    size = 256
    transition = rng.dirichlet(np.full(size, 0.02), size=size) * 0.9 + 0.1 / size
    train = [_markov(rng, transition, 800) for _ in range(8)]
    test = [_markov(rng, transition, 800) for _ in range(4)]
    model = likelihood.fit_bigram(train, size)
    types, totals = np.count_nonzero(model.counts, axis=1)[:, None], model.counts.sum(axis=1)[:, None]
    witten_bell = (model.counts + types * model.unigram.probabilities) / np.maximum(totals + types, 1)
    witten_bell = np.where(totals > 0, witten_bell, model.unigram.probabilities)
    nats = -sum(np.log(witten_bell[codes[:-1], codes[1:]]).sum() + np.log(1 / size) for codes in test)
    ours = likelihood.nats_per_code(model, test)
    assert ours < nats / sum(map(len, test))
    assert ours < likelihood.nats_per_code(model.unigram, test)


def test_bits_per_second_sums_over_tiers():
    nats = {"top": np.log(2), "bottom": 2 * np.log(2)}
    assert likelihood.bits_per_second(nats, LAYOUT) == pytest.approx(100 + 3 * 2 * 1600)
    with pytest.raises(ValueError, match=r"nats for \['top'\], and the streams are top, bottom: give those of all"):
        likelihood.bits_per_second({"top": 1.0}, LAYOUT)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([], "no codes"),
        ([np.array([], int)], "no codes"),
        ([np.array([0, 4])], "another tokenizer"),
        ([np.array([-1])], "another tokenizer"),
        ([np.array([0.0])], "integers"),
        ([np.zeros((2, 2), int)], "integers"),
    ],
)
def test_bad_codes_are_refused(codes, message):
    for fit in (likelihood.fit_unigram, likelihood.fit_bigram):
        with pytest.raises(ValueError, match=message):
            fit(codes, 4)
    with pytest.raises(ValueError, match=message):
        likelihood.nats_per_code(likelihood.UnigramModel(np.full(4, 0.25), 1.0), codes)

import numpy as np
import pytest

from dmix.mixing.effects.ngrams import (
    DEFAULT_WEIGHTS,
    NgramCounts,
    Wanted,
    components,
    count_rows,
    fitted_weights,
    interpolated,
)

# two samples of four tokens: bigrams 1 2, 2 1, 1 2 and 3 1, 1 1, 1 2
ROWS = np.array([[1, 2, 1, 2], [3, 1, 1, 2]], np.uint16)


def wanted(*pairs, vocab_size=10):
    previous, token = np.array(pairs).T
    return Wanted.of_pairs(previous, token, vocab_size=vocab_size)


@pytest.mark.parametrize("vocab_size", [10, 100_000])
def test_bigrams_are_counted_within_samples_only(vocab_size):
    asked = wanted((1, 2), (2, 1), (2, 3), vocab_size=vocab_size)
    counts = count_rows(ROWS, asked)
    # 2 3 would only stand across the two samples
    assert counts.pairs_K.tolist() == [3, 1, 0]
    assert asked.tokens_U.tolist() == [1, 2, 3]
    assert counts.tokens_U.tolist() == [4, 3, 1]
    # the last token of a sample is followed by nothing
    assert counts.contexts_U.tolist() == [4, 1, 1]
    assert counts.total == 8


def test_counts_of_parts_add_up():
    asked = wanted((1, 2), (3, 1))
    whole, parts = count_rows(ROWS, asked), count_rows(ROWS[:1], asked) + count_rows(ROWS[1:], asked)
    assert whole.pairs_K.tolist() == parts.pairs_K.tolist() == [3, 1]
    rest = whole - count_rows(ROWS[:1], asked)
    assert (rest.pairs_K.tolist(), rest.total) == ([1, 1], 4)


def test_no_text_gives_no_counts():
    counts = count_rows(np.empty((0, 4), np.uint16), wanted((1, 2)))
    assert (counts.pairs_K.tolist(), counts.total) == ([0], 0)


def test_interpolated_probability_is_the_one_worked_by_hand():
    asked = wanted((1, 2), (5, 2))
    counts = count_rows(ROWS, asked)
    parts, known = components(counts, asked.places(np.array([1, 5]), np.array([2, 2])))
    weights = np.array([0.6, 0.3, 0.1])
    # after 1 comes 2 in 3 of 4 cases, 2 is 3 of 8 tokens, V = 10
    assert parts[0].tolist() == [3 / 4, 3 / 8, 1 / 10]
    found = interpolated(parts, known, weights)
    assert found[0] == pytest.approx(0.6 * 0.75 + 0.3 * 0.375 + 0.1 * 0.1)
    # 5 never occurs: unigram and uniform share the bigram's weight
    assert found[1] == pytest.approx(0.75 * 0.375 + 0.25 * 0.1)


def test_probabilities_over_the_vocabulary_sum_to_one():
    asked = Wanted.of_pairs(np.repeat([1, 7], 10), np.tile(np.arange(10), 2), vocab_size=10)
    counts = count_rows(ROWS, asked)
    for previous in (1, 7):
        parts, known = components(counts, asked.places(np.full(10, previous), np.arange(10)))
        assert interpolated(parts, known, np.array([0.5, 0.4, 0.1])).sum() == pytest.approx(1)


def test_weights_go_to_the_component_that_explains_held_out_tokens():
    good, bad, uniform = np.full(500, 0.5), np.full(500, 0.01), np.full(500, 0.1)
    known = np.ones(500, bool)
    weights = fitted_weights(np.stack([good, bad, uniform], 1), known)
    assert weights[0] > 0.9 and weights.sum() == pytest.approx(1)
    other = fitted_weights(np.stack([bad, good, uniform], 1), known)
    assert other[1] > 0.9


def test_a_domain_without_held_out_tokens_takes_the_prior_and_no_weight_vanishes():
    nothing = np.empty((0, 3))
    assert fitted_weights(nothing, np.empty(0, bool)).tolist() == DEFAULT_WEIGHTS.tolist()
    never = fitted_weights(nothing, np.empty(0, bool), prior_3=np.array([1.0, 0.0, 0.0]))
    assert 0 < never[2] < 1e-3


def test_counts_of_nothing_have_the_shapes_that_are_wanted():
    counts = NgramCounts.nothing(wanted((1, 2), (3, 4)))
    assert (len(counts.pairs_K), len(counts.tokens_U), counts.total) == (2, 4, 0)

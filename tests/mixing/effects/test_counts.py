import dataclasses
import math

import numpy as np
import pytest

from dmix.mixing.effects.counts import (
    CountModel,
    ScoredTokens,
    count_effects,
    mixture_weights,
    relative_to,
)
from dmix.mixing.trajectories.encoding import EncodedItem
from dmix.warehouse_schema.errors import InputError

HALF = np.array([0.5, 0.5])


def test_values_are_those_worked_by_hand(paper_counts):
    mixture = np.array([0.25, 0.75])
    first = 0.5 * math.log(0.25 * 0.8) + 0.5 * math.log(0.75 * 0.8)
    second = 0.5 * math.log(0.25 * 0.1 + 0.75 * 0.5) + 0.5 * math.log(0.25 * 0.1 + 0.75 * 0.25)
    assert paper_counts.values(mixture) == pytest.approx([first, second])


def test_gradient_matches_finite_differences(paper_counts):
    mixture, step = np.array([0.3, 0.7]), 1e-6
    found = paper_counts.gradient(mixture)
    for domain in range(2):
        moved = mixture + step * np.eye(2)[domain]
        difference = (paper_counts.values(moved) - paper_counts.values(mixture)) / step
        assert found[domain] == pytest.approx(difference, rel=1e-4)


def test_gradients_of_items_have_the_gradient_as_their_mean(paper_counts):
    by_item = paper_counts.item_gradients(HALF)
    assert [rows.shape for rows in by_item] == [(2, 2), (1, 2)]
    for objective, rows in enumerate(by_item):
        assert rows.mean(0) == pytest.approx(paper_counts.gradient(HALF)[:, objective])


def test_effects_at_natural_mixing_are_those_worked_by_hand(paper_counts):
    effects = count_effects(
        paper_counts,
        HALF,
        dataset="d",
        environment="e",
        names=(("source", "a"), ("target", "a")),
        objectives=("o", "p"),
        roles=("general", "target"),
    )
    # objective 0 wants both domains alike; objective 1: mean of p_d / p_n less 1
    second = [(0.1 / 0.3 + 0.1 / 0.175) / 2 - 1, (0.5 / 0.3 + 0.25 / 0.175) / 2 - 1]
    assert effects.effect_ND[:, 0] == pytest.approx([0, 0])
    assert effects.effect_ND[:, 1] == pytest.approx(second)
    assert HALF @ effects.effect_ND == pytest.approx([0, 0])
    # two items that pull by +1 and -1: standard error 1
    assert effects.stderr_ND[:, 0] == pytest.approx([1, 1])
    # a single item says nothing of its error
    assert effects.stderr_ND[:, 1] == pytest.approx(np.abs(second))
    assert effects.telling_D.tolist() == [False, False]


def test_domains_without_samples_have_no_effect(paper_counts):
    wider = dataclasses.replace(paper_counts, active=np.array([0, 2]), size=3)
    natural = np.array([0.5, 0.0, 0.5])
    gradient = wider.gradient(natural)
    assert gradient[1].tolist() == [0, 0]
    assert gradient[[0, 2]] == pytest.approx(paper_counts.gradient(HALF))


def test_every_item_counts_alike_whatever_its_length():
    long, short = EncodedItem((0, 5, 6, 7), 2, False), EncodedItem((0, 5), 1, False)
    tokens = ScoredTokens.of_items([[long, short], [short]])
    assert tokens.weight_R == pytest.approx([0.25, 0.25, 0.5, 1.0])
    assert tokens.previous_R.tolist() == [5, 6, 0, 0]
    assert tokens.token_R.tolist() == [6, 7, 5, 5]
    assert [(s.start, s.stop) for s in tokens.slices] == [(0, 3), (3, 4)]


def twenty_items(p_RA, model_R):
    """Twenty items of one token each, of one objective."""
    size = len(p_RA)
    tokens = ScoredTokens(
        objective_R=np.zeros(size, np.int32),
        item_R=np.arange(size, dtype=np.int32),
        previous_R=np.ones(size, np.int64),
        token_R=np.ones(size, np.int64),
        weight_R=np.full(size, 1 / size),
    )
    counts = CountModel(tokens=tokens, active=np.array([0, 1]), size=2, p_RA=p_RA, alpha_D=np.ones(1))
    return relative_to(counts, model_R)


def test_a_model_that_knows_more_than_the_domains_leaves_them_no_effect():
    model = twenty_items(np.full((20, 2), 0.01), np.full(20, 0.5))
    assert model.alpha_D == pytest.approx([0], abs=1e-6)
    assert model.gradient(HALF) == pytest.approx(np.zeros((2, 1)), abs=1e-6)


def test_what_a_domain_knows_and_the_model_does_not_counts():
    # domain 1 knows every other item, the model the others
    known = np.tile([0.4, 0.02], 10)
    model = twenty_items(np.stack([np.full(20, 0.01), known], 1), known[::-1].copy())
    assert 0.3 < model.alpha_D[0] < 0.7
    assert model.values(np.array([0.0, 1.0]))[0] > model.values(HALF)[0]
    # B is mean log((1 - alpha) p_model + alpha p_mixture)
    alpha, mixed = model.alpha_D[0], np.stack([np.full(20, 0.01), known], 1) @ HALF
    expected = np.log((1 - alpha) * known[::-1] + alpha * mixed).mean()
    assert model.values(HALF)[0] == pytest.approx(expected)


def test_probabilities_of_a_model_have_to_fit_the_tokens():
    with pytest.raises(InputError, match="scored tokens"):
        twenty_items(np.full((20, 2), 0.1), np.zeros(20))


def test_mixture_weights_of_two_components_are_the_ones_on_paper():
    # three of four tokens can only be said by the first, one only by the second
    parts = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    assert mixture_weights(parts, np.full(4, 0.25)) == pytest.approx([0.75, 0.25])

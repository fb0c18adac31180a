"""Mixtures that people write: names, weights, and what is refused by name."""

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.mixtures import checked_weight, index_of_name, parse_mixture
from dmix.warehouse_schema.errors import InputError

SPACE = DomainSpace(("News", "Science"), np.array([30, 10, 60, 0]))


def parsed(**weights):
    return parse_mixture(
        {name.replace("_", "/"): w for name, w in weights.items()}, space=SPACE, where="f.yaml"
    )


def test_weights_are_normalised_and_unnamed_domains_get_none():
    np.testing.assert_allclose(parsed(source_News=3, target_News=1), [0.75, 0, 0.25, 0])


def test_a_field_is_spread_by_natural_shares():
    np.testing.assert_allclose(parsed(source=0.4, target=0.6), [0.3, 0.1, 0.6, 0])
    np.testing.assert_allclose(parsed(source=1, source_Science=1), [0.375, 0.625, 0, 0])


def test_a_domain_without_samples_may_be_named_with_weight_zero_alone():
    np.testing.assert_allclose(parsed(source_News=1, target_Science=0), [1, 0, 0, 0])
    with pytest.raises(InputError, match=r"'target/Science' has weight 0.1, but the dataset has no sample"):
        parsed(source_News=1, target_Science=0.1)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({}, "the weights sum to 0"),
        ({"source": 0, "target": 0}, "the weights sum to 0"),
        ({"source_News": 1e308, "source_Science": 1e308}, "sum .* too large; give shares"),
        ({"source_News": -1}, "f.yaml: source/News is -1, expected a finite number"),
        ({"source_Newz": 1}, "did you mean 'source/News'"),
        ({"zzzzzzzzz": 1}, "'zzzzzzzzz' is not .*for example 'source/News'"),
    ],
)
def test_what_is_no_mixture_is_named(weights, said):
    with pytest.raises(InputError, match=said):
        parsed(**weights)


@pytest.mark.parametrize(("given", "weight"), [(2, 2.0), ("1e-3", 1e-3), (0.5, 0.5)])
def test_numbers_and_their_texts_are_weights(given, weight):
    assert checked_weight(given, "w") == weight


@pytest.mark.parametrize("given", [True, None, "x", [1], float("nan"), float("inf"), -0.1, 10**400])
def test_what_is_no_number_from_zero_on_is_refused(given):
    with pytest.raises(InputError, match=r"w is .*, expected a finite number, 0 or more"):
        checked_weight(given, "w")


def test_indices_follow_the_space():
    assert [index_of_name(f"{f}/{d}", space=SPACE, where="") for f, d in SPACE.names] == [0, 1, 2, 3]

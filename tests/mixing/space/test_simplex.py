"""Simplex arithmetic against values worked by hand."""

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.simplex import (
    SMALLEST_WEIGHT,
    clipped,
    effective_number,
    entropy,
    kl,
    masked_mixture,
    total_variation,
)
from dmix.warehouse_schema.errors import InputError


@pytest.fixture
def space():
    return DomainSpace(("a", "b"), np.array([30, 0, 50, 20]))


def test_kl_of_a_coin_worked_by_hand():
    # 1/2 ln(1/2 / 1/4) + 1/2 ln(1/2 / 3/4) = 1/2 ln 2 - 1/2 ln(3/2) = 1/2 ln(4/3)
    assert kl(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(0.5 * np.log(4 / 3))


def test_kl_takes_zero_times_log_zero_as_zero():
    assert kl(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(np.log(2))
    assert kl(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0


def test_kl_is_infinite_where_the_second_lacks_support():
    assert kl(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == np.inf


def test_kl_broadcasts_over_leading_axes():
    q = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert kl(np.array([0.5, 0.5]), q) == pytest.approx([0, 0.5 * np.log(4 / 3)])


def test_entropy_and_effective_number():
    assert entropy(np.array([0.5, 0.5, 0.0])) == pytest.approx(np.log(2))
    assert effective_number(np.array([[1.0, 0, 0, 0], [0.25] * 4])) == pytest.approx([1, 4])


def test_total_variation_of_disjoint_mixtures_is_one():
    assert total_variation(np.array([1.0, 0, 0]), np.array([0, 0.5, 0.5])) == 1


def test_clipped_has_no_zero_and_sums_to_one():
    raised = clipped(np.array([1.0, 0.0]))
    assert raised.sum() == pytest.approx(1, abs=1e-15)
    assert raised[1] == pytest.approx(SMALLEST_WEIGHT, rel=1e-6)


def test_masked_mixture_gives_the_weight_of_empty_domains_to_the_others(space):
    assert masked_mixture(np.array([0.2, 0.5, 0.2, 0.1]), space) == pytest.approx([0.4, 0, 0.4, 0.2])


def test_masked_mixture_of_nothing_is_natural(space):
    assert masked_mixture(np.array([0, 1.0, 0, 0]), space) == pytest.approx([0.3, 0, 0.5, 0.2])


@pytest.mark.parametrize("bad", [[-0.1, 0, 1, 0.1], [np.nan, 0, 1, 0], [np.inf, 0, 0, 0]])
def test_masked_mixture_refuses_weights_that_are_none(space, bad):
    with pytest.raises(InputError, match="expected finite numbers of 0 or more"):
        masked_mixture(np.array(bad), space)


def test_masked_mixture_refuses_another_shape(space):
    with pytest.raises(InputError, match=r"shape \(3,\), expected \(4,\)"):
        masked_mixture(np.ones(3), space)

"""Who takes over from a domain that has nothing left, and what a mixture may look like."""

import numpy as np
import pytest

from dmix.mixing.delivery.exhaustion import (
    EXHAUSTED,
    NO_SAMPLES,
    RUNS_OUT,
    TAKES_OVER,
    Allocation,
    allocate,
    checked_mixture,
    feasible,
)
from dmix.warehouse_schema.errors import InputError

TARGET = np.array([False, False, False, True, True, True])


def plan(
    mixture: list[float], remaining: list[int], *, total: int = 100, carry: list[float] | None = None
) -> Allocation:
    return allocate(
        np.array(mixture),
        total=total,
        carry_N=np.array(carry or [0.0] * 6),
        remaining_N=np.array(remaining, dtype=np.int64),
        samples_N=np.array([1000, 1000, 0, 1000, 1000, 1000]),
        target_N=TARGET,
    )


def test_mixture_stays_as_it_is_while_every_quota_can_be_served() -> None:
    mixture = [0.1, 0.2, 0.0, 0.3, 0.4, 0.0]
    planned = plan(mixture, [900] * 6)
    assert planned.planned_N.tolist() == mixture
    assert planned.reasons == {}


def test_share_of_an_empty_domain_stays_in_its_field_in_proportion() -> None:
    planned = plan([0.1, 0.3, 0.2, 0.4, 0.0, 0.0], [900, 900, 0, 900, 900, 900])
    assert planned.planned_N == pytest.approx([0.15, 0.45, 0.0, 0.4, 0.0, 0.0])
    assert planned.reasons == {0: TAKES_OVER, 1: TAKES_OVER, 2: NO_SAMPLES}


def test_domain_that_runs_out_gives_all_it_has() -> None:
    planned = plan([0.2, 0.2, 0.0, 0.3, 0.2, 0.1], [900, 900, 0, 10, 900, 900])
    assert planned.quota_N == pytest.approx([20, 20, 0, 10, 100 / 3, 50 / 3])
    assert planned.quota_N[3] == 10
    assert planned.planned_N.sum() == pytest.approx(1)
    assert planned.reasons == {3: RUNS_OUT, 4: TAKES_OVER, 5: TAKES_OVER}


def test_takers_that_run_out_in_turn_pass_the_rest_on() -> None:
    planned = plan([0.2, 0.0, 0.0, 0.6, 0.2, 0.0], [900, 900, 0, 10, 30, 15])
    assert planned.quota_N == pytest.approx([45.0, 0.0, 0.0, 10.0, 30.0, 15.0])
    assert planned.reasons == {0: TAKES_OVER, 3: RUNS_OUT, 4: RUNS_OUT, 5: RUNS_OUT}


def test_field_without_samples_hands_over_to_the_other_field() -> None:
    planned = plan([0.1, 0.2, 0.0, 0.3, 0.2, 0.2], [900, 900, 0, 0, 0, 0])
    assert planned.planned_N == pytest.approx([1 / 3, 2 / 3, 0, 0, 0, 0])
    assert {planned.reasons[i] for i in (3, 4, 5)} == {EXHAUSTED}


def test_takers_without_weight_share_by_what_they_hold() -> None:
    planned = plan([0.0, 0.0, 0.0, 1.0, 0.0, 0.0], [900, 900, 0, 0, 300, 100])
    assert planned.planned_N == pytest.approx([0, 0, 0, 0, 0.75, 0.25])


def test_carry_of_an_exhausted_domain_goes_where_its_share_goes() -> None:
    planned = plan(
        [0.2, 0.2, 0.0, 0.2, 0.2, 0.2], [900, 900, 0, 0, 900, 900], carry=[0.3, 0, 0, -0.6, 0.1, 0.2]
    )
    assert planned.quota_N == pytest.approx([20.3, 20, 0, 0, 29.8, 29.9])
    assert planned.quota_N.sum() == pytest.approx(100)


def test_carry_that_can_no_longer_be_served_goes_on() -> None:
    planned = plan([0.0, 0.4, 0, 0.6, 0.0, 0.0], [1, 900, 0, 900, 900, 900], carry=[1.5, -0.5, 0, -1.0, 0, 0])
    assert planned.quota_N == pytest.approx([1, 40, 0, 59, 0, 0])


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ([0.5, 0.5], r"shape \(2,\), expected \(3,\)"),
        ([0.5, float("nan"), 0.5], "nan at index 1"),
        ([0.5, float("inf"), 0.5], "inf at index 1"),
        ([0.6, 0.6, -0.2], "-0.2 at index 2"),
        ([0.5, 0.5, 0.1], "sums to 1.1.*divide the weights"),
        ([0.0, 0.0, 0.0], "sums to 0.0"),
    ],
)
def test_what_is_no_mixture_is_refused(mixture: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_mixture(np.array(mixture), size=3)


def test_sum_within_the_tolerance_is_divided_out() -> None:
    assert checked_mixture(np.array([0.5, 0.5000005]), size=2).sum() == pytest.approx(1, abs=1e-15)


def test_many_runs_at_once_plan_what_each_would_plan_by_itself() -> None:
    rng, total = np.random.default_rng(0), 10**6
    mixtures_PN = rng.dirichlet(np.full(6, 0.5), 500)
    left_PN = rng.exponential(0.4, (500, 6)) * (rng.random((500, 6)) < 0.7)
    left_PN = left_PN[left_PN.sum(1) > 1.01]
    planned_PN = feasible(mixtures_PN[: len(left_PN)], left_PN, target_N=TARGET)
    assert len(left_PN) > 200 and (planned_PN <= left_PN + 1e-9).all()
    for mixture_N, left_N, planned_N in zip(mixtures_PN, left_PN, planned_PN, strict=False):
        one = allocate(
            mixture_N,
            total=total,
            carry_N=np.zeros(6),
            remaining_N=(left_N * total).astype(np.int64),
            samples_N=np.full(6, 10 * total),
            target_N=TARGET,
        )
        np.testing.assert_allclose(planned_N, one.planned_N, atol=1e-4)


def test_what_is_left_of_less_than_a_step_decides_and_nothing_left_changes_nothing() -> None:
    mixture_N = np.array([0.5, 0.0, 0.0, 0.5, 0.0, 0.0])
    left_PN = np.array([[0.1, 0.0, 0.0, 0.0, 0.3, 0.0], [0.0] * 6])
    planned_PN = feasible(np.stack([mixture_N, mixture_N]), left_PN, target_N=TARGET)
    np.testing.assert_allclose(planned_PN[0], [0.25, 0, 0, 0, 0.75, 0])
    np.testing.assert_array_equal(planned_PN[1], mixture_N)

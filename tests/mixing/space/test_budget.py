import numpy as np
import pytest

from dmix.mixing.space.budget import FieldPasses, auto_step_samples, expected_coverage, smallest_share
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError


def space(*samples):
    return DomainSpace(tuple("abc"[: len(samples) // 2]), np.array(samples, np.int64))


def test_auto_takes_the_smallest_multiple_of_the_batch_that_covers_everything():
    # 100 samples in 7 steps: 15 a step, rounded up to the batch of 4
    assert auto_step_samples(space(60, 40), 7, 4) == 16
    assert auto_step_samples(space(60, 40), 25, 4) == 4
    assert auto_step_samples(space(1, 0), 100, 8) == 8


@pytest.mark.parametrize(("steps", "batch"), [(0, 4), (3, 0)])
def test_auto_refuses_no_steps_and_no_batch(steps, batch):
    with pytest.raises(InputError, match="expected at least 1"):
        auto_step_samples(space(60, 40), steps, batch)


def test_a_domain_of_the_smallest_share_is_due_one_sample_and_all_are_where_everything_is_covered():
    found = space(70, 10, 19, 1)
    samples = 3 * auto_step_samples(found, 3, 4)
    assert (found.natural_N >= smallest_share(samples)).all()
    assert (found.natural_N < smallest_share(50)).tolist() == [False, False, False, True]


def test_natural_mixing_covers_both_fields_alike():
    assert expected_coverage(space(60, 40), steps=5, step_samples=10) == FieldPasses(0.5, 0.5)


def test_coverage_under_a_mixture_counts_passes_over_each_field():
    got = expected_coverage(space(60, 40), steps=8, step_samples=10, mixture_N=np.array([0.0, 1.0]))
    assert got == FieldPasses(0.0, 2.0)


def test_a_field_without_samples_is_covered_zero_times():
    assert expected_coverage(space(60, 0), steps=6, step_samples=10).target == 0.0

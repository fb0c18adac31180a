"""The domain space worked by hand: natural shares, the start, masks, sums within fields."""

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace, read_only
from dmix.warehouse_schema.errors import InputError

SPACE = DomainSpace(("a", "b"), np.array([30, 10, 0, 40]))


def test_shares_by_hand():
    assert SPACE.natural_N.tolist() == [0.375, 0.125, 0, 0.5]
    assert SPACE.start_N.tolist() == [0.75, 0.25, 0, 0]
    assert SPACE.target_state_N.tolist() == [0, 0, 0, 1]
    assert SPACE.active_N.tolist() == [True, True, False, True]
    assert SPACE.target_N.tolist() == [False, False, True, True]
    assert SPACE.names == (("source", "a"), ("source", "b"), ("target", "a"), ("target", "b"))
    assert len(SPACE) == 4


def test_fields_are_summed_and_spread_by_natural_shares():
    mixtures_TN = np.array([[0.1, 0.2, 0.3, 0.4], [1.0, 0, 0, 0]])
    np.testing.assert_allclose(SPACE.coarsen(mixtures_TN), [[0.3, 0.7], [1, 0]])
    np.testing.assert_allclose(SPACE.expand(np.array([0.4, 0.6])), [0.3, 0.1, 0, 0.6])
    np.testing.assert_allclose(SPACE.coarsen(SPACE.expand(np.array([[0.25, 0.75]]))), [[0.25, 0.75]])


@pytest.mark.parametrize(("field", "name"), [(0, "start_N"), (1, "target_state_N")])
def test_a_field_without_text_has_no_state(field, name):
    samples_N = np.array([1, 1, 1, 1])
    samples_N[2 * field : 2 * field + 2] = 0
    with pytest.raises(InputError, match=f"the {('source', 'target')[field]} field has no samples"):
        getattr(DomainSpace(("a", "b"), samples_N), name)


@pytest.mark.parametrize(
    ("samples", "named"),
    [([1, 2, 3], "3 sample counts for 2 labels"), ([0, 0, 0, 0], "no domain has a single sample")],
)
def test_what_is_no_space_is_refused(samples, named):
    with pytest.raises(InputError, match=named):
        DomainSpace(("a", "b"), np.array(samples))


def test_counts_of_the_caller_are_copied():
    samples_N = np.array([1, 2, 3, 4])
    space = DomainSpace(("a", "b"), samples_N)
    samples_N[0] = 9
    assert space.samples_N[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        space.samples_N[0] = 9


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3).T, np.zeros((3, 0)), np.ones(4) > 0])
def test_nobody_can_make_a_read_only_array_writable(array):
    kept = read_only(array)
    assert (kept.shape, kept.dtype, kept.flags.fnc) == (array.shape, array.dtype, array.flags.fnc)
    np.testing.assert_array_equal(kept, array)
    for writable in (kept, kept[1:], kept.view(), read_only(kept)):
        with pytest.raises(ValueError, match="WRITEABLE"):
            writable.setflags(write=True)
        with pytest.raises(ValueError, match="WRITEABLE"):
            writable.flags.writeable = True
    array[...] = 0  # the array itself stays as it is
    assert array.flags.writeable and kept.sum() in (15, 0, 4)


def test_the_space_of_a_dataset_has_a_place_for_every_label(make_manifest):
    space = DomainSpace.of_dataset(make_manifest([5, 0, 7, 1]))
    assert space.samples_N.tolist() == [5, 0, 7, 1] and len(space.labels) == 2

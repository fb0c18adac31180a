"""Numbers of JSON are taken in their shape, or refused by name."""

import numpy as np
import pytest

from dmix.mixing.space.plain_values import count_of, counts_of, floats_of


def test_numbers_keep_their_values_and_types():
    assert count_of(0, what="n") == 0
    counts, floats = counts_of([[1, 2]], shape=(1, 2), what="n"), floats_of([1, 0.1], shape=(None,), what="x")
    assert (counts.dtype, floats.dtype) == (np.int64, np.float64)
    assert counts.tolist() == [[1, 2]] and floats.tolist() == [1.0, 0.1]
    assert counts_of([], shape=(0,), what="n").shape == (0,)
    assert np.isnan(floats_of([float("nan")], shape=(1,), what="x", finite=False)).all()


@pytest.mark.parametrize("value", [-1, True, 1.0, "1", None, 2**63])
def test_a_count_is_a_whole_number_of_at_least_0(value):
    with pytest.raises(ValueError, match=r"n is .*, expected a whole number"):
        count_of(value, what="n")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1], r"shape \(1,\), expected \(2\)"),
        ([[1, 2]], r"shape \(1, 2\), expected \(2\)"),
        ([[1], [1, 2]], "several lengths"),
        (None, r"shape \(\), expected"),
        ({"a": 1}, r"shape \(\)"),
        (["1", "2"], "other values than whole numbers"),
        ([1, 0.5], "other values than whole numbers"),
        ([1, None], "other values"),
        ([2**63, 2**63], "more than 63 bits"),
        ([1, 2**70], "other values"),
        ([1, -1], "below 0"),
    ],
)
def test_counts_of_another_kind_or_shape_are_refused(value, said):
    with pytest.raises(ValueError, match=said):
        counts_of(value, shape=(2,), what="n")


def test_numbers_that_are_not_finite_are_refused_where_they_have_to_be():
    with pytest.raises(ValueError, match="x has a number that is not finite"):
        floats_of([1.0, float("inf")], shape=(2,), what="x")

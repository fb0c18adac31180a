import pytest

from dmix.training.report.queries.seeds import interval


def test_interval_is_students_worked_by_hand():
    found = interval([1.0, 2.0, 6.0])
    # deviation 7 ** 0.5; t of 2 degrees of freedom at 97.5% is 4.302653
    assert found.mean == 3.0
    assert found.half == pytest.approx(4.302653 * 7**0.5 / 3**0.5, rel=1e-6)
    assert found.runs == 3

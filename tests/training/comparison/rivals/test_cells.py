"""Cells of the confirmation: their controllers."""

from tests.training.comparison.rivals.cell_rows import SPACE

from dmix.training.comparison.rivals.cells import cell_controller
from dmix.training.comparison.yardstick.designs import target_mixture


def test_a_cell_with_a_mixture_is_constant_and_another_one_is_made_by_name():
    mixture_N = target_mixture(0.25, SPACE)
    assert cell_controller("grid", mixture_N=mixture_N, warehouse=None, space=SPACE).name == "grid"
    assert cell_controller("odm", mixture_N=None, warehouse=None, space=SPACE).name == "odm"

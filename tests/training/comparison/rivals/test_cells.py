"""Cells of the confirmation: those that listen are made by name."""

import pytest
from tests.training.comparison.rivals.cell_rows import SPACE

from dmix.training.comparison.rivals.cells import CELLS, CONSTANT, LISTENING, listening_controller


def test_every_cell_is_constant_or_listens():
    assert set(CONSTANT) | set(LISTENING) == set(CELLS) and not set(CONSTANT) & set(LISTENING)


@pytest.mark.parametrize("cell", ["odm", "ado", "aioli"])
def test_a_cell_that_listens_is_made_by_name(cell):
    assert listening_controller(cell, warehouse=None, space=SPACE).name == cell

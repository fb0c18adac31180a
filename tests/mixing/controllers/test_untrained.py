"""An agent that has learnt nothing."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.controllers.untrained import UntrainedController
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


def test_the_seed_decides_and_the_global_generator_is_left_alone(history):
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    first = UntrainedController(1).propose(history(2)).mixture_N
    assert torch.rand(1) == wanted
    assert np.array_equal(first, UntrainedController(1).propose(history(2)).mixture_N)
    assert not np.array_equal(first, UntrainedController(2).propose(history(2)).mixture_N)
    assert first[1] == 0


def test_it_has_the_size_of_the_paper_and_reads_what_the_run_scores(history):
    controller = UntrainedController()
    a = controller.propose(
        history(2, objectives=("p", "q"), feedback_TD=np.zeros((2, 2)), scales_D=np.ones(2))
    )
    assert a.note == "" and a.mixture_N.sum() == pytest.approx(1)
    missing = controller.propose(history(2, feedback_TD=np.full((2, 1), np.nan)))
    assert "a score is missing" in missing.note


def test_a_seed_is_a_number(space, tmp_path):
    warehouse = Warehouse.at(tmp_path)
    assert make_controller("untrained", warehouse=warehouse, space=space).name == "untrained:0"
    for wrong in ("x", "-1", "²", str(2**31), "9" * 5_000):
        with pytest.raises(InputError, match=f"untrained:{wrong[:80]} contains no seed"):
            make_controller(f"untrained:{wrong}", warehouse=warehouse, space=space)


def test_it_is_made_without_torch():
    code = (
        "import sys; from dmix.mixing.controllers.untrained import make; "
        "make('1', warehouse=None, space=None); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

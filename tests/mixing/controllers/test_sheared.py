"""Dynamic batch loading: weight for what lies above its reference loss."""

import math

import numpy as np
import pytest

from dmix.mixing.agent.standardise import carried_forward
from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.controllers.sheared import ShearedController
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse

NAN = math.nan
NATURAL = [[0.3, 0, 0.5, 0.2]]


def test_losses_are_carried_forward():
    losses = np.array([[NAN, 1.0], [2.0, NAN], [NAN, 3.0]])
    found = carried_forward(losses, ~np.isnan(losses), before=NAN)
    np.testing.assert_array_equal(found, [[NAN, 1], [2, 1], [2, 3]])
    assert carried_forward(np.empty((0, 2)), np.empty((0, 2), bool)).shape == (0, 2)


def test_first_losses_are_the_reference_and_natural_shares_the_start(history):
    controller = ShearedController()
    assert controller.propose(history(1)).mixture_N == pytest.approx([0.3, 0, 0.5, 0.2])
    seen = history(mixtures=NATURAL, losses=[[3, NAN, 4, 5]], counts=[[6, 0, 10, 4]])
    # nothing lies above itself: only the smoothing moves the weights
    assert controller.propose(seen).mixture_N == pytest.approx([0.3, 0, 0.5, 0.2], abs=1e-4)


def test_forgetting_raises_a_weight_by_the_loss_above_reference(history):
    losses = [[3.0, NAN, 4.0, 5.0], [3.5, NAN, 3.0, NAN]]
    seen = history(mixtures=NATURAL * 2, losses=losses, counts=[[6, 0, 10, 4], [6, 0, 14, 0]])
    raised = 0.3 * math.exp(0.5)
    wanted = np.array([raised, 0, 0.5, 0.2]) / (raised + 0.7)
    assert ShearedController().propose(seen).mixture_N == pytest.approx(wanted, abs=1e-4)


def test_references_of_a_file(history, space, tmp_path):
    file = tmp_path / "references.yaml"
    file.write_text("target: 2.0\ntarget/Law: 4.0\n")
    controller = make_controller(f"sheared:{file}", warehouse=Warehouse.at(tmp_path), space=space)
    assert controller.name == "sheared:references.yaml"
    seen = history(mixtures=NATURAL, losses=[[9, NAN, 3, 3.5]], counts=[[6, 0, 10, 4]])
    # the source has no reference in the file: its first loss; Law lies below its own
    raised = 0.5 * math.e
    wanted = np.array([0.3, 0, raised, 0.2]) / (raised + 0.5)
    assert controller.propose(seen).mixture_N == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "contains no reference loss"),
        ("target/Lew: 3", "did you mean 'target/Law'"),
        ("target: low", "target is 'low', expected a finite number"),
        ("target: -1", "target is -1, expected a finite number"),
    ],
)
def test_what_a_file_of_references_cannot_say(space, tmp_path, content, message):
    file = tmp_path / "references.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        make_controller(f"sheared:{file}", warehouse=Warehouse.at(tmp_path), space=space)


def test_missing_file_of_references(space, tmp_path):
    with pytest.raises(NotFoundError, match=r"nowhere\.yaml does not exist"):
        make_controller("sheared:nowhere.yaml", warehouse=Warehouse.at(tmp_path), space=space)

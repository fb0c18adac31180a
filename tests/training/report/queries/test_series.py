import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tests.training.report.fixtures import add_run

from dmix.training.report.queries.run_facts import read_run
from dmix.training.report.queries.series import PLAIN_MARKS, Shares, field_loss, target_share, thinned
from dmix.warehouse_schema.catalog.catalog import Catalog


def test_thinned_last_row_is_the_mean_of_what_is_left():
    weights = np.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]])
    mixture = thinned(Shares(steps_T=np.array([1, 2, 3]), weights_TN=weights), limit=2)
    assert mixture.steps_T.tolist() == [1, 3]
    assert mixture.weights_TN.tolist() == [[0.5, 0.5], [0.25, 0.75]]
    assert mixture.width == 2


def test_loss_of_a_field_is_the_mean_over_its_tokens(warehouse):
    add_run(warehouse, "one", steps=2)
    with Catalog.open_reader(warehouse) as catalog:
        run = read_run(catalog, "one")
    run.loss_TN[:], run.loss_tokens_TN[:] = np.nan, np.nan
    run.loss_TN[0, :2], run.loss_tokens_TN[0, :2] = [2.0, 5.0], [30, 10]
    assert field_loss(run, "source") == pytest.approx([2.75, np.nan], nan_ok=True)
    assert np.isnan(field_loss(run, "target")).all()


def test_the_target_share_is_one_number_of_the_whole_run(warehouse):
    add_run(warehouse, "one")
    with Catalog.open_reader(warehouse) as catalog:
        run = read_run(catalog, "one")
    found = target_share(run)
    target_N = np.array([field == "target" for field, _ in run.pairs])
    assert found.whole == pytest.approx(run.samples_TN[:, target_N].sum() / run.samples_TN.sum())
    assert not found.constant and found.whole == pytest.approx(run.tokens_TN[:, target_N].sum() / 20480)
    # four steps of 80 samples of a constant plan: 24, 26, 24 and 25 of them are of the target
    samples_TN = np.zeros_like(run.samples_TN)
    samples_TN[:, -1] = [24, 26, 24, 27]
    samples_TN[:, 0] = 80 - samples_TN[:, -1]
    planned_TN = np.zeros_like(samples_TN)
    planned_TN[:, [0, -1]] = 0.69, 0.31
    steady = target_share(dataclasses.replace(run, samples_TN=samples_TN, planned_TN=planned_TN))
    assert steady.constant and steady.whole == pytest.approx(101 / 320)
    none = dataclasses.replace(run, samples_TN=np.full_like(samples_TN, np.nan))
    assert target_share(none) is None


def test_notes_of_training_are_no_events_about_the_mixture():
    """Controllers write events about the mixture; what the training loop notes itself is none."""
    folder = Path(__file__).parents[4] / "training" / "run"
    constants, kinds = {}, []
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                constants |= {
                    target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)
                }
            if isinstance(node, ast.Call) and any(
                isinstance(one, ast.Constant) and one.value == "note" for one in node.args
            ):
                kinds += [word.value for word in node.keywords if word.arg == "kind"]
    found = [
        one.value if isinstance(one, ast.Constant) else constants.get(getattr(one, "id", "")) for one in kinds
    ]
    assert len(found) >= 5
    assert {one for one in found if one is not None} <= PLAIN_MARKS

import numpy as np
import pytest
from tests.training.report.fixtures import add_run

from dmix.training.report.queries.run_facts import read_run
from dmix.training.report.queries.series import Shares, field_loss, thinned
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

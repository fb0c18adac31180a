"""The other regressors, and what all of them refuse."""

import numpy as np
import pytest

from dmix.mixing.regression.regressors import REGRESSORS, regressor
from dmix.warehouse_schema.errors import InputError


def mixtures(number, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(3), number)


@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize(
    ("runs", "values", "message"),
    [
        (mixtures(3), np.ones((2, 1)), r"shape \(3, 3\) and values .*\(2, 1\)"),
        (mixtures(1), np.ones((1, 1)), "1 run is too few"),
        (mixtures(2), np.array([[1], [np.nan]]), "is not finite; leave this run out"),
    ],
)
def test_unfit_runs_are_refused(name, runs, values, message):
    with pytest.raises(InputError, match=message):
        regressor(name)(runs, values)


def test_unknown_regressor_lists_the_known_ones():
    with pytest.raises(InputError, match="'ridge' is not one of gaussian-process, lightgbm, log-linear"):
        regressor("ridge")

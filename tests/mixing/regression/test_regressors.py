"""The other regressors, and what all of them refuse."""

import numpy as np
import pytest

from dmix.mixing.regression.boosted_trees import BoostedTrees, fit_boosted_trees
from dmix.mixing.regression.exponential import fit_exponential
from dmix.mixing.regression.regressors import REGRESSORS, regressor
from dmix.warehouse_schema.errors import InputError


def mixtures(number, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(3), number)


@pytest.mark.parametrize("sign", [1, -1])
def test_exponential_law_is_recovered(sign):
    def law(shares):
        return sign * (1.5 + np.exp(0.4 + shares @ [-2.0, 0.5, 0.0]))[:, None]

    fitted = fit_exponential(mixtures(40), law(mixtures(40)))
    assert fitted.predict(mixtures(9, 1)) == pytest.approx(law(mixtures(9, 1)), abs=0.02)
    assert fitted.sign_V.tolist() == [sign]


def test_trees_survive_their_text_form():
    shares = mixtures(200)
    fitted = fit_boosted_trees(shares, (shares[:, [0]] > 0.4).astype(float))
    predicted = fitted.predict(shares)
    assert predicted[shares[:, 0] > 0.5].min() > 0.95
    assert predicted[shares[:, 0] < 0.3].max() < 0.05
    assert np.array_equal(BoostedTrees.from_text(fitted.to_text()).predict(shares), predicted)


@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize(
    ("runs", "values", "message"),
    [
        (mixtures(3), np.ones((2, 1)), r"shape \(3, 3\) and values .*\(2, 1\)"),
        (mixtures(1), np.ones((1, 1)), "1 runs are too few"),
        (mixtures(2), np.array([[1], [np.nan]]), "is not finite; leave this run out"),
    ],
)
def test_unfit_runs_are_refused(name, runs, values, message):
    with pytest.raises(InputError, match=message):
        regressor(name)(runs, values)


def test_unknown_regressor_lists_the_known_ones():
    with pytest.raises(InputError, match="'ridge' is not one of gaussian-process, lightgbm, log-linear"):
        regressor("ridge")

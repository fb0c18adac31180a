"""Boosted trees."""

import numpy as np

from dmix.mixing.regression.boosted_trees import BoostedTrees, fit_boosted_trees


def mixtures(number, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(3), number)


def test_trees_survive_their_text_form():
    shares = mixtures(200)
    fitted = fit_boosted_trees(shares, (shares[:, [0]] > 0.4).astype(float))
    predicted = fitted.predict(shares)
    assert predicted[shares[:, 0] > 0.5].min() > 0.95
    assert predicted[shares[:, 0] < 0.3].max() < 0.05
    assert np.array_equal(BoostedTrees.from_text(fitted.to_text()).predict(shares), predicted)

"""The process against values worked by hand and by other code, and on functions that are known."""

import math

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal, spearmanr

from dmix.mixing.regression import gaussian_process as gp
from dmix.warehouse_schema.errors import InputError


def test_matern_worked_by_hand():
    # r = 0: 1; r = 1: (1 + sqrt 5 + 5 / 3) exp(-sqrt 5) = 0.523994
    values, slopes = gp.matern(np.array([0.0, 1.0]))
    assert values == pytest.approx([1, (1 + 5**0.5 + 5 / 3) * math.exp(-(5**0.5))])
    assert values[1] == pytest.approx(0.523994, abs=1e-6)
    step = 1e-6
    assert slopes[1] == pytest.approx(
        -2 * (gp.matern(np.array([1 + step]))[0][0] - values[1]) / step, rel=1e-4
    )


def test_evidence_is_that_of_a_normal_law_at_its_best_amplitude():
    rng = np.random.default_rng(0)
    inputs, wanted = rng.normal(size=(6, 2)), rng.normal(size=(6, 1))
    parameters = np.array([gp._PRIOR_MEAN + 0.5 * math.log(2)] * 2 + [math.log(0.1)])  # prior term 0
    scaled = inputs / np.exp(parameters[:2])
    squared = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
    kernel = gp.matern(squared)[0] + (0.1 + 1e-8) * np.eye(6)
    amplitude = wanted[:, 0] @ np.linalg.solve(kernel, wanted[:, 0]) / 6
    found = gp.negative_log_evidence(parameters, inputs, wanted)[0]
    by_scipy = -multivariate_normal.logpdf(wanted[:, 0], cov=amplitude * kernel)
    # The constant that is left out: R / 2 (log 2 pi + 1).
    assert found + 3 * (math.log(2 * math.pi) + 1) == pytest.approx(by_scipy)


def test_gradient_matches_finite_differences():
    rng = np.random.default_rng(1)
    inputs, wanted = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    error = check_grad(
        lambda p: gp.negative_log_evidence(p, inputs, wanted)[0],
        lambda p: gp.negative_log_evidence(p, inputs, wanted)[1],
        rng.normal(size=4) * 0.3,
    )
    assert error < 1e-4


def known(number, seed):
    """Mixtures of five domains; losses depend on two of them, as a law of log shares and of shares."""
    mixtures = np.random.default_rng(seed).dirichlet(np.ones(5), number)
    logs = np.log(mixtures + 1e-3)
    return mixtures, np.stack([-logs[:, 0] + 0.3 * logs[:, 1] ** 2, np.exp(-3 * mixtures[:, 2])], axis=1)


def test_ranks_what_it_has_not_seen_and_finds_the_domains_that_matter():
    fitted = gp.fit_gaussian_process(*known(60, 0))
    mixtures, losses = known(200, 1)
    predicted = fitted.predict(mixtures)
    assert predicted.shape == (200, 2)
    assert spearmanr(predicted[:, 0], losses[:, 0]).statistic > 0.98
    assert spearmanr(predicted[:, 1], losses[:, 1]).statistic > 0.98
    assert fitted.scales_VN[0, :2].max() < fitted.scales_VN[0, 2:].min()
    assert fitted.scales_VN[1].argmin() == 2


def test_fits_repeat_to_the_bit():
    first, second = (gp.fit_gaussian_process(*known(30, 0)).predict(known(10, 1)[0]) for _ in range(2))
    assert np.array_equal(first, second)


def test_predictions_do_not_depend_on_the_chunk(monkeypatch):
    fitted, (mixtures, _) = gp.fit_gaussian_process(*known(20, 0)), known(7, 1)
    whole = fitted.predict(mixtures)
    monkeypatch.setattr(gp, "_CHUNK", 3)
    assert fitted.predict(mixtures) == pytest.approx(whole)
    assert fitted.predict(mixtures[:0]).shape == (0, 2)


def test_constant_values_and_repeated_runs_are_no_trouble():
    mixtures = np.tile([[0.2, 0.8], [0.5, 0.5]], (4, 1))
    values = np.stack([np.ones(8), np.tile([1.0, 2.0], 4)], axis=1)
    predicted = gp.fit_gaussian_process(mixtures, values).predict(mixtures[:2])
    assert predicted[:, 0] == pytest.approx([1, 1])
    assert predicted[:, 1] == pytest.approx([1, 2], abs=0.05)


def test_other_number_of_domains_is_refused():
    with pytest.raises(InputError, match=r"expected \(mixtures, 5\)"):
        gp.fit_gaussian_process(*known(10, 0)).predict(np.ones((1, 4)))

import numpy as np
import pytest

from dmix.mixing.regression.log_linear import fit_log_linear


def test_a_law_in_log_shares_is_found_again_beyond_the_runs():
    rng = np.random.default_rng(0)
    mixtures = rng.dirichlet(np.ones(4), 40)

    def law(m):
        logs = np.log(m + 1e-3)
        return np.column_stack([1 + 2 * logs[:, 0] - logs[:, 2], -3 + 0.5 * logs[:, 1]])

    fresh = rng.dirichlet(np.full(4, 0.7), 20)
    assert fit_log_linear(mixtures, law(mixtures)).predict(fresh) == pytest.approx(law(fresh), abs=1e-2)


def test_pure_noise_is_predicted_by_its_mean():
    rng = np.random.default_rng(1)
    mixtures, noise = rng.dirichlet(np.ones(30), 40), rng.normal(5, 1, (40, 1))
    found = fit_log_linear(mixtures, noise).predict(mixtures)
    assert found.std() < 0.5 and found.mean() == pytest.approx(noise.mean())


def test_a_domain_that_never_varies_does_no_harm():
    mixtures = np.array([[0.5, 0.5, 0.0], [0.3, 0.7, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0]])
    found = fit_log_linear(mixtures, mixtures[:, :1])
    assert np.isfinite(found.predict(np.array([[0.1, 0.2, 0.7]]))).all()

"""Data mixing laws."""

import numpy as np
import pytest

from dmix.mixing.regression.exponential import fit_exponential


def mixtures(number, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(3), number)


@pytest.mark.parametrize("sign", [1, -1])
def test_exponential_law_is_recovered(sign):
    def law(shares):
        return sign * (1.5 + np.exp(0.4 + shares @ [-2.0, 0.5, 0.0]))[:, None]

    fitted = fit_exponential(mixtures(40), law(mixtures(40)))
    assert fitted.predict(mixtures(9, 1)) == pytest.approx(law(mixtures(9, 1)), abs=0.02)
    assert fitted.sign_V.tolist() == [sign]
